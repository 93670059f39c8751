"""What modules are: their parts, their state, hooks, copies, containers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import staticgraph.dynamic as torch
from staticgraph.errors import ShapeError, StateDictError, UsageError

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


# ---------------------------------------------------------------- starting values
@pytest.mark.parametrize(
    ("module", "name", "bound"),
    [
        (lambda: nn.Linear(16, 400), "weight", 0.25),
        (lambda: nn.Linear(16, 4000), "bias", 0.25),
        (lambda: nn.Conv2d(4, 300, 2), "weight", 0.25),
        (lambda: nn.Conv2d(4, 4000, 2), "bias", 0.25),
        (lambda: nn.Conv2d(8, 400, 2, groups=2), "weight", 0.25),
        (lambda: nn.ConvTranspose2d(300, 4, 2), "weight", 0.25),
        (lambda: nn.LSTM(50, 64), "weight_ih_l0", 0.125),
        (lambda: nn.Bilinear(16, 20, 30), "weight", 0.25),
    ],
)
def test_uniform_starting_values(module: Any, name: str, bound: float) -> None:
    torch.manual_seed(0)
    values = module().get_parameter(name).detach().numpy()
    assert abs(values).max() <= bound
    assert abs(values).max() > 0.98 * bound
    # mean 0 and variance bound**2 / 3, within five deviations of their estimates
    deviation = bound / 3**0.5
    assert abs(values.mean()) < 5 * deviation / values.size**0.5
    np.testing.assert_allclose(values.std(), deviation, rtol=5 * (0.2 / values.size) ** 0.5 + 1e-3)


def test_seeded_modules_are_the_same() -> None:
    torch.manual_seed(4)
    first = nn.Linear(3, 2)
    torch.manual_seed(4)
    second = nn.Linear(3, 2)
    np.testing.assert_array_equal(first.weight.detach().numpy(), second.weight.detach().numpy())


def test_embedding_starts_normal_and_its_padding_row_stays_zero() -> None:
    torch.manual_seed(1)
    table = nn.Embedding(500, 20, padding_idx=3)
    values = table.weight.detach().numpy()
    assert not values[3].any()
    np.testing.assert_allclose(values.std(), 1.0, atol=0.05)
    table(torch.tensor([3, 4, 3])).sum().backward()
    assert not table.weight.grad[3].numpy().any()
    assert table.weight.grad[4].tolist() == [1.0] * 20
    frozen = nn.Embedding.from_pretrained(torch.ones(3, 2))
    assert not frozen.weight.requires_grad and frozen(torch.tensor([1])).tolist() == [[1.0, 1.0]]


def test_init_functions() -> None:
    torch.manual_seed(0)
    w = torch.empty(60, 40)
    init = nn.init
    for function, deviation in (
        (lambda: init.xavier_uniform_(w, gain=2.0), 2 * (2 / 100) ** 0.5),
        (lambda: init.xavier_normal_(w), (2 / 100) ** 0.5),
        (lambda: init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"), (2 / 60) ** 0.5),
        (lambda: init.kaiming_uniform_(w, a=5**0.5), (1 / 120) ** 0.5),
        (lambda: init.normal_(w, 0.0, 3.0), 3.0),
        (lambda: init.uniform_(w, -1.0, 1.0), 3**-0.5),
    ):
        assert function() is w
        np.testing.assert_allclose(w.numpy().std(), deviation, rtol=0.05)
    assert init.constant_(w, 3.0).unique().tolist() == [3.0]
    assert init.zeros_(w).sum().item() == 0.0 and init.ones_(w).sum().item() == 2400.0
    np.testing.assert_array_equal(init.eye_(torch.empty(2, 3)).numpy(), np.eye(2, 3))
    q = init.orthogonal_(torch.empty(5, 3), gain=2.0).numpy()
    np.testing.assert_allclose(q.T @ q, 4 * np.eye(3), atol=1e-5)
    cut = init.trunc_normal_(torch.empty(1000), std=2.0, a=-1.0, b=1.0).numpy()
    assert abs(cut).max() <= 1.0 and cut.std() > 0.5
    sparse = init.sparse_(torch.empty(10, 4), 0.3).numpy()
    assert ((sparse == 0).sum(0) == 3).all()
    x = torch.randn(1, 2, 5)
    same = nn.functional.conv1d(x, init.dirac_(torch.empty(2, 2, 3)), padding=1)
    np.testing.assert_array_equal(same.numpy(), x.numpy())
    leaf = torch.empty(2, 2, requires_grad=True)
    assert init.ones_(leaf) is leaf and leaf.is_leaf
    with pytest.raises(ShapeError, match=r"two axes or more, got \[3\]"):
        init.xavier_uniform_(torch.empty(3))


# ---------------------------------------------------------------- single layers
def test_dropout_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer = nn.Dropout(0.25)
    x = torch.ones(100, 100, requires_grad=True)
    out = layer(x)
    values = np.unique(out.detach().numpy())
    np.testing.assert_allclose(values, [0.0, 1 / 0.75], rtol=1e-6)
    assert abs(out.mean().item() - 1.0) < 0.03
    out.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), out.detach().numpy())
    whole = nn.Dropout2d(0.5)(torch.ones(8, 8, 3, 3)).numpy().reshape(64, 9)
    assert (whole == whole[:, :1]).all() and 0 < (whole[:, 0] == 0).sum() < 64
    assert nn.Dropout(1.0)(x).sum().item() == 0.0
    with pytest.raises(ValueError, match=r"is in \[0, 1\], got 1"):
        nn.Dropout(1.5)


def test_batch_norm_tracks_and_evaluates() -> None:
    layer = nn.BatchNorm1d(2, momentum=0.5)
    x = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    layer(x)
    assert layer.running_mean.tolist() == [1.0, 10.0]
    np.testing.assert_allclose(layer.running_var.numpy(), [0.5 + 1.0, 0.5 + 100.0])
    assert layer.num_batches_tracked.item() == 1
    assert list(layer.state_dict()) == [
        "weight", "bias", "running_mean", "running_var", "num_batches_tracked",
    ]  # fmt: skip
    layer.eval()
    np.testing.assert_allclose(
        layer(x).detach().numpy(), (x.numpy() - [1, 10]) / np.sqrt([1.5, 100.5]), rtol=1e-4
    )
    assert layer.num_batches_tracked.item() == 1
    with pytest.raises(ValueError, match="more than one value per channel"):
        nn.BatchNorm1d(2)(torch.ones(1, 2))
    with pytest.raises(ShapeError, match=r"expected 4D input \(got 2D input\)"):
        nn.BatchNorm2d(2)(x)


def test_recurrent_networks_are_their_cells_step_by_step() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 2, 3)
    lstm, cell = nn.LSTM(3, 5), nn.LSTMCell(3, 5)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in lstm.state_dict().items()})
    out, (h, c) = lstm(x)
    state = None
    for t in range(4):
        state = cell(x[t], state)
        np.testing.assert_allclose(out[t].detach().numpy(), state[0].detach().numpy(), rtol=1e-5)
    np.testing.assert_allclose(c[0].detach().numpy(), state[1].detach().numpy(), rtol=1e-5)
    np.testing.assert_array_equal(h[0].detach().numpy(), out[-1].detach().numpy())
    names = list(nn.GRU(3, 4, 2, bidirectional=True).state_dict())
    assert names[:4] == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    assert names[4] == "weight_ih_l0_reverse" and names[-1] == "bias_hh_l1_reverse"
    assert [len(w) for w in lstm.all_weights] == [4]


def test_clipping_gradients() -> None:
    p, q = (nn.Parameter(torch.zeros(2)) for _ in range(2))
    p.grad, q.grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, -4.0])
    norm = nn.utils.clip_grad_norm_([p, q], 2.5)
    assert norm.item() == 5.0
    np.testing.assert_allclose(q.grad.numpy(), [0.0, -2.0], rtol=1e-5)
    assert nn.utils.clip_grad_norm_([p, q], 10.0, norm_type=float("inf")).item() == pytest.approx(2)
    nn.utils.clip_grad_value_([p, q], 1.0)
    assert (p.grad.tolist(), q.grad.tolist()) == ([1.0, 0.0], [0.0, -1.0])
    p.grad = torch.tensor([float("inf"), 0.0])
    with pytest.raises(RuntimeError, match="norm of order 2 of the gradients is inf"):
        nn.utils.clip_grad_norm_([p], 1.0, error_if_nonfinite=True)
    vector = nn.utils.parameters_to_vector([p, q])
    nn.utils.vector_to_parameters(vector.detach() + torch.arange(4.0), [p, q])
    assert (p.tolist(), q.tolist()) == ([0.0, 1.0], [2.0, 3.0])


def test_old_arguments_of_losses() -> None:
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0])
    with pytest.warns(DeprecationWarning, match="reduction='sum'") as caught:
        loss = nn.MSELoss(size_average=False)
        weighted = nn.CrossEntropyLoss(size_average=False)
    assert [w.filename for w in caught] == [__file__] * 2 and weighted.reduction == "sum"
    assert loss(x, y).item() == 5.0
    with pytest.warns(DeprecationWarning, match="reduction='none'"):
        assert nn.MSELoss(reduce=False)(x, y).tolist() == [1.0, 4.0]
    with pytest.warns(DeprecationWarning, match="reduction='mean'"):
        assert nn.functional.mse_loss(x, y, size_average=True).item() == 2.5
    with pytest.raises(ValueError, match="none, mean, sum, batchmean, not 'total'"):
        nn.MSELoss(reduction="total")(x, y)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match="the input has 4 features and the weight takes 3") as e:
        nn.Linear(3, 2)(torch.ones(2, 4))
    assert "nn.Linear(3, 2)(torch.ones(2, 4))" in str(e.value)
    with pytest.raises(ShapeError, match="the input has 2 channels and the weight takes 3"):
        nn.Conv2d(3, 4, 3)(torch.ones(1, 2, 5, 5))
    with pytest.raises(ShapeError, match="reaches over 3 elements on an axis that has 2"):
        nn.Conv2d(3, 4, 3)(torch.ones(1, 3, 2, 5))
    with pytest.raises(ShapeError, match=r"class numbers of shape \[2\]"):
        nn.CrossEntropyLoss()(torch.ones(3, 4), torch.tensor([0, 1]))
    with pytest.raises(RuntimeError, match=r"label 7 is outside \[0, 4\)"):
        nn.CrossEntropyLoss()(torch.ones(1, 4), torch.tensor([7]))
    with pytest.raises(ShapeError, match=r"initial state has shape \[1, 2, 4\]"):
        nn.GRU(3, 5)(torch.ones(4, 2, 3), torch.zeros(1, 2, 4))
    with pytest.raises(UsageError, match="embedding takes row numbers"):
        nn.Embedding(3, 2)(torch.ones(2))
    with pytest.raises(IndexError, match="3"):
        nn.Embedding(3, 2)(torch.tensor([3]))
    with pytest.raises(UsageError, match="made of a tensor, got a list"):
        nn.Parameter([1.0])
    with pytest.warns(UserWarning, match=r"target size \[3\] differs from input size \[3, 1\]"):
        nn.MSELoss()(torch.ones(3, 1), torch.ones(3))


def test_second_derivatives_through_layers() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x = torch.randn(1, 3, dtype=torch.float64, requires_grad=True)
    (g,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad((g * g).sum(), x)
    w1, w2 = net[0].weight.detach().numpy(), net[2].weight.detach().numpy()

    def slope(at: np.ndarray) -> np.ndarray:
        z = w1 @ at + net[0].bias.detach().numpy()
        return np.asarray((w2[0] * (1 - np.tanh(z) ** 2)) @ w1)

    at, eps = x.detach().numpy()[0], 1e-6
    want = [
        (np.sum(slope(at + eps * d) ** 2) - np.sum(slope(at - eps * d) ** 2)) / (2 * eps)
        for d in np.eye(3)
    ]
    np.testing.assert_allclose(h.numpy()[0], want, rtol=1e-6)
