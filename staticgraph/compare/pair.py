"""`Pair`: a program in its forms, static, define-by-run and by hand, over the same numbers.

A form is made from the pair's numbers and then called once per step with that step's item, which
is None or, where steps differ, what they differ in: a degree, a depth, a sequence.  It returns the
loss of the step, as it was before the update.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

import staticgraph as tf

Values = Mapping[str, np.ndarray]
Step = Callable[[Any], float]
Group = Literal["cubic fit", "two layers", "control flow"]


@dataclass(frozen=True, slots=True)
class Static:
    """A graph that has been built, and a session with its variables initialised.

    Attributes:
      call: fetches, the loss first, and feeds for the item of a step.
    """

    graph: tf.Graph
    session: tf.Session
    call: Callable[[Any], tuple[Sequence[Any], Mapping[Any, Any]]]

    def __call__(self, item: Any) -> float:
        """Take one step; returns its loss."""
        fetches, feeds = self.call(item)
        return float(self.session.run(fetches, feeds)[0])


Builder = Callable[[Values], tuple[Sequence[Any], Callable[[Any], Mapping[Any, Any]]]]
"""Builds in the default graph; returns the fetches of a step and what feeds it an item."""
GraphBuilder = Callable[[Values], Callable[[Any], tuple[Sequence[Any], Mapping[Any, Any]]]]


def started(build: GraphBuilder, values: Values) -> Static:
    """Build a graph and initialise its variables."""
    graph = tf.Graph()
    with graph.as_default():
        call = build(values)
        session = tf.Session(graph=graph)
        session.run(tf.global_variables_initializer())
    return Static(graph, session, call)


def whole(build: Builder) -> GraphBuilder:
    """A builder whose every step fetches the same."""

    def building(values: Values) -> Callable[[Any], tuple[Sequence[Any], Mapping[Any, Any]]]:
        fetches, feed = build(values)
        return lambda item: (fetches, feed(item))

    return building


def _none(_: Any) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Pair:
    """A program in its forms.

    Attributes:
      name: that of its programs in ``examples/static`` and ``examples/dynamic``, if it has any.
      title: what it computes, for a heading.
      place: where the documents have it.
      values: draws data and starting values; every form starts from the same.
      static: builds the graph.
      dynamic: makes the step, from a module that looks like PyTorch and the numbers: PyTorch's
        own program is the same function with another module.
      by_hand: makes the step in numpy, derivatives by hand.
      items: what the first `n` steps are given.
      iterations: how often the loops of the graph run for an item.
      variants: other ways to build the graph.
      tolerance: how far a loss may be from another form's, relative to it.
      most_steps: more are not compared, because a step is long.
      example: it stands in the folders of examples.
    """

    name: str
    title: str
    place: str
    group: Group
    values: Callable[[], Values]
    static: GraphBuilder
    dynamic: Callable[[Any, Values], Step]
    by_hand: Callable[[Values], Step]
    items: Callable[[int], Sequence[Any]] = lambda n: [None] * n
    iterations: Callable[[Any], int] = _none
    variants: Mapping[str, GraphBuilder] = field(default_factory=dict)
    tolerance: float = 1e-5
    most_steps: int = 1_000_000
    example: bool = True

    @property
    def has_loop(self) -> bool:
        """Its graph holds a loop."""
        return self.iterations is not _none


def tensors(torch: Any, values: Values, *names: str) -> list[Any]:
    """Tensors with copies of the values."""
    return [torch.from_numpy(values[n].copy()) for n in names]


def parameters(torch: Any, values: Values, *names: str) -> list[Any]:
    """The same, as leaves that require a gradient."""
    return [t.requires_grad_() for t in tensors(torch, values, *names)]


def set_linear(torch: Any, layer: Any, values: Values, name: str) -> Any:
    """Give a linear layer the starting values ``name.weight`` and ``name.bias``."""
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(values[f"{name}.weight"]))
        layer.bias.copy_(torch.from_numpy(values[f"{name}.bias"]))
    return layer


def draw_linear(draw: np.random.RandomState, name: str, inputs: int, outputs: int) -> Values:
    """Starting values as PyTorch draws those of its layers."""
    bound = 1 / np.sqrt(inputs)
    return {
        f"{name}.weight": draw.uniform(-bound, bound, (outputs, inputs)).astype(np.float32),
        f"{name}.bias": draw.uniform(-bound, bound, outputs).astype(np.float32),
    }


__all__ = [
    "Builder", "GraphBuilder", "Group", "Pair", "Static", "Step", "Values", "draw_linear",
    "parameters", "set_linear", "started", "tensors", "whole",
]  # fmt: skip
