"""The bridge from define-by-run to define-and-run: dynamic functions, recorded and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def function(fn: Callable[..., Any] | None = None) -> Any:
    """Compile a function of dynamic tensors: recorded when first called, native code after that.

    It is recorded once for each kind of arguments: their structure, element types, ranks, which
    sizes are equal, and the values of what is no tensor.  Sizes are open; a function that looks at
    them is compiled for each.  Tensors that it uses without being given them (parameters) are
    read anew with every call, and those that it changes in place are changed.  Results take part in
    gradients, which are compiled as well.  `backward` and an optimizer's `step` may be inside: a
    training step is then one program.

    Args:
      fn: a function, a method, or a module; without it, a decorator is returned.

    Raises:
      UsageError: the function needs the value of a tensor while it is recorded: a condition, a
        loop's length, `item`.  What it does would be frozen.

    >>> import staticgraph as tf
    >>> import staticgraph.dynamic as torch
    >>> @tf.function
    ... def cube(x):
    ...     return x * x * x
    >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> y = cube(x)
    >>> y.sum().backward()
    >>> y.detach(), x.grad
    (tensor([1., 8.]), tensor([ 3., 12.]))
    """
    from staticgraph.bridge.functions import Function_, check_callable

    if fn is None:
        return function
    check_callable(fn, "function")
    return Function_(fn)


def trace(fn: Any, name: str | None = None) -> Any:
    """Record a function of dynamic tensors: ``trace(fn)(*example)``.

    Of a graph's tensor it is the sum of the diagonal, as `linalg.trace`.

    Returns:
      A function of example arguments that gives the recorded function; print it, or call it on
      tensors of the same kind.

    Raises:
      UsageError: the function needs the value of a tensor; see `function`.

    >>> import staticgraph as tf
    >>> import staticgraph.dynamic as torch
    >>> line = tf.trace(lambda x: x * 2 + 1)(torch.zeros(3))
    >>> line(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    tensor([3., 5., 7., 9.])
    """
    if not callable(fn):
        from staticgraph.api.linalg import trace as of_matrix

        return of_matrix(fn, name=name)
    from staticgraph.bridge.functions import check_callable, record

    check_callable(fn, "trace")

    def on_example(*args: Any, **kwargs: Any) -> Any:
        return record(fn, args, kwargs)

    return on_example
