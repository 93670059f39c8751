"""Runs of optimizers and schedules, written for any module with PyTorch's names.

`python -m tests.dynamic.optim_cases`, where PyTorch is installed, writes the numbers that
`test_optim.py` compares with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parent.parent / "data" / "torch_optim.json"
STEPS = 50

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.001, "momentum": 0.5, "maximize": True}),
    ("Adam", {"lr": 0.05}),
    ("Adam", {"lr": 0.05, "betas": [0.8, 0.95], "eps": 1e-4, "weight_decay": 0.05}),
    ("Adam", {"lr": 0.05, "amsgrad": True}),
    ("Adam", {"lr": 0.01, "maximize": True}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.2, "amsgrad": True}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "centered": True, "weight_decay": 0.01}),
    ("RMSprop", {"lr": 0.005, "momentum": 0.8, "centered": True}),
    ("RMSprop", {"lr": 0.005, "momentum": 0.8}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.02,
                 "initial_accumulator_value": 0.3}),
    ("Adadelta", {"lr": 1.0}),
    ("Adadelta", {"lr": 2.0, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.02}),
    ("Adamax", {"lr": 0.05}),
    ("Adamax", {"lr": 0.05, "betas": [0.7, 0.9], "weight_decay": 0.03}),
    ("NAdam", {"lr": 0.05}),
    ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": 0.05}),
    ("RAdam", {"lr": 0.05, "betas": [0.8, 0.9], "weight_decay": 0.1}),
    ("Rprop", {"lr": 0.01}),
    ("Rprop", {"lr": 0.02, "etas": [0.4, 1.5], "step_sizes": [1e-4, 0.1]}),
    ("ASGD", {"lr": 0.05, "t0": 10.0, "lambd": 1e-2}),
    ("LBFGS", {"lr": 0.5, "max_iter": 2, "history_size": 5}),
    ("LBFGS", {"max_iter": 3, "line_search_fn": "strong_wolfe"}),
]  # fmt: skip

SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("StepLR", {"step_size": 7, "gamma": 0.3}),
    ("MultiStepLR", {"milestones": [3, 10, 10, 31], "gamma": 0.5}),
    ("ExponentialLR", {"gamma": 0.93}),
    ("CosineAnnealingLR", {"T_max": 13, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 5, "T_mult": 2, "eta_min": 0.02}),
    ("LinearLR", {"start_factor": 0.2, "end_factor": 0.9, "total_iters": 20}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 9}),
    ("PolynomialLR", {"total_iters": 30, "power": 2.0}),
    ("OneCycleLR", {"max_lr": 0.8, "total_steps": 60}),
    ("OneCycleLR", {"max_lr": 0.8, "total_steps": 60, "three_phase": True,
                    "anneal_strategy": "linear"}),
    ("ReduceLROnPlateau", {"factor": 0.5, "patience": 2, "cooldown": 1}),
    ("ReduceLROnPlateau", {"mode": "max", "factor": 0.2, "patience": 1, "threshold_mode": "abs",
                           "threshold": 0.2, "min_lr": 0.004}),
]  # fmt: skip


def problem(torch: Any, dtype: str) -> tuple[list[Any], Any]:
    """Two parameters and a function that gives the loss: smooth, and not quadratic."""
    draw = np.random.RandomState(5)
    x, y = draw.randn(12, 3).astype(dtype), draw.randn(12, 2).astype(dtype)
    params = [
        torch.tensor(draw.randn(*shape).astype(dtype), requires_grad=True)
        for shape in ((3, 2), (2,))
    ]
    xs, ys = torch.from_numpy(x), torch.from_numpy(y)

    def loss() -> Any:
        w, b = params
        error = (xs.mm(w) + b).tanh() - ys
        return (error * error).mean() + 0.05 * (w * w * w * w).sum()

    return params, loss


def trajectory(torch: Any, name: str, options: dict[str, Any], dtype: str) -> dict[str, Any]:
    """Every seventh loss of 50 steps, and the parameters behind them."""
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    params, function = problem(torch, dtype)
    optimizer = getattr(torch.optim, name)(params, **options)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = function()
        loss.backward()
        return loss

    losses = [optimizer.step(closure).item() for _ in range(STEPS)]
    final = [v for p in params for v in p.detach().numpy().ravel().tolist()]
    return {"losses": rounded(losses[::7]), "final": rounded(final)}


def rates(torch: Any, name: str, options: dict[str, Any]) -> list[float]:
    """The learning rate of each of 50 epochs."""
    param = torch.tensor([1.0], requires_grad=True)
    optimizer = torch.optim.SGD([param], lr=0.4, momentum=0.5)
    schedule = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    out = []
    for epoch in range(STEPS):
        out.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        if name == "ReduceLROnPlateau":
            schedule.step(1.0 + np.cos(epoch / 4.0) / (1 + epoch))
        else:
            schedule.step()
    return rounded(out)


def rounded(values: list[float]) -> list[float]:
    """Twelve digits, which is what a file needs."""
    return [float(f"{v:.12g}") for v in values]


def main() -> None:
    """Write the file of reference numbers."""
    import torch

    runs = [{"name": n, "options": o, **trajectory(torch, n, o, "float64")} for n, o in OPTIMIZERS]
    plans = [{"name": n, "options": o, "rates": rates(torch, n, o)} for n, o in SCHEDULES]
    source = (
        f"PyTorch {torch.__version__.partition('+')[0]} on CPU, float64, {STEPS} steps of "
        "tests/dynamic/optim_cases.py"
    )
    lines = ['{"source": ' + json.dumps(source) + ",", '"optimizers": [']
    lines += [json.dumps(r) + ("," if r is not runs[-1] else "") for r in runs]
    lines += ["],", '"schedules": [']
    lines += [json.dumps(r) + ("," if r is not plans[-1] else "") for r in plans]
    FILE.write_text("\n".join([*lines, "]}"]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
