"""What modules are: their parts, their state, hooks, copies, containers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import staticgraph.dynamic as torch
from staticgraph.errors import StateDictError, UsageError

nn = torch.nn


class Net(nn.Module):
    """Two layers, a parameter, two buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.second = nn.Sequential(nn.ReLU(), nn.Linear(3, 1, bias=False))
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("scratch", torch.ones(2), persistent=False)

    def forward(self, x: Any) -> Any:
        return self.scale * self.second(self.first(x))


NAMES = ["scale", "first.weight", "first.bias", "second.1.weight"]


def test_parts_and_their_names() -> None:
    net = Net()
    assert [n for n, _ in net.named_parameters()] == NAMES
    assert [n for n, _ in net.named_parameters(recurse=False)] == ["scale"]
    assert next(n for n, _ in net.named_parameters(prefix="net")) == "net.scale"
    assert [n for n, _ in net.named_buffers()] == ["seen", "scratch"]
    assert [n for n, _ in net.named_children()] == ["first", "second"]
    assert [n for n, _ in net.named_modules()] == ["", "first", "second", "second.0", "second.1"]
    assert [type(m).__name__ for m in net.modules()] == [
        "Net", "Linear", "Sequential", "ReLU", "Linear",
    ]  # fmt: skip
    assert len(list(net.parameters())) == 4 and len(list(net.buffers())) == 2
    assert net.get_submodule("second.1") is net.second[1]
    assert net.get_parameter("second.1.weight") is net.second[1].weight
    assert net.get_buffer("seen") is net.seen
    with pytest.raises(AttributeError, match=r"no parameter 'second\.1\.bias'"):
        net.get_parameter("second.1.bias")


def test_a_shared_parameter_counts_once() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert "1.weight" in net.state_dict()


def test_attributes() -> None:
    net = Net()
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'third'"):
        _ = net.third
    with pytest.raises(UsageError, match="cannot assign a Tensor as parameter 'scale' of Net"):
        net.scale = torch.tensor(1.0)
    with pytest.raises(UsageError, match="cannot assign a int as module 'first'"):
        net.first = 3
    net.seen = torch.ones(1)
    assert dict(net.named_buffers())["seen"].item() == 1.0
    net.scale = None
    assert [n for n, _ in net.named_parameters()] == NAMES[1:]
    net.first = nn.Linear(2, 3, bias=False)
    assert "first.bias" not in net.state_dict()
    del net.second
    assert not hasattr(net, "second") and "second" not in dict(net.named_children())
    assert {"first", "seen"} <= set(dir(net))
    with pytest.raises(KeyError, match="already exists"):
        net.register_parameter("forward", nn.Parameter(torch.zeros(1)))
    with pytest.raises(KeyError, match="without dots"):
        net.register_buffer("a.b", torch.zeros(1))
    with pytest.raises(ValueError, match="computed from other tensors"):
        net.register_parameter("p", _computed_parameter())


def _computed_parameter() -> Any:
    p = nn.Parameter(torch.ones(1))
    with torch.enable_grad():
        q = p * 2
    made = nn.Parameter(torch.ones(1))
    made._node, made._requires = q._node, True
    return made


def test_a_module_that_forgot_its_constructor() -> None:
    class Forgot(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"before Module.__init__\(\) call"):
        Forgot()

    class Silent(nn.Module):
        def __init__(self) -> None:
            pass

    with pytest.raises(AttributeError, match=r"Module.__init__\(\) has not been called"):
        _ = Silent().parameters_of_mine


def test_a_module_without_forward() -> None:
    with pytest.raises(NotImplementedError, match="Module does not define the method 'forward'"):
        nn.Module()(1)


def test_modes() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    assert net.training and net[1][0].training
    assert net.eval() is net and not net[1][0].training
    x = torch.ones(4)
    assert net(x) is x
    net.train()
    assert net[1][0].training
    with pytest.raises(ValueError, match="takes True or False, got 'yes'"):
        net.train("yes")


def test_zero_grad_and_requires_grad() -> None:
    net = Net()
    net(torch.ones(4, 2)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad(set_to_none=False)
    assert all(float(abs(p.grad).sum()) == 0.0 for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not net(torch.ones(4, 2)).requires_grad


def test_conversion() -> None:
    net = Net()
    weight = net.first.weight
    assert net.double() is net
    assert net.first.weight is weight and weight.dtype is torch.float64
    assert net.seen.dtype is torch.float64
    net.register_buffer("count", torch.tensor(3))
    net.to(torch.float32)
    assert (weight.dtype, net.count.dtype) == (torch.float32, torch.int64)
    assert net.half().scale.dtype is torch.float16
    assert net.float().cpu().to("cpu").scale.dtype is torch.float32


def test_apply_goes_from_the_inside_out() -> None:
    seen: list[str] = []
    Net().apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "ReLU", "Linear", "Sequential", "Net"]


# ---------------------------------------------------------------- state
def test_state_dict_shares_memory_and_keeps_no_history() -> None:
    net = Net()
    state = net.state_dict()
    assert list(state) == ["scale", "seen", "first.weight", "first.bias", "second.1.weight"]
    assert not state["scale"].requires_grad
    state["scale"].fill_(7.0)
    assert net.scale.item() == 7.0
    assert net.state_dict(keep_vars=True)["scale"] is net.scale


def test_load_state_dict() -> None:
    source, target = Net(), Net()
    weight = target.first.weight
    report = target.load_state_dict(source.state_dict())
    assert repr(report) == "<All keys matched successfully>"
    assert target.first.weight is weight and weight.requires_grad
    x = torch.randn(3, 2)
    np.testing.assert_array_equal(source(x).detach().numpy(), target(x).detach().numpy())
    source.scale.data.fill_(9.0)
    assert target.scale.item() == 2.0
    arrays = {k: v.numpy() + 1 for k, v in source.state_dict().items()}
    target.load_state_dict(arrays)
    assert target.scale.item() == 10.0


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    net = Net()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = {k: v + 1 for k, v in before.items()}
    state["first.weight"] = torch.zeros(4, 4)
    state["more"] = torch.zeros(1)
    del state["seen"]
    with pytest.raises(StateDictError) as caught:
        net.load_state_dict(state)
    text = str(caught.value)
    assert "Error(s) in loading state_dict for Net:" in text
    assert "Unexpected key(s) in state_dict: 'more'." in text
    assert "Missing key(s) in state_dict: 'seen'." in text
    assert (
        "size mismatch for first.weight: copying a param with shape [4, 4] from checkpoint, "
        in text
    )
    assert "the shape in current model is [3, 2]." in text
    assert "net.load_state_dict(state)" in text  # the user's line
    assert isinstance(caught.value, RuntimeError)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name].numpy())
    with pytest.raises(UsageError, match="'scale' is a str, not a tensor"):
        net.load_state_dict({**before, "scale": "two"})


def test_load_state_dict_that_is_not_strict() -> None:
    net = Net()
    report = net.load_state_dict({"scale": torch.tensor(5.0), "more": torch.zeros(1)}, strict=False)
    assert net.scale.item() == 5.0
    assert report.missing_keys == ["seen", "first.weight", "first.bias", "second.1.weight"]
    assert report.unexpected_keys == ["more"]


def test_load_state_dict_by_assignment() -> None:
    net = Net()
    state = {k: v.double() for k, v in net.state_dict().items()}
    net.load_state_dict(state, assign=True)
    assert net.scale.dtype is torch.float64
    assert isinstance(net.scale, nn.Parameter) and net.scale.requires_grad


def test_deep_copies_are_independent() -> None:
    net = Net()
    twin = copy.deepcopy(net)
    assert [n for n, _ in twin.named_parameters()] == NAMES
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in twin.parameters())
    twin.scale.data.fill_(0.0)
    assert net.scale.item() == 2.0
    assert twin.first is not net.first


# ---------------------------------------------------------------- hooks
def test_forward_hooks_see_and_change() -> None:
    net = nn.Linear(2, 1)
    calls: list[Any] = []
    before = net.register_forward_pre_hook(lambda m, args: (args[0] * 0,))
    after = net.register_forward_hook(lambda m, args, out: calls.append(args[0].tolist()))
    out = net(torch.ones(1, 2))
    assert calls == [[[0.0, 0.0]]]
    np.testing.assert_allclose(out.detach().numpy()[0], net.bias.detach().numpy())
    before.remove()
    before.remove()
    with after:
        net(torch.ones(1, 2))
    net(torch.ones(1, 2))
    assert calls[1:] == [[[1.0, 1.0]]]


def test_hooks_in_order_with_keywords() -> None:
    class Add(nn.Module):
        def forward(self, x: int, more: int = 0) -> int:
            return x + more

    module = Add()
    module.register_forward_hook(lambda m, args, out: out * 10)
    module.register_forward_hook(lambda m, args, out: out + 1, prepend=True)
    module.register_forward_pre_hook(
        lambda m, args, kwargs: (args, {"more": kwargs["more"] + 1}), with_kwargs=True
    )
    module.register_forward_hook(
        lambda m, args, kwargs, out: (out, kwargs["more"]), with_kwargs=True
    )
    assert module(1, more=2) == (50, 3)


# ---------------------------------------------------------------- containers
def test_sequential() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    assert len(model) == 3 and model[-1].out_features == 1
    assert isinstance(model[:2], nn.Sequential) and len(model[:2]) == 2
    assert model[:2][0] is model[0]
    model.append(nn.Tanh())
    model.insert(1, nn.Sigmoid())
    assert [type(m).__name__ for m in model] == ["Linear", "Sigmoid", "ReLU", "Linear", "Tanh"]
    assert list(dict(model.named_children())) == ["0", "1", "2", "3", "4"]
    del model[1]
    assert isinstance(model.pop(), nn.Tanh)
    model[1] = nn.ELU()
    assert isinstance(model[1], nn.ELU) and model(torch.ones(4, 2)).shape == (4, 1)
    assert len(model + nn.Sequential(nn.ReLU())) == 4
    with pytest.raises(IndexError, match="index 3 is out of range for Sequential of 3"):
        _ = model[3]
    named = nn.Sequential({"one": nn.Linear(1, 1), "two": nn.ReLU()})
    assert list(named.state_dict()) == ["one.weight", "one.bias"]


def test_module_list_and_dict() -> None:
    layers = nn.ModuleList([nn.Linear(2, 2) for _ in range(3)])
    layers += [nn.ReLU()]
    layers.insert(0, nn.Tanh())
    assert len(layers) == 5 and isinstance(layers[-1], nn.ReLU) and layers[1] in layers
    assert len(layers[1:3]) == 2
    assert [n for n, _ in layers.named_parameters()][:2] == ["1.weight", "1.bias"]
    table = nn.ModuleDict({"relu": nn.ReLU(), "line": nn.Linear(1, 2)})
    table["tanh"] = nn.Tanh()
    assert list(table) == ["relu", "line", "tanh"] and "tanh" in table and len(table) == 3
    assert isinstance(table.pop("relu"), nn.ReLU) and list(table.keys()) == ["line", "tanh"]
    assert [n for n, _ in table.named_parameters()] == ["line.weight", "line.bias"]
    with pytest.raises(UsageError, match="which takes a Module or None"):
        table["x"] = 3


def test_parameter_list_and_dict() -> None:
    params = nn.ParameterList([torch.zeros(2), nn.Parameter(torch.ones(1))])
    params.append(torch.zeros(3, 3))
    assert len(params) == 3 and isinstance(params[0], nn.Parameter)
    assert [tuple(p.shape) for p in params[1:]] == [(1,), (3, 3)]
    assert [n for n, _ in params.named_parameters()] == ["0", "1", "2"]
    table = nn.ParameterDict({"a": torch.zeros(1)})
    table["b"] = torch.ones(2)
    assert list(table.keys()) == ["a", "b"] and isinstance(table["b"], nn.Parameter)
    del table["a"]
    assert "a" not in table and [n for n, _ in table.named_parameters()] == ["b"]


def test_texts_of_containers() -> None:
    net = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2), nn.ReLU()])
    assert repr(net) == (
        "ModuleList(\n  (0-1): 2 x Linear(in_features=2, out_features=2, bias=True)\n"
        "  (2): ReLU()\n)"
    )
    assert repr(nn.ParameterList([torch.zeros(2, 3)])) == (
        "ParameterList(  (0): Parameter containing: [torch.float32 of size 2x3])"
    )
    assert repr(Net()).splitlines()[:3] == [
        "Net(", "  (first): Linear(in_features=2, out_features=3, bias=True)",
        "  (second): Sequential(",
    ]  # fmt: skip
