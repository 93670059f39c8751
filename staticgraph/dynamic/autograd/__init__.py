"""`torch.autograd`: gradients on request, custom functions, numerical checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from staticgraph.dynamic import engine
from staticgraph.dynamic.apply import Taped, wrap
from staticgraph.dynamic.function import Function, once_differentiable
from staticgraph.dynamic.modes import enable_grad, no_grad, set_grad_enabled
from staticgraph.dynamic.tensor import Tensor
from staticgraph.errors import InvalidArgumentError, RunError, UnimplementedError, UsageError
from staticgraph.ir import loc

__all__ = [
    "Function", "Variable", "backward", "enable_grad", "grad", "gradcheck", "gradgradcheck",
    "no_grad", "once_differentiable", "set_grad_enabled",
]  # fmt: skip


def _many(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (list, tuple)) else (value,)


def _gradients(given: Any, count: int) -> tuple[Any, ...]:
    gs = (None,) * count if given is None else _many(given)
    if len(gs) != count:
        raise UsageError(f"{len(gs)} gradients given for {count} tensors", loc=loc.caller())
    return gs


def grad(
    outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: bool | None = None,
    create_graph: bool = False, only_inputs: bool = True, allow_unused: bool | None = None,
    is_grads_batched: bool = False, materialize_grads: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """The gradients of the sum of `outputs` with respect to `inputs`; `.grad` stays as it is.

    Args:
      grad_outputs: a gradient per output that is no single number.
      create_graph: record the computation, so that the result can be differentiated again.
      only_inputs: True, as in PyTorch, where nothing else is left of it.
      allow_unused: give None, instead of an error, for inputs that have no part in the outputs.

    Raises:
      RunError: an input has no part in the outputs, or nothing is recorded.

    >>> import staticgraph.dynamic as torch
    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> (g,) = torch.autograd.grad(x**3, x, create_graph=True)
    >>> g, torch.autograd.grad(g, x)[0]
    (tensor(27., grad_fn=<MulBackward0>), tensor(18.))
    """
    if is_grads_batched or not only_inputs:
        raise UnimplementedError(
            "grad: is_grads_batched=True and only_inputs=False are not available", loc=loc.caller()
        )
    outs, ins = _many(outputs), _many(inputs)
    keep = create_graph if retain_graph is None else retain_graph
    unused = materialize_grads if allow_unused is None else allow_unused
    return engine.gradients_of(
        outs, ins, _gradients(grad_outputs, len(outs)), keep, create_graph, unused,
        materialize_grads,
    )  # fmt: skip


def backward(
    tensors: Any, grad_tensors: Any = None, retain_graph: bool | None = None,
    create_graph: bool = False, inputs: Sequence[Tensor] | None = None,
) -> None:  # fmt: skip
    """Add the gradients of the sum of `tensors` to `.grad` of the leaves."""
    ts = _many(tensors)
    keep = create_graph if retain_graph is None else retain_graph
    engine.backward(ts, _gradients(grad_tensors, len(ts)), keep, create_graph, inputs)


class _VariableType(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, Tensor)

    def __call__(cls, data: Any, requires_grad: bool = False, volatile: bool = False) -> Any:
        del volatile
        made = data.detach() if isinstance(data, Tensor) else wrap(np.array(data))
        return made.requires_grad_() if requires_grad else made


class Variable(metaclass=_VariableType):
    """The name that older programs wrap tensors in; it gives a tensor.

    >>> import staticgraph.dynamic as torch
    >>> from staticgraph.dynamic.autograd import Variable
    >>> Variable(torch.ones(2), requires_grad=True)
    tensor([1., 1.], requires_grad=True)
    """


# ---------------------------------------------------------------- numerical checks
def _slopes(
    function: Callable[..., Any], inputs: Sequence[Any], i: int, eps: float
) -> list[np.ndarray]:
    """The Jacobian of each output with respect to input `i`, by central differences."""
    x = inputs[i]._array
    columns: list[list[np.ndarray]] = []
    for k in range(x.size):
        ends = []
        for sign in (1, -1):
            moved = x.astype(np.float64).ravel()
            moved[k] += sign * eps
            fresh = [wrap(t._array) if isinstance(t, Taped) else t for t in inputs]
            fresh[i] = wrap(moved.reshape(x.shape).astype(x.dtype))
            with no_grad():
                ends.append([o._array.ravel() for o in _many(function(*fresh))])
        columns.append([(p - m) / (2 * eps) for p, m in zip(*ends, strict=True)])
    return [np.stack(c, axis=-1) for c in zip(*columns, strict=True)]


def gradcheck(
    func: Callable[..., Any], inputs: Any, *, eps: float = 1e-6, atol: float = 1e-5,
    rtol: float = 1e-3, raise_exception: bool = True,
) -> bool:  # fmt: skip
    """Whether gradients agree with central differences; best with float64 inputs.

    Raises:
      InvalidArgumentError: they do not, and `raise_exception` is true.

    >>> import staticgraph.dynamic as torch
    >>> x = torch.tensor([0.5, 1.0], dtype=torch.double, requires_grad=True)
    >>> torch.autograd.gradcheck(torch.tanh, (x,))
    True
    """
    ins = _many(inputs)
    outs = [o for o in _many(func(*ins)) if isinstance(o, Tensor) and o.requires_grad]
    wanted = [i for i, t in enumerate(ins) if isinstance(t, Tensor) and t.requires_grad]
    if not wanted:
        raise RunError("gradcheck: no input requires a gradient", loc=loc.caller())
    for i in wanted:
        numeric = _slopes(func, ins, i, eps)
        for n, o in enumerate(outs):
            rows = []
            for k in range(o._array.size):
                seed = np.zeros(o._array.size, o._array.dtype)
                seed[k] = 1
                (g,) = grad(
                    o, ins[i], wrap(seed.reshape(o._array.shape)), retain_graph=True,
                    allow_unused=True,
                )  # fmt: skip
                rows.append(np.zeros(ins[i]._array.size) if g is None else g._array.ravel())
            exact = np.stack(rows) if rows else np.zeros((0, ins[i]._array.size))
            if not np.allclose(exact, numeric[n], rtol=rtol, atol=atol):
                if not raise_exception:
                    return False
                raise InvalidArgumentError(
                    f"the gradient of output {n} for input {i} is {exact.tolist()}, central "
                    f"differences give {numeric[n].tolist()}",
                    loc=loc.caller(),
                )
    return True


def gradgradcheck(
    func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, **kwargs: Any
) -> bool:
    """`gradcheck` of the gradient."""
    ins = _many(inputs)
    outs = _many(func(*ins))
    gs = grad_outputs
    if gs is None:
        rng = np.random.default_rng(0)
        gs = [wrap(rng.normal(size=o._array.shape).astype(o._array.dtype)) for o in outs]
        for g in gs:
            g.requires_grad_()
    count = len(ins)
    wanted = [i for i, t in enumerate(ins) if isinstance(t, Tensor) and t.requires_grad]

    def gradient(*args: Any) -> Any:
        with enable_grad():
            xs = list(args[:count])
            for i in wanted:
                if not xs[i].requires_grad:
                    xs[i] = xs[i].detach().requires_grad_()
            return grad(
                _many(func(*xs)), [xs[i] for i in wanted], list(args[count:]), create_graph=True
            )

    return gradcheck(gradient, (*ins, *gs), **kwargs)
