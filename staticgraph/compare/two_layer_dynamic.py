"""The net of two layers, define-by-run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from staticgraph.compare.cubic import trained
from staticgraph.compare.pair import Step, Values, parameters, set_linear, tensors
from staticgraph.compare.two_layer_values import CLIP, HIDDEN, INPUTS, OUTPUTS


def by_hand(torch: Any, values: Values) -> Step:
    """Gradients written out."""
    x, y, w1, w2 = tensors(torch, values, "x", "y", "w1", "w2")

    def step(_: Any) -> float:
        h = x.mm(w1)
        h_relu = h.clamp(min=0)
        y_pred = h_relu.mm(w2)
        loss = (y_pred - y).pow(2).sum()
        grad_y_pred = 2.0 * (y_pred - y)
        grad_w2 = h_relu.t().mm(grad_y_pred)
        grad_h = grad_y_pred.mm(w2.t()).clone()
        grad_h[h < 0] = 0
        for w, g in ((w1, x.t().mm(grad_h)), (w2, grad_w2)):
            w -= 1e-6 * g
        return float(loss.item())

    return step


def _descending(
    torch: Any, values: Values, relu: Callable[[Any], Any], clip: float | None = None
) -> Step:
    x, y = tensors(torch, values, "x", "y")
    w1, w2 = params = parameters(torch, values, "w1", "w2")

    def step(_: Any) -> float:
        loss = (relu(x.mm(w1)).mm(w2) - y).pow(2).sum()
        loss.backward()
        with torch.no_grad():
            if clip is not None:
                norm = (w1.grad.pow(2).sum() + w2.grad.pow(2).sum()).sqrt()
                if norm > clip:
                    for w in params:
                        w.grad *= clip / norm
            for w in params:
                w -= 1e-6 * w.grad
                w.grad = None
        return float(loss.item())

    return step


def autograd(torch: Any, values: Values) -> Step:
    """Differentiated by the tape."""
    return _descending(torch, values, lambda h: h.clamp(min=0))


def clipped(torch: Any, values: Values) -> Step:
    """A gradient that is shortened where it is too long."""
    return _descending(torch, values, lambda h: h.clamp(min=0), CLIP)


def custom_function(torch: Any, values: Values) -> Step:
    """A relu with a backward of its own."""

    class MyReLU(torch.autograd.Function):  # type: ignore[misc]
        """max(0, x)."""

        @staticmethod
        def forward(ctx: Any, input: Any) -> Any:
            ctx.save_for_backward(input)
            return input.clamp(min=0)

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            (input,) = ctx.saved_tensors
            grad_input = grad_output.clone()
            grad_input[input < 0] = 0
            return grad_input

    return _descending(torch, values, MyReLU.apply)


def _sequential(torch: Any, values: Values) -> Any:
    return torch.nn.Sequential(
        set_linear(torch, torch.nn.Linear(INPUTS, HIDDEN), values, "linear1"),
        torch.nn.ReLU(),
        set_linear(torch, torch.nn.Linear(HIDDEN, OUTPUTS), values, "linear2"),
    )


def _two_layer_net(torch: Any, values: Values) -> Any:
    class TwoLayerNet(torch.nn.Module):  # type: ignore[misc]
        """Two linear layers with a relu between them."""

        def __init__(self) -> None:
            super().__init__()
            self.linear1 = torch.nn.Linear(INPUTS, HIDDEN)
            self.linear2 = torch.nn.Linear(HIDDEN, OUTPUTS)

        def forward(self, x: Any) -> Any:
            return self.linear2(self.linear1(x).clamp(min=0))

    net = TwoLayerNet()
    set_linear(torch, net.linear1, values, "linear1")
    set_linear(torch, net.linear2, values, "linear2")
    return net


def nn(torch: Any, values: Values) -> Step:
    """A sequence of layers, updated by hand."""
    x, y = tensors(torch, values, "x", "y")
    model, loss_fn = _sequential(torch, values), torch.nn.MSELoss()

    def step(_: Any) -> float:
        loss = loss_fn(model(x), y)
        model.zero_grad()
        loss.backward()
        for param in model.parameters():
            param.data -= 1e-2 * param.grad.data
        return float(loss.item())

    return step


def optim(torch: Any, values: Values) -> Step:
    """A module, by Adam."""
    model = _two_layer_net(torch, values)
    loss_fn = torch.nn.MSELoss(reduction="sum")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    return trained(model, *tensors(torch, values, "x", "y"), loss_fn, optimizer)


def subsets(torch: Any, values: Values) -> Step:
    """Adam for the first layer, momentum for the second."""
    model = _sequential(torch, values)
    optimizers = (
        torch.optim.Adam(model[0].parameters(), lr=1e-4),
        torch.optim.SGD(model[2].parameters(), lr=1e-5, momentum=0.9),
    )
    loss_fn = torch.nn.MSELoss(reduction="sum")
    return trained(model, *tensors(torch, values, "x", "y"), loss_fn, *optimizers)


def module(torch: Any, values: Values) -> Step:
    """A module, by gradient descent."""
    model = _two_layer_net(torch, values)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    return trained(model, *tensors(torch, values, "x", "y"), torch.nn.MSELoss(), optimizer)


def dynamic_net(torch: Any, values: Values) -> Step:
    """The middle layer up to three times."""

    class DynamicNet(torch.nn.Module):  # type: ignore[misc]
        """The middle layer is applied up to three times, with one set of weights."""

        def __init__(self) -> None:
            super().__init__()
            self.input_linear = torch.nn.Linear(INPUTS, HIDDEN)
            self.middle_linear = torch.nn.Linear(HIDDEN, HIDDEN)
            self.output_linear = torch.nn.Linear(HIDDEN, OUTPUTS)

        def forward(self, x: Any, times: int) -> Any:
            h_relu = self.input_linear(x).clamp(min=0)
            for _ in range(times):
                h_relu = self.middle_linear(h_relu).clamp(min=0)
            return self.output_linear(h_relu)

    x, y = tensors(torch, values, "x", "y")
    model = DynamicNet()
    for n in ("input", "middle", "output"):
        set_linear(torch, getattr(model, f"{n}_linear"), values, n)
    criterion = torch.nn.MSELoss(reduction="sum")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def step(times: int) -> float:
        loss = criterion(model(x, times), y)
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step
