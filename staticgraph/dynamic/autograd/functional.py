"""`torch.autograd.functional`: whole derivatives of functions of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from staticgraph.dynamic.apply import Taped, wrap
from staticgraph.dynamic.autograd import grad
from staticgraph.dynamic.modes import enable_grad
from staticgraph.dynamic.shapes import stack
from staticgraph.errors import RunError, UsageError
from staticgraph.ir import loc
from staticgraph.ir.op import lookup

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


def _zeros(x: Any) -> Any:
    return lookup("ZerosLike")(x.detach())


def _leaves(inputs: Any, keep: bool) -> tuple[tuple[Any, ...], bool]:
    """The inputs as tensors to differentiate by, and whether there is a tuple of them."""
    several = isinstance(inputs, (tuple, list))
    given = tuple(inputs) if several else (inputs,)
    for x in given:
        if not isinstance(x, Taped):
            raise UsageError(
                f"derivatives are taken by tensors, got {type(x).__name__}", loc=loc.caller()
            )
    leaves: list[Any] = []
    for x in given:
        t: Any = x
        leaves.append(t.view_as(t) if keep and t.requires_grad else t.detach().requires_grad_())
    return tuple(leaves), several


def _called(func: Callable[..., Any], xs: Sequence[Any]) -> tuple[tuple[Any, ...], bool]:
    with enable_grad():
        out = func(*xs)
    several = isinstance(out, (tuple, list))
    outs = tuple(out) if several else (out,)
    for y in outs:
        if not isinstance(y, Taped):
            raise UsageError(
                f"the function must give tensors, it gave {type(y).__name__}", loc=loc.caller()
            )
    return outs, several


def _rows(y: Any, xs: Sequence[Any], create: bool, strict: bool) -> list[list[Any]]:
    """For each element of `y` its gradients; zeros where an input has no part in it."""
    if not y.requires_grad:
        if strict:
            raise RunError("the result does not depend on the inputs", loc=loc.caller())
        return [[_zeros(x) for x in xs] for _ in range(y.numel())]
    found = []
    with enable_grad():
        flat = y.reshape(-1)
        for i in range(y.numel()):
            found.append(
                grad(flat[i], xs, create_graph=create, retain_graph=True, materialize_grads=True)
            )
    return [list(row) for row in found]


def jacobian(
    func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False
) -> Any:
    """The derivative of each element of the result by each element of the inputs.

    Args:
      func: takes the inputs and gives a tensor or a tuple of them.
      create_graph: let the derivatives be differentiated in their turn.
      strict: an error, instead of zeros, for a result that does not depend on the inputs.

    Returns:
      a tensor of shape ``[*result, *input]``; a tuple for several results, of tuples for several
      inputs.

    >>> import staticgraph.dynamic as torch
    >>> from staticgraph.dynamic.autograd.functional import jacobian
    >>> jacobian(torch.square, torch.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    xs, several = _leaves(inputs, create_graph)
    outs, many = _called(func, xs)
    made = []
    for y in outs:
        rows = _rows(y, xs, create_graph, strict)
        parts = []
        for k, x in enumerate(xs):
            shape = (*y.shape, *x.shape)
            column: Any = stack([r[k] for r in rows]) if rows else _zeros(x).new_zeros(shape)
            parts.append(column.reshape(shape))
        made.append(tuple(parts) if several else parts[0])
    return tuple(made) if many else made[0]


def hessian(
    func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False
) -> Any:
    """The second derivatives of a function that gives a single number.

    Returns:
      a tensor of shape ``[*input, *input]``; a tuple of tuples for several inputs.

    Raises:
      RunError: the function gives more than one number.

    >>> import staticgraph.dynamic as torch
    >>> from staticgraph.dynamic.autograd.functional import hessian
    >>> hessian(lambda x: (x**3).sum(), torch.tensor([1.0, 2.0]))
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """
    several = isinstance(inputs, (tuple, list))

    def slope(*xs: Any) -> Any:
        (y,) = _single(func, xs)
        found = grad(y, xs, create_graph=True, materialize_grads=True) if y.requires_grad else [
            _zeros(x) for x in xs
        ]  # fmt: skip
        return tuple(found) if several else found[0]

    return jacobian(slope, inputs, create_graph, strict)


def _single(func: Callable[..., Any], xs: Sequence[Any]) -> tuple[Any]:
    outs, _ = _called(func, xs)
    if len(outs) != 1 or outs[0].numel() != 1:
        shapes = ", ".join(str(list(y.shape)) for y in outs)
        raise RunError(
            f"the function must give a single number, it gave {shapes}", loc=loc.caller()
        )
    return (outs[0].reshape(()),)


def _vectors(v: Any, like: Sequence[Any], what: str) -> tuple[Any, ...]:
    if v is None:
        if len(like) == 1 and like[0].numel() == 1:
            return (wrap(_zeros(like[0])._array + 1),)
        raise RunError(
            f"{what} needs v, a tensor for each {_whose(what)}: only a single number has the "
            "obvious one",
            loc=loc.caller(),
        )
    vs = tuple(v) if isinstance(v, (tuple, list)) else (v,)
    if len(vs) != len(like) or any(
        tuple(a.shape) != tuple(b.shape) for a, b in zip(vs, like, strict=False)
    ):
        raise RunError(
            f"{what}: v has shapes {[list(a.shape) for a in vs]}, they must be "
            f"{[list(b.shape) for b in like]}",
            loc=loc.caller(),
        )
    return vs


def _whose(what: str) -> str:
    """Whose shape the vector of a product has."""
    return "result" if what == "vjp" else "input"


def _given(values: Sequence[Any], several: bool, create: bool) -> Any:
    out = tuple(v if create else v.detach() for v in values)
    return out if several else out[0]


def vjp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """The results, and `v` times the Jacobian."""
    xs, several = _leaves(inputs, create_graph)
    outs, many = _called(func, xs)
    vs = _vectors(v, outs, "vjp")
    found = _pulled(outs, xs, vs, create_graph, strict)
    return _given(outs, many, create_graph), _given(found, several, create_graph)


def _pulled(
    outs: Sequence[Any], xs: Sequence[Any], vs: Sequence[Any], create: bool, strict: bool
) -> Sequence[Any]:
    pairs = [(y, v) for y, v in zip(outs, vs, strict=True) if y.requires_grad]
    if not pairs:
        if strict:
            raise RunError("the results do not depend on the inputs", loc=loc.caller())
        return [_zeros(x) for x in xs]
    return grad(
        [y for y, _ in pairs], xs, [w for _, w in pairs], create_graph=create,
        materialize_grads=True,
    )  # fmt: skip


def jvp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """The results, and the Jacobian times `v`: the derivative along `v`."""
    xs, _ = _leaves(inputs, create_graph)
    vs = _vectors(v, xs, "jvp")
    outs, many = _called(func, xs)
    with enable_grad():  # the product is linear in what `vjp` is given, and differentiated by it
        dummies = [_zeros(y).requires_grad_() for y in outs]
        back = _pulled(outs, xs, dummies, True, strict)
        found = _pulled(back, dummies, vs, create_graph, False)
    return _given(outs, many, create_graph), _given(found, many, create_graph)


def vhp(
    func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
    strict: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """The number that the function gives, and `v` times the Hessian.

    >>> import staticgraph.dynamic as torch
    >>> from staticgraph.dynamic.autograd.functional import vhp
    >>> x = torch.tensor([1.0, 2.0])
    >>> vhp(lambda x: (x**3).sum(), x, torch.ones(2))
    (tensor(9.), tensor([ 6., 12.]))
    """
    xs, several = _leaves(inputs, create_graph)
    vs = _vectors(v, xs, "vhp")
    (y,) = _single(func, xs)
    with enable_grad():
        slopes = _pulled((y,), xs, (wrap(_zeros(y)._array + 1),), True, strict)
        found = _pulled(slopes, xs, vs, create_graph, False)
    return _given((y,), False, create_graph), _given(found, several, create_graph)


hvp = vhp
"""The Hessian is symmetric: the same as `vhp`."""
