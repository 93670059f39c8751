"""Optimizers and schedules against the numbers that PyTorch gives."""

from __future__ import annotations

import importlib
import json
from typing import Any

import numpy as np
import pytest

import staticgraph.dynamic as torch
from staticgraph.errors import UnimplementedError, UsageError
from tests.dynamic import optim_cases as cases

KNOWN = json.loads(cases.FILE.read_text(encoding="utf-8"))


def title(case: dict[str, Any]) -> str:
    return "-".join([case["name"], *(f"{k}={v}" for k, v in case["options"].items())])


@pytest.mark.parametrize("case", KNOWN["optimizers"], ids=title)
def test_fifty_steps(case: dict[str, Any]) -> None:
    got = cases.trajectory(torch, case["name"], case["options"], "float64")
    # steps and rates that PyTorch keeps as float32 scalars show in the seventh digit
    np.testing.assert_allclose(got["losses"], case["losses"], rtol=1e-6)
    np.testing.assert_allclose(got["final"], case["final"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("case", KNOWN["schedules"], ids=title)
def test_fifty_rates(case: dict[str, Any]) -> None:
    got = cases.rates(torch, case["name"], case["options"])
    np.testing.assert_allclose(got, case["rates"], rtol=1e-9)


def test_every_case_is_in_the_file() -> None:
    names = [(c["name"], c["options"]) for c in KNOWN["optimizers"]]
    assert names == cases.OPTIMIZERS
    assert [(c["name"], c["options"]) for c in KNOWN["schedules"]] == cases.SCHEDULES


@pytest.mark.parametrize(("name", "options"), cases.OPTIMIZERS)
def test_as_the_installed_pytorch(name: str, options: dict[str, Any]) -> None:
    pytest.importorskip("torch")
    real = importlib.import_module("torch")
    want = cases.trajectory(real, name, options, "float64")
    got = cases.trajectory(torch, name, options, "float64")
    np.testing.assert_allclose(got["losses"], want["losses"], rtol=1e-6)
    if name != "LBFGS":  # whose line search turns on the last bit of a slope
        want = cases.trajectory(real, name, options, "float32")
        got = cases.trajectory(torch, name, options, "float32")
        np.testing.assert_allclose(got["losses"][:5], want["losses"][:5], rtol=1e-5)


def test_parameters_are_changed_in_place_and_their_version_moves() -> None:
    p = torch.tensor([1.0, 2.0], requires_grad=True)
    memory = p.detach().numpy()
    square = p * p
    square.sum().backward()
    torch.optim.SGD([p], lr=0.5).step()
    np.testing.assert_array_equal(memory, [0.0, 0.0])
    product = p * p
    p.grad = torch.ones(2)
    torch.optim.SGD([p], lr=0.5).step()
    with pytest.raises(RuntimeError, match="changed in place"):
        product.sum().backward()


def test_a_parameter_without_gradient_stays() -> None:
    p, q = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = torch.optim.Adam([p, q])
    (p * 2).sum().backward()
    optimizer.step()
    assert q.tolist() == [1.0, 1.0] and p.tolist() != [1.0, 1.0]
    assert q not in optimizer.state


def test_groups_have_options_of_their_own() -> None:
    p, q = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([{"params": [p]}, {"params": q, "lr": 0.25}], lr=0.5)
    (p + q).sum().backward()
    optimizer.step()
    assert (p.item(), q.item()) == (0.5, 0.75)
    r = torch.ones(1, requires_grad=True)
    optimizer.add_param_group({"params": [r], "momentum": 0.9})
    assert [g["momentum"] for g in optimizer.param_groups] == [0, 0, 0.9]


def test_named_parameters() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.param_groups[0]["params"][0] is model.weight


def test_zero_grad() -> None:
    p = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.1)
    (p * 3).sum().backward()
    grad = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is grad and grad.tolist() == [0.0, 0.0]
    optimizer.zero_grad()
    assert p.grad is None


@pytest.mark.parametrize("name", ["SGD", "Adam", "NAdam", "Adagrad", "Rprop"])
def test_state_dict_goes_on_where_it_was(name: str) -> None:
    options = {"lr": 0.05, "momentum": 0.9} if name == "SGD" else {"lr": 0.05}

    def advance(optimizer: Any, loss: Any, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

    params, loss = cases.problem(torch, "float64")
    optimizer = getattr(torch.optim, name)(params, **options)
    advance(optimizer, loss, 5)
    others, other_loss = cases.problem(torch, "float64")
    for p, q in zip(params, others, strict=True):
        q.data = p.detach().clone()
    resumed = getattr(torch.optim, name)(others, lr=9.0)
    resumed.load_state_dict(optimizer.state_dict())
    advance(optimizer, loss, 5)
    advance(resumed, other_loss, 5)
    for p, q in zip(params, others, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
    assert resumed.param_groups[0]["lr"] == 0.05


def test_state_dict_has_pytorchs_form() -> None:
    p = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.Adam([p], lr=0.1)
    (p * p).sum().backward()
    optimizer.step()
    saved = optimizer.state_dict()
    assert saved["param_groups"][0]["params"] == [0]
    assert saved["param_groups"][0]["betas"] == (0.9, 0.999)
    assert set(saved["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    assert saved["state"][0]["step"].item() == 1.0


def test_a_state_dict_that_does_not_fit_changes_nothing() -> None:
    p, q = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.1)
    before = optimizer.param_groups
    with pytest.raises(ValueError, match="has 2 parameters, this optimizer's has 1"):
        optimizer.load_state_dict(torch.optim.SGD([p, q], lr=0.2).state_dict())
    two = torch.optim.SGD([{"params": [p]}, {"params": [q]}], lr=0.2)
    with pytest.raises(ValueError, match="2 parameter groups, this optimizer has 1"):
        optimizer.load_state_dict(two.state_dict())
    assert optimizer.param_groups is before


def test_step_gives_what_the_closure_gave_with_recording_on() -> None:
    p = torch.tensor([2.0], requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.1)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 4.0
    np.testing.assert_allclose(p.tolist(), [1.6], rtol=1e-6)


def test_wrong_use_is_refused() -> None:
    p = torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="the list is empty"):
        torch.optim.SGD([], lr=0.1)
    with pytest.raises(UsageError, match="pass \\[tensor\\]"):
        torch.optim.SGD(p, lr=0.1)
    with pytest.raises(UsageError, match="takes tensors, got a int"):
        torch.optim.SGD([3], lr=0.1)
    with pytest.raises(ValueError, match="takes leaves"):
        torch.optim.SGD([p * 2], lr=0.1)
    with pytest.raises(ValueError, match="lr must not be negative, got -1"):
        torch.optim.Adam([p], lr=-1)
    with pytest.raises(ValueError, match=r"betas\[1\] must be in"):
        torch.optim.Adam([p], betas=(0.9, 1.5))
    with pytest.raises(ValueError, match="nesterov needs a momentum above 0"):
        torch.optim.SGD([p], lr=0.1, nesterov=True)
    with pytest.raises(ValueError, match="more than one parameter group"):
        torch.optim.SGD([{"params": [p]}, {"params": [p]}], lr=0.1)
    with pytest.raises(UnimplementedError, match="differentiable=True"):
        torch.optim.SGD([p], lr=0.1, differentiable=True)
    with pytest.raises(UsageError, match="needs a closure"):
        torch.optim.LBFGS([p]).step()


def test_a_schedule_that_moves_first_warns() -> None:
    p = torch.ones(1, requires_grad=True)
    schedule = torch.optim.lr_scheduler.StepLR(torch.optim.SGD([p], lr=0.1), 2)
    with pytest.warns(UserWarning, match="before optimizer.step"):
        schedule.step()


def test_lambda_schedules() -> None:
    p, q = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([{"params": [p]}, {"params": [q], "lr": 2.0}], lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda t: 0.5**t, lambda t: 1 + t])
    optimizer.step()
    schedule.step()
    assert schedule.get_last_lr() == [0.5, 4.0]
    optimizer.step()
    schedule.step()
    assert [g["lr"] for g in optimizer.param_groups] == [0.25, 6.0]


def test_a_schedule_is_resumed() -> None:
    p = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    for _ in range(3):
        optimizer.step()
        schedule.step()
    resumed = torch.optim.lr_scheduler.StepLR(torch.optim.SGD([p], lr=1.0), 5)
    resumed.load_state_dict(schedule.state_dict())
    assert (resumed.last_epoch, resumed.step_size, resumed.get_last_lr()) == (3, 2, [0.5])


def test_sequence_of_schedules() -> None:
    p = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=1.0)
    plans = torch.optim.lr_scheduler
    first = plans.ConstantLR(optimizer, factor=0.1, total_iters=2)
    second = plans.ExponentialLR(optimizer, gamma=0.5)
    schedule = plans.SequentialLR(optimizer, [first, second], milestones=[2])
    got = []
    for _ in range(5):
        got.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(got, [0.1, 0.1, 1.0, 0.5, 0.25])


def test_text() -> None:
    p = torch.ones(1, requires_grad=True)
    text = repr(torch.optim.SGD([p], lr=0.1))
    assert text.startswith("SGD (\nParameter Group 0\n    dampening: 0\n")
    assert "    lr: 0.1\n" in text and text.endswith("\n)")
