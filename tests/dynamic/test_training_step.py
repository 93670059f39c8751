"""A training step as one compiled function: what it leaves behind is what define by run leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
import staticgraph.dynamic as torch
from staticgraph.dynamic import nn, optim
from staticgraph.dynamic.nn import functional as F
from staticgraph.dynamic.optim import lr_scheduler
from staticgraph.errors import RunError, ShapeError, UnimplementedError, UsageError


def numbers(*shape: int, seed: int = 0) -> Any:
    return torch.tensor(np.random.default_rng([seed, *shape]).uniform(-1, 1, shape))


def network(*parts: Any) -> Any:
    net = nn.Sequential(*(parts or (nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)))).double()
    with torch.no_grad():
        for i, p in enumerate(net.parameters()):
            p.copy_(numbers(*p.shape, seed=i))
    return net


def same(a: Any, b: Any) -> None:
    if isinstance(a, torch.Tensor):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-11)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for k in a:
            same(a[k], b[k])
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        assert a == b


class Side:
    """A network, its optimizer, and a step; compiled or not."""

    def __init__(self, make: Callable[[Side], Callable[..., Any]], opt: Any, net: Any) -> None:
        self.net = net() if net else network()
        self.opt = opt(self.net.parameters())
        self.step = make(self)

    def left(self) -> Any:
        """All that a step can have changed."""
        grads = [p.grad for p in self.net.parameters()]
        return [self.net.state_dict(), grads, self.opt.state_dict()]


def sides(make: Any, opt: Any = None, net: Any = None) -> tuple[Side, Side]:
    opt = opt or (lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9))
    compiled, plain = Side(make, opt, net), Side(make, opt, net)
    compiled.step = tf.function(compiled.step)
    return compiled, plain


def usual(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        side.opt.zero_grad()
        loss = F.mse_loss(side.net(x), y)
        loss.backward()
        side.opt.step()
        return loss

    return step


def follow(pair: tuple[Side, Side], calls: int = 4, between: Any = None) -> Any:
    """Both sides on the same data; they must leave the same behind.  Returns the compiled step."""
    for i in range(calls):
        x, y = numbers(5, 3, seed=i), numbers(5, 1, seed=i + 50)
        out = []
        for side in pair:
            torch.manual_seed(i)
            out.append(side.step(x, y))
            if between:
                between(side, i)
        same(*out)
        same(pair[0].left(), pair[1].left())
    return pair[0].step


OPTIMIZERS: dict[str, tuple[Any, int]] = {  # and how often the step is compiled
    "sgd": (lambda p: optim.SGD(p, lr=0.1), 1),
    "momentum": (
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01), 2
    ),
    "nesterov": (lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True), 2),
    "ascent": (lambda p: optim.SGD(p, lr=0.01, maximize=True), 1),
    "adam": (lambda p: optim.Adam(p, lr=0.01, weight_decay=0.1), 1),
    "amsgrad": (lambda p: optim.Adam(p, lr=0.01, amsgrad=True), 1),
    "adamw": (lambda p: optim.AdamW(p, lr=0.01), 1),
    "adamax": (lambda p: optim.Adamax(p, lr=0.01), 1),
    "rmsprop": (lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True), 1),
    "adagrad": (lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.1), 1),
    "adadelta": (lambda p: optim.Adadelta(p), 1),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_formula_that_can_be_traced(name: str) -> None:
    opt, count = OPTIMIZERS[name]
    step = follow(sides(usual, opt))
    assert len(step.traces) == count
    assert step.traces[-1].kernels > 0


def test_a_rate_that_changes_compiles_nothing() -> None:
    pair = sides(usual, lambda p: optim.Adam(p, lr=0.1))
    schedules = {id(s): lr_scheduler.StepLR(s.opt, 1, 0.5) for s in pair}
    step = follow(pair, 5, lambda side, _: schedules[id(side)].step())
    assert len(step.traces) == 1
    assert pair[0].opt.param_groups[0]["lr"] == 0.1 / 32


def test_other_options_are_not_frozen() -> None:
    def slower(side: Side, i: int) -> None:
        if i == 1:
            side.opt.param_groups[0]["weight_decay"] = 0.5

    assert len(follow(sides(usual, lambda p: optim.SGD(p, lr=0.1)), 4, slower).traces) == 2


def test_groups_and_a_frozen_parameter() -> None:
    def opt(ps: Any) -> Any:
        a, *rest = ps
        return optim.SGD([{"params": [a], "lr": 0.5}, {"params": rest}], lr=0.1)

    def freeze(side: Side, i: int) -> None:
        next(iter(side.net.parameters())).requires_grad_(i != 1)

    assert len(follow(sides(usual, opt), 4, freeze).traces) == 2


def test_state_that_is_loaded_is_used() -> None:
    def load(side: Side, i: int) -> None:
        if i == 1:
            side.opt.load_state_dict(side.opt.state_dict())
        if i == 2:
            side.net.load_state_dict({k: v * 0.5 for k, v in side.net.state_dict().items()})

    follow(sides(usual, lambda p: optim.Adam(p, lr=0.1)), 5, load)


def accumulating(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        loss = F.mse_loss(side.net(x), y) / 2
        loss.backward()
        return loss

    return step


def test_gradients_add_up_over_calls_in_the_tensor_that_is_there() -> None:
    held: dict[int, Any] = {}

    def between(side: Side, i: int) -> None:
        p = next(iter(side.net.parameters()))
        if i % 2:
            assert p.grad is held[id(side)]
            side.opt.step()
            side.opt.zero_grad()
            assert p.grad is None
        else:
            held[id(side)] = p.grad

    step = follow(sides(accumulating), 6, between)
    assert len(step.traces) == 2


def at_the_end(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        loss = F.mse_loss(side.net(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(side.net.parameters(), 0.1)
        side.opt.step()
        side.opt.zero_grad(set_to_none=False)
        return loss.detach(), loss.requires_grad

    return step


def by_hand(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        loss = ((side.net(x) - y) ** 2).sum()
        loss.backward()
        with torch.no_grad():
            for p in side.net.parameters():
                p -= 0.01 * p.grad
                p.grad = None
        return loss

    return step


def several(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        losses = []
        for _ in range(3):
            side.opt.zero_grad()
            loss = F.smooth_l1_loss(side.net(x), y)
            loss.backward()
            side.opt.step()
            losses.append(loss.detach())
        return losses

    return step


def penalised(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        side.opt.zero_grad()
        mixed = (0.3 * x + 0.7 * x.flip(0)).requires_grad_()
        out = side.net(mixed)
        (g,) = torch.autograd.grad(out, mixed, torch.ones_like(out), create_graph=True)
        penalty = ((g.norm(2, dim=1) - 1) ** 2).mean()
        (F.mse_loss(side.net(x), y) + penalty).backward()
        side.opt.step()
        return penalty

    return step


def with_closure(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        def closure() -> Any:
            side.opt.zero_grad()
            loss = F.l1_loss(side.net(x), y)
            loss.backward()
            return loss

        return side.opt.step(closure)

    return step


def twice(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        side.opt.zero_grad()
        out = side.net(x)
        loss = F.mse_loss(out, y)
        loss.backward(retain_graph=True)
        out.mean().backward()
        nn.utils.clip_grad_value_(side.net.parameters(), 0.05)
        side.opt.step()
        return [p.grad.sum() for p in side.net.parameters()]

    return step


class Tripled(torch.autograd.Function):
    """With three times its gradient, to be told apart."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 6 * g * x


def custom(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        side.opt.zero_grad()
        with torch.no_grad():
            scale = Tripled.apply(side.net(x)).mean()
        loss = (Tripled.apply(side.net(x)) - y).abs().mean() * scale
        loss.backward()
        side.opt.step()
        return loss

    return step


def behind_the_back(side: Side) -> Callable[..., Any]:
    def step(x: Any, y: Any) -> Any:
        side.net.zero_grad()
        hidden = side.net(x)
        kept = (hidden * 2).detach_()
        loss = ((hidden - y) ** 2).sum() + (hidden * kept).sum()
        loss.backward()
        for i, p in enumerate(side.net.parameters()):
            if i % 3 == 0:
                p.data -= 0.01 * p.grad.data
            elif i % 3 == 1:
                p.data = p.data - 0.01 * p.grad
            else:
                p.detach().sub_(0.01 * p.grad)
            p.data.clamp_(-0.5, 0.5)
        return loss, sum(p.sum() for p in side.net.parameters())

    return step


@pytest.mark.parametrize(
    "make", [behind_the_back, at_the_end, by_hand, several, penalised, with_closure, twice, custom]
)
def test_steps_as_programs_write_them(make: Any) -> None:
    follow(sides(make, lambda p: optim.RMSprop(p, lr=0.01)))


NETWORKS: dict[str, Callable[[], Any]] = {
    "dropout and statistics": lambda: network(
        nn.Linear(3, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 1)
    ),
    "weights used twice": lambda: network(*[nn.Linear(3, 3)] * 2, nn.Linear(3, 1)),
    "recurrent": lambda: network(Last(nn.LSTM(3, 4)), nn.Linear(4, 1)),
}


class Last(nn.Module):
    """The outputs of a recurrent network without its state."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Any) -> Any:
        return self.inner(x)[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    follow(sides(usual, lambda p: optim.Adam(p, lr=0.05), NETWORKS[name]))


def test_two_networks_in_one_step() -> None:
    def make(side: Side) -> Callable[..., Any]:
        critic = network(nn.Linear(1, 1))
        other = optim.SGD(critic.parameters(), lr=0.1)

        def step(x: Any, y: Any) -> Any:
            made = side.net(x)
            other.zero_grad()
            judged = critic(y).mean() - critic(made.detach()).mean()
            judged.backward()
            other.step()
            side.opt.zero_grad()
            fooled = critic(made).sigmoid().mean()
            fooled.backward()
            side.opt.step()
            return judged, fooled, [p.grad for p in critic.parameters()]

        return step

    follow(sides(make, lambda p: optim.Adam(p, lr=0.05)))


def test_hooks_on_parameters() -> None:
    def make(side: Side) -> Callable[..., Any]:
        next(iter(side.net.parameters())).register_hook(lambda g: g * 3)
        return usual(side)

    follow(sides(make))


def test_one_program_for_all_batches() -> None:
    side = sides(usual, lambda p: optim.SGD(p, lr=0.1))[0]
    for n in (5, 7, 9):
        side.step(numbers(n, 3), numbers(n, 1))
    assert len(side.step.traces) == 1  # type: ignore[attr-defined]


def test_what_is_left_behind_has_memory_of_its_own() -> None:
    a, b = numbers(3).requires_grad_(), numbers(3, seed=1).requires_grad_()
    x = numbers(3, seed=2)
    values = x.tolist()

    @tf.function
    def step(x: Any) -> Any:
        a.grad = b.grad = None
        ((a + b) * x).sum().backward()
        return x

    for _ in range(3):
        y = step(x)
        assert a.grad.tolist() == b.grad.tolist() == y.tolist() == values
        a.grad.zero_()
        assert b.grad.tolist() == y.tolist() == x.tolist() == values


# ---------------------------------------------------------------- what is not frozen
def test_training_and_evaluation_of_a_module_that_is_no_argument() -> None:
    model = network(nn.Linear(3, 6), nn.Dropout(0.5))
    predict = tf.function(lambda x: model(x))
    x = numbers(4, 3)
    for training in (True, False, True):
        model.train(training)
        found = []
        for f in (predict, model):
            torch.manual_seed(1)
            found.append(f(x))
        same(*found)
    assert len(predict.traces) == 2


def test_a_parameter_that_is_another_one() -> None:
    model = network(nn.Linear(3, 2))
    predict = tf.function(lambda x: model(x))
    x = numbers(4, 3)
    same(predict(x), model(x))
    model[0].weight = nn.Parameter(numbers(2, 3, seed=9))
    same(predict(x), model(x))


def test_hooks_that_come_later() -> None:
    def look(side: Side, i: int) -> None:
        if i == 1:
            next(iter(side.net.parameters())).register_hook(lambda g: g * 3)
        if i == 2:
            side.net[1].register_forward_hook(lambda m, a, out: out * 2)

    assert len(follow(sides(usual, lambda p: optim.SGD(p, lr=0.1)), 4, look).traces) == 3


# ---------------------------------------------------------------- what is refused
def test_a_result_takes_part_in_no_other_backward() -> None:
    side = sides(usual)[0]
    loss = side.step(numbers(5, 3), numbers(5, 1))
    assert loss.requires_grad
    with pytest.raises(RunError, match="has run its backward inside") as e:
        (loss * 2).backward()
    assert "test_training_step.py" in str(e.value)
    assert loss.detach().item() == loss.item()


def test_nothing_is_half_done_where_a_call_fails() -> None:
    compiled, plain = sides(usual, lambda p: optim.Adam(p, lr=0.1))
    with pytest.raises(ShapeError):
        compiled.step(numbers(5, 4), numbers(5, 1))
    same(compiled.left(), plain.left())
    assert compiled.opt.state_dict()["state"] == {}
    follow((compiled, plain))


def refused(make: Any, error: Any, match: str, opt: Any = None) -> None:
    compiled, plain = sides(make, opt)
    before = plain.left()
    with pytest.raises(error, match=match) as e:
        compiled.step(numbers(5, 3), numbers(5, 1))
    assert "test_training_step.py" in str(e.value)
    same(compiled.left(), before)


def test_an_optimizer_that_decides_by_values() -> None:
    refused(usual, UnimplementedError, "RAdam.step inside", lambda p: optim.RAdam(p, lr=0.1))
    refused(with_closure, UsageError, "needs the value", lambda p: optim.LBFGS(p, lr=0.1))


def test_an_argument_that_requires_a_gradient() -> None:
    side = sides(usual)[0]
    with pytest.raises(UnimplementedError, match="argument tensor 0 of step") as e:
        side.step(numbers(5, 3).requires_grad_(), numbers(5, 1))
    assert "x.detach()" in str(e.value)


def test_under_no_grad() -> None:
    side = sides(usual)[0]
    with torch.no_grad(), pytest.raises(RunError, match="called under no_grad"):
        side.step(numbers(5, 3), numbers(5, 1))


def test_a_scheduler_inside() -> None:
    def make(side: Side) -> Callable[..., Any]:
        schedule = lr_scheduler.StepLR(side.opt, 1)

        def step(x: Any, y: Any) -> Any:
            usual(side)(x, y)
            schedule.step()

        return step

    refused(make, UsageError, "StepLR.step inside")


def test_backward_that_leads_outside() -> None:
    def make(side: Side) -> Callable[..., Any]:
        hidden = next(iter(side.net.parameters())) * 2

        def step(x: Any, y: Any) -> Any:
            (x @ hidden.t()).sum().backward()

        return step

    refused(make, UnimplementedError, "computed outside of it")


def test_a_leaf_changed_while_recording_and_a_loss_without_history() -> None:
    def changed(side: Side) -> Callable[..., Any]:
        def step(x: Any, y: Any) -> Any:
            for p in side.net.parameters():
                p -= 1.0

        return step

    def without(side: Side) -> Callable[..., Any]:
        def step(x: Any, y: Any) -> Any:
            (x * y).sum().backward()

        return step

    def many(side: Side) -> Callable[..., Any]:
        def step(x: Any, y: Any) -> Any:
            side.net(x).backward()

        return step

    refused(changed, RunError, "a leaf that requires a gradient")
    refused(without, RunError, "does not require a gradient")
    refused(many, RunError, "without a gradient for it")


def test_what_is_changed_behind_the_back_of_a_gradient() -> None:
    def result(side: Side) -> Callable[..., Any]:
        def step(x: Any, y: Any) -> Any:
            out = side.net(x)
            out.data.zero_()
            return out

        return step

    def outside(side: Side) -> Callable[..., Any]:
        other = torch.zeros(4, 3).double()

        def step(x: Any, y: Any) -> Any:
            side.net[0].weight.data = other

        return step

    def stale(side: Side) -> Callable[..., Any]:
        def step(x: Any, y: Any) -> Any:
            old = side.net[0].weight.detach()
            with torch.no_grad():
                side.net[0].weight.add_(1)
            return old * 2

        return step

    refused(result, UnimplementedError, "behind its back")
    refused(outside, UnimplementedError, "gets a tensor of the outside")
    refused(stale, UnimplementedError, "used after the tensor it shows was changed")


def test_a_hook_on_a_result() -> None:
    def hooked(side: Side) -> Callable[..., Any]:
        def step(x: Any, y: Any) -> Any:
            side.net(x).register_hook(lambda g: g)

        return step

    refused(hooked, RunError, "a hook on a result inside a compiled function")


def test_tensors_of_a_trace_do_not_get_out() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x: Any) -> Any:
            self.count = self.count + 1
            return x * self.count

    counting = Counting()
    with pytest.raises(UnimplementedError, match="buffer 'count' of Counting") as e:
        tf.function(lambda x: counting(x))(torch.ones(1))
    assert "self.count = self.count + 1" in str(e.value)
    assert counting.count.item() == 0.0

    kept: list[Any] = [torch.zeros(1)]

    @tf.function
    def leaking(x: Any, n: int) -> Any:
        kept[0] = kept[0] + x
        return kept[0]

    leaking(torch.ones(1), 1)
    with pytest.raises(UsageError, match="while another function was recorded"):
        leaking(torch.ones(1), 2)


def test_a_trace_says_when_it_holds_no_longer() -> None:
    side = sides(usual, lambda p: optim.SGD(p, lr=0.1))[1]
    traced = tf.trace(side.step)(numbers(5, 3), numbers(5, 1))
    traced(numbers(5, 3), numbers(5, 1))
    side.opt.param_groups[0]["weight_decay"] = 0.1
    with pytest.raises(UsageError, match="not as they were when the function was traced"):
        traced(numbers(5, 3), numbers(5, 1))
