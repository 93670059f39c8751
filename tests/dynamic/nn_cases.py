"""Layers and losses on fixed numbers, written for any module with PyTorch's names.

`python -m tests.dynamic.nn_cases`, where PyTorch is installed, writes the numbers that
`test_nn_numbers.py` compares with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parent.parent / "data" / "torch_nn.json"

# A module and the shapes of its inputs.
LAYERS: list[tuple[str, list[list[int]]]] = [
    ("nn.Linear(3, 4)", [[5, 3]]),
    ("nn.Linear(3, 4, bias=False)", [[2, 5, 3]]),
    ("nn.Linear(3, 4)", [[3]]),
    ("nn.Bilinear(3, 2, 4)", [[5, 3], [5, 2]]),
    ("nn.Bilinear(3, 2, 4, bias=False)", [[2, 2, 3], [2, 2, 2]]),
    ("nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))", [[6, 4]]),
    ("nn.Flatten(0, 1)", [[4, 3, 2]]),
    ("nn.Unflatten(1, (2, -1))", [[4, 6]]),
    ("nn.Identity()", [[3, 2]]),
    ("nn.ReLU()", [[3, 4]]),
    ("nn.ReLU6()", [[3, 4]]),
    ("nn.LeakyReLU()", [[3, 4]]),
    ("nn.LeakyReLU(1.5)", [[3, 4]]),
    ("nn.PReLU()", [[3, 4]]),
    ("nn.PReLU(4)", [[3, 4, 2]]),
    ("nn.ELU()", [[3, 4]]),
    ("nn.ELU(0.5)", [[3, 4]]),
    ("nn.SELU()", [[3, 4]]),
    ("nn.CELU(2.0)", [[3, 4]]),
    ("nn.GELU()", [[3, 4]]),
    ("nn.GELU(approximate='tanh')", [[3, 4]]),
    ("nn.SiLU()", [[3, 4]]),
    ("nn.Mish()", [[3, 4]]),
    ("nn.Tanh()", [[3, 4]]),
    ("nn.Sigmoid()", [[3, 4]]),
    ("nn.LogSigmoid()", [[3, 4]]),
    ("nn.Softplus()", [[3, 4]]),
    ("nn.Softplus(beta=2.0, threshold=1.0)", [[3, 4]]),
    ("nn.Softsign()", [[3, 4]]),
    ("nn.Tanhshrink()", [[3, 4]]),
    ("nn.Hardtanh(-0.5, 0.7)", [[3, 4]]),
    ("nn.Hardsigmoid()", [[3, 4]]),
    ("nn.Hardswish()", [[3, 4]]),
    ("nn.Hardshrink()", [[3, 4]]),
    ("nn.Softshrink(0.3)", [[3, 4]]),
    ("nn.Threshold(0.1, 2.0)", [[3, 4]]),
    ("nn.GLU()", [[3, 4]]),
    ("nn.Softmax(dim=1)", [[3, 4, 2]]),
    ("nn.Softmax(dim=-1)", [[3, 4]]),
    ("nn.LogSoftmax(dim=0)", [[3, 4]]),
    ("nn.Softmin(dim=1)", [[3, 4]]),
    ("nn.Softmax2d()", [[2, 3, 2, 2]]),
    ("nn.Conv1d(4, 6, 3)", [[2, 4, 9]]),
    ("nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2)", [[2, 4, 9]]),
    ("nn.Conv1d(4, 6, 3, padding='same', padding_mode='circular')", [[4, 9]]),
    ("nn.Conv2d(3, 4, 3)", [[2, 3, 6, 5]]),
    ("nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 0), bias=False)", [[2, 3, 6, 5]]),
    ("nn.Conv2d(4, 6, 3, padding=1, groups=2)", [[2, 4, 5, 5]]),
    ("nn.Conv2d(4, 8, 2, groups=4, dilation=2)", [[1, 4, 5, 5]]),
    ("nn.Conv2d(2, 3, 4, padding='same')", [[2, 2, 5, 6]]),
    ("nn.Conv2d(2, 3, 3, padding=2, padding_mode='reflect')", [[2, 2, 5, 6]]),
    ("nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode='replicate')", [[2, 5, 6]]),
    ("nn.Conv3d(2, 3, 2, padding=1)", [[1, 2, 3, 2, 3]]),
    ("nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=1)", [[2, 4, 5]]),
    ("nn.ConvTranspose2d(3, 4, 3)", [[2, 3, 4, 3]]),
    ("nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)",
     [[2, 4, 3, 2]]),
    ("nn.ConvTranspose2d(2, 3, 2, stride=1, dilation=3, output_padding=2)", [[2, 3, 2]]),
    ("nn.ConvTranspose3d(2, 3, 2, stride=2, padding=1)", [[1, 2, 3, 2, 3]]),
    ("nn.MaxPool1d(3, stride=2, padding=1)", [[2, 3, 8]]),
    ("nn.MaxPool2d(2)", [[2, 3, 5, 4]]),
    ("nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)", [[2, 3, 6, 5]]),
    ("nn.MaxPool2d((2, 3), stride=(1, 2), dilation=2)", [[2, 3, 7, 8]]),
    ("nn.AvgPool1d(3, stride=2, padding=1)", [[2, 3, 8]]),
    ("nn.AvgPool2d(2)", [[2, 3, 5, 4]]),
    ("nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True)", [[2, 3, 6, 5]]),
    ("nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)", [[2, 3, 6, 5]]),
    ("nn.AvgPool2d(2, divisor_override=3)", [[2, 3, 4, 4]]),
    ("nn.AdaptiveAvgPool1d(3)", [[2, 3, 8]]),
    ("nn.AdaptiveAvgPool2d(1)", [[2, 3, 5, 4]]),
    ("nn.AdaptiveAvgPool2d((3, None))", [[2, 3, 7, 4]]),
    ("nn.BatchNorm1d(3)", [[6, 3]]),
    ("nn.BatchNorm1d(3, momentum=None)", [[4, 3, 5]]),
    ("nn.BatchNorm1d(3).eval()", [[6, 3]]),
    ("nn.BatchNorm1d(3, affine=False, track_running_stats=False)", [[6, 3]]),
    ("nn.BatchNorm2d(3)", [[2, 3, 4, 2]]),
    ("nn.BatchNorm2d(3, bias=False)", [[2, 3, 4, 2]]),
    ("nn.BatchNorm3d(2)", [[2, 2, 2, 2, 2]]),
    ("nn.LayerNorm(4)", [[3, 4]]),
    ("nn.LayerNorm((3, 4), bias=False)", [[2, 3, 4]]),
    ("nn.RMSNorm(4)", [[3, 4]]),
    ("nn.GroupNorm(2, 4)", [[3, 4, 5]]),
    ("nn.RNNCell(3, 4)", [[2, 3], [2, 4]]),
    ("nn.RNNCell(3, 4, nonlinearity='relu', bias=False)", [[3]]),
    ("nn.LSTMCell(3, 4)", [[2, 3]]),
    ("nn.GRUCell(3, 4)", [[2, 3], [2, 4]]),
    ("nn.RNN(3, 4)", [[5, 2, 3]]),
    ("nn.RNN(3, 4, 2, nonlinearity='relu', batch_first=True)", [[2, 5, 3]]),
    ("nn.RNN(3, 4, bidirectional=True)", [[5, 2, 3], [2, 2, 4]]),
    ("nn.LSTM(3, 4, 2, bidirectional=True)", [[5, 2, 3]]),
    ("nn.LSTM(3, 4, proj_size=2, bias=False)", [[5, 2, 3]]),
    ("nn.LSTM(3, 4)", [[5, 3]]),
    ("nn.GRU(3, 4, 2, batch_first=True, bidirectional=True)", [[2, 5, 3], [4, 2, 4]]),
    ("nn.CosineSimilarity()", [[4, 3], [4, 3]]),
]  # fmt: skip

NORMAL = "normal"
PROBABILITY = "probability"
SIGN = "sign"
LOGS = "logs"
ROWS = "rows"

# A loss, and what its arguments are: kinds and shapes, or numbers.
LOSSES: list[tuple[str, list[Any]]] = [
    ("nn.MSELoss()", [[NORMAL, 3, 4], [NORMAL, 3, 4]]),
    ("nn.MSELoss(reduction='sum')", [[NORMAL, 3, 4], [NORMAL, 3, 4]]),
    ("nn.MSELoss(reduction='none')", [[NORMAL, 3, 4], [NORMAL, 3, 4]]),
    ("nn.L1Loss()", [[NORMAL, 3, 4], [NORMAL, 3, 4]]),
    ("nn.SmoothL1Loss(beta=0.5)", [[NORMAL, 3, 4], [NORMAL, 3, 4]]),
    ("nn.HuberLoss(delta=0.7, reduction='sum')", [[NORMAL, 3, 4], [NORMAL, 3, 4]]),
    ("nn.CrossEntropyLoss()", [[NORMAL, 4, 3], [0, 2, 1, 1]]),
    ("nn.CrossEntropyLoss(reduction='none')", [[NORMAL, 4, 3], [0, 2, 1, 1]]),
    ("nn.CrossEntropyLoss()", [[NORMAL, 3], 2]),
    ("nn.CrossEntropyLoss(ignore_index=1)", [[NORMAL, 4, 3], [0, 2, 1, 1]]),
    ("nn.CrossEntropyLoss(weight=w)", [[NORMAL, 4, 3], [0, 2, 1, 1]]),
    ("nn.CrossEntropyLoss(weight=w, ignore_index=2, label_smoothing=0.2)",
     [[NORMAL, 4, 3], [0, 2, 1, 1]]),
    ("nn.CrossEntropyLoss(label_smoothing=0.1, ignore_index=2)", [[NORMAL, 4, 3], [0, 2, 1, 1]]),
    ("nn.CrossEntropyLoss(weight=w, label_smoothing=0.1, reduction='sum')",
     [[NORMAL, 2, 3, 2], [[0, 2], [1, 1]]]),
    ("nn.CrossEntropyLoss()", [[NORMAL, 4, 3], [ROWS, 4, 3]]),
    ("nn.CrossEntropyLoss(weight=w, label_smoothing=0.3)", [[NORMAL, 4, 3, 2], [NORMAL, 4, 3, 2]]),
    ("nn.NLLLoss()", [[LOGS, 4, 3], [0, 2, 1, 1]]),
    ("nn.NLLLoss(weight=w, ignore_index=0, reduction='sum')", [[LOGS, 4, 3], [0, 2, 1, 1]]),
    ("nn.BCELoss()", [[PROBABILITY, 3, 4], [PROBABILITY, 3, 4]]),
    ("nn.BCEWithLogitsLoss()", [[NORMAL, 3, 4], [PROBABILITY, 3, 4]]),
    ("nn.BCEWithLogitsLoss(pos_weight=w)", [[NORMAL, 2, 3], [PROBABILITY, 2, 3]]),
    ("nn.KLDivLoss(reduction='batchmean')", [[LOGS, 3, 4], [ROWS, 3, 4]]),
    ("nn.KLDivLoss(reduction='sum', log_target=True)", [[LOGS, 3, 4], [LOGS, 3, 4]]),
    ("nn.PoissonNLLLoss(full=True)", [[NORMAL, 3, 4], [3.0, 1.0, 0.0, 5.0]]),
    ("nn.PoissonNLLLoss(log_input=False)", [[PROBABILITY, 3, 4], [3.0, 1.0, 0.0, 5.0]]),
    ("nn.SoftMarginLoss()", [[NORMAL, 3, 4], [SIGN, 3, 4]]),
    ("nn.HingeEmbeddingLoss(margin=0.5)", [[NORMAL, 3, 4], [SIGN, 3, 4]]),
    ("nn.MarginRankingLoss(margin=0.2)", [[NORMAL, 5], [NORMAL, 5], [SIGN, 5]]),
    ("nn.TripletMarginLoss(margin=2.0)", [[NORMAL, 4, 3], [NORMAL, 4, 3], [NORMAL, 4, 3]]),
    ("nn.TripletMarginLoss(swap=True, p=1.0)",
     [[NORMAL, 4, 3], [NORMAL, 4, 3], [NORMAL, 4, 3]]),
]  # fmt: skip

# Functions that have no module of their own, of `x` [4, 3], `y` [4, 3] and `image` [1, 2, 5, 4].
FUNCTIONS: list[str] = [
    "F.normalize(x)",
    "F.normalize(x, p=1.0, dim=0)",
    "F.pairwise_distance(x, y)",
    "F.pad(image, (1, 2, 0, 1), value=0.5)",
    "F.pad(image, (-1, 2, 1, -2))",
    "F.pad(image, (2, 1, 1, 1), mode='reflect')",
    "F.pad(image, (2, 1, 3, 1), mode='replicate')",
    "F.pad(image, (2, 1, 3, 1), mode='circular')",
    "F.mse_loss(x, y, reduction='none')",
    "F.layer_norm(x, (3,))",
    "F.max_pool2d(image, 2, return_indices=True)[0]",
    "F.max_pool2d(image, 3, stride=2, padding=1, return_indices=True)[1]",
    "F.embedding(torch.tensor([[0, 3], [2, 3]]), x)",
    "F.embedding(torch.tensor([[0, 3], [2, 3]]), x, padding_idx=3)",
    "F.one_hot(torch.tensor([[0, 3], [2, 1]]))",
    "F.one_hot(torch.tensor([0, 2]), 5)",
]


def projected(value: Any) -> float:
    """One number that every element of a tensor has a part in."""
    array = value.detach().numpy().astype(np.float64)
    weights = np.cos(1.0 + 0.7 * np.arange(array.size))
    return float(f"{float(weights @ array.ravel()):.10g}")


def weighted(torch: Any, value: Any) -> Any:
    """The same for gradients to flow through."""
    weights = np.sin(2.0 + 0.3 * np.arange(value.numel())).reshape(tuple(value.shape))
    return (value * torch.from_numpy(weights)).sum()


def tensors_of(value: Any) -> list[Any]:
    """The tensors of a result, nested tuples opened."""
    return [t for v in value for t in tensors_of(v)] if isinstance(value, tuple) else [value]


def layer(torch: Any, text: str, shapes: list[list[int]]) -> list[float]:
    """Results, gradients of inputs and parameters, and buffers, one number each."""
    draw = np.random.RandomState(3)
    module = eval(text, {"nn": torch.nn}).double()
    for param in module.parameters():
        param.data = torch.from_numpy(draw.randn(*param.shape))
    inputs = [torch.from_numpy(draw.randn(*shape)).requires_grad_() for shape in shapes]
    outputs = tensors_of(module(*inputs))
    sum(weighted(torch, o) for o in outputs).backward()
    grads = [t.grad for t in (*inputs, *module.parameters()) if t.grad is not None]
    return [projected(t) for t in (*outputs, *grads, *module.buffers())]


def drawn(torch: Any, draw: Any, what: Any) -> Any:
    """An argument of a loss."""
    if not isinstance(what, list) or not isinstance(what[0], str):
        return torch.tensor(what) if not _floats(what) else torch.tensor(what, dtype=torch.float64)
    kind, *shape = what
    values = draw.randn(*shape)
    if kind == PROBABILITY:
        values = 1.0 / (1.0 + np.exp(-values))
    elif kind == SIGN:
        values = np.where(values > 0, 1.0, -1.0)
    elif kind in (LOGS, ROWS):
        rows = np.exp(values)
        rows /= rows.sum(-1, keepdims=True)
        values = np.log(rows) if kind == LOGS else rows
    return torch.from_numpy(values)


def _floats(what: Any) -> bool:
    return isinstance(what, list) and isinstance(what[0], float)


def loss(torch: Any, text: str, arguments: list[Any]) -> list[float]:
    """The loss and the gradient of its first argument."""
    draw = np.random.RandomState(4)
    values = [drawn(torch, draw, a) for a in arguments]
    module = eval(text, {"nn": torch.nn, "w": torch.tensor([0.5, 1.5, 2.0], dtype=torch.float64)})
    values[0].requires_grad_()
    out = module(*values)
    weighted(torch, out).backward()
    return [projected(out), projected(values[0].grad)]


def function(torch: Any, text: str) -> list[float]:
    """The result and the gradients of what it depends on."""
    draw = np.random.RandomState(6)
    names = {
        "x": torch.from_numpy(draw.randn(4, 3)).requires_grad_(),
        "y": torch.from_numpy(draw.randn(4, 3)).requires_grad_(),
        "image": torch.from_numpy(draw.randn(1, 2, 5, 4)).requires_grad_(),
    }
    out = eval(text, {"F": torch.nn.functional, "torch": torch, **names})
    if out.requires_grad:
        weighted(torch, out).backward()
    grads = [t.grad for t in names.values() if t.grad is not None]
    return [projected(t) for t in (out, *grads)]


def main() -> None:
    """Write the file of reference numbers."""
    import torch

    entries = {
        "layers": [[t, s, layer(torch, t, s)] for t, s in LAYERS],
        "losses": [[t, a, loss(torch, t, a)] for t, a in LOSSES],
        "functions": [[t, function(torch, t)] for t in FUNCTIONS],
        "texts": [[t, repr(eval(t, {"nn": torch.nn}))] for t, _ in LAYERS],
    }
    version = torch.__version__.partition("+")[0]
    lines = ['{"source": ' + json.dumps(f"PyTorch {version} on CPU, float64")]
    for name, rows in entries.items():
        lines.append(f', "{name}": [\n' + ",\n".join(json.dumps(r) for r in rows) + "]")
    FILE.write_text("\n".join([*lines, "}"]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
