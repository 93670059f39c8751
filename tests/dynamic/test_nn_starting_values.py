"""What modules start from, and what single layers do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import staticgraph.dynamic as torch
from staticgraph.errors import ShapeError, UsageError

nn = torch.nn


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
