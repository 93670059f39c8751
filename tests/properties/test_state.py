"""Random programs with variables do what the rules of state say, whatever happens in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import staticgraph as tf
from staticgraph.passes.close import close
from staticgraph.passes.pipeline import run_pipeline
from staticgraph.runtime.compile import compile_function
from staticgraph.runtime.store import Store
from tests.properties.machine import run_program

N = 3


@dataclass
class Step:
    """One operation: what it does, on which variable, after which others."""

    kind: str
    var: int
    inputs: tuple[int, ...]
    controls: tuple[int, ...]


@dataclass
class Program:
    """Steps in creation order, and which of them are fetched."""

    variables: int
    steps: list[Step]
    fetched: list[int]
    final: bool

    # ---- what the rules say
    def expected(self, start: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The fetched values, and the variables after the run."""
        needed: set[int] = set()
        stack = list(self.fetched)
        while stack:
            k = stack.pop()
            if k not in needed:
                needed.add(k)
                stack += [*self.steps[k].inputs, *self.steps[k].controls]
        before: dict[int, set[int]] = {}
        value: dict[int, np.ndarray] = {}
        now = list(start)
        for k in sorted(needed):
            s = self.steps[k]
            before[k] = set().union(*({p} | before[p] for p in (*s.inputs, *s.controls)), set())
            inputs = [value[i] for i in s.inputs]
            match s.kind:
                case "read":
                    writes = [
                        w
                        for w in before[k]
                        if self.steps[w].kind in WRITES and self.steps[w].var == s.var
                    ]
                    value[k] = value[max(writes)] if writes else start[s.var]
                case "assign":
                    value[k] = now[s.var] = inputs[0]
                case "assign_add":
                    value[k] = now[s.var] = now[s.var] + inputs[0]
                case "assign_sub":
                    value[k] = now[s.var] = now[s.var] - inputs[0]
                case "scatter_add":
                    new = now[s.var].copy()
                    np.add.at(new, [0, 2, 0], inputs[0])
                    value[k] = now[s.var] = new
                case _:
                    value[k] = VALUES[s.kind][1](*inputs)
        return [value[k] for k in self.fetched], now

    # ---- the same as a graph
    def build(self) -> tuple[Any, list[Any], list[Any]]:
        """The graph, the fetched tensors and the variables."""
        graph = tf.Graph()
        with graph.as_default():
            variables = [tf.Variable(np.zeros(N), name=f"v{k}") for k in range(self.variables)]
            made: list[Any] = []
            for s in self.steps:
                inputs = [made[i] for i in s.inputs]
                with tf.control_dependencies([made[c] for c in s.controls]):
                    match s.kind:
                        case "read":
                            t = variables[s.var].read_value()
                        case "scatter_add":
                            t = tf.scatter_add(variables[s.var], [0, 2, 0], inputs[0])
                        case kind if kind in WRITES:
                            t = getattr(variables[s.var], kind)(inputs[0])
                        case kind:
                            t = VALUES[kind][0](*inputs)
                made.append(t)
        return graph, [made[k] for k in self.fetched], variables


WRITES = ("assign", "assign_add", "assign_sub", "scatter_add")
VALUES: dict[str, tuple[Any, Any]] = {
    "add": (lambda a, b: a + b, lambda a, b: a + b),
    "double": (lambda a: a * 2.0 + 1.0, lambda a: a * 2 + 1),
    "reverse": (lambda a: tf.reverse(a, [0]), lambda a: a[::-1]),
    "centre": (lambda a: a - tf.reduce_sum(a), lambda a: a - a.sum()),
    "matmul": (
        lambda a, b: tf.reshape(
            tf.matmul(tf.reshape(a, [N, 1]) * tf.reshape(b, [1, N]), tf.ones([N, 1], tf.float64)),
            [N],
        ),
        lambda a, b: a * b.sum(),
    ),
}


@st.composite
def programs(draw: Any) -> Program:
    """Draw a program; values stay small enough to be exact."""
    variables = draw(st.integers(1, 3))
    steps: list[Step] = []
    for k in range(draw(st.integers(2, 9))):
        any_ = st.integers(0, k - 1)
        kinds = ["read", "read"] + (
            [*WRITES, "assign", "add", "double", "reverse", "centre", "matmul"] if k else []
        )
        kind = draw(st.sampled_from(kinds))
        arity = 0 if kind == "read" else 2 if kind in ("add", "matmul") else 1
        inputs = tuple(draw(any_) for _ in range(arity))
        controls = tuple({draw(any_) for _ in range(draw(st.integers(0, 2)))}) if k else ()
        steps.append(Step(kind, draw(st.integers(0, variables - 1)), inputs, controls))
    last = len(steps) - 1
    fetched = sorted({last, *(draw(st.integers(0, last)) for _ in range(draw(st.integers(0, 3))))})
    return Program(variables, steps, fetched, draw(st.booleans()))


COMMON = settings(
    deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


def check(program: Program, compiled: bool) -> None:
    """Run twice from given values; every way must follow the rules."""
    graph, fetches, variables = program.build()
    start = [np.array([1.0, -2.0, 3.0]) * (k + 1) for k in range(program.variables)]
    final = [v.op for v in variables] if program.final else []
    f = close(graph, fetches, {}, final)
    names = [v.op.name for v in variables]
    for optimize in (False, True):
        held = dict(zip(names, start, strict=True))
        store = Store()
        for name, value in held.items():
            store.put(name, value)
        made = compile_function(f, optimize) if compiled else None
        lowered = run_pipeline(f, optimize).program
        assert lowered is not None
        for _ in range(2):
            want, after = program.expected([held[n] for n in names])
            assume(all(np.abs(v).max() < 2**40 for v in (*want, *after)))
            want += after if program.final else []
            if made is not None:
                got = made.run([], store)
                state = {n: store.arrays[n] for n in names}
            else:
                args = [np.array(held[q.name]) for q in lowered.params]
                got, updates = run_program(lowered, args, planned=True)
                state = held | updates
            for g, w in zip(got, want, strict=True):
                np.testing.assert_array_equal(g, w)
            for n, w in zip(names, after, strict=True):
                np.testing.assert_array_equal(state[n], w)
            held = {n: np.array(v) for n, v in state.items()}


@given(programs())
@settings(COMMON, max_examples=250)
def test_programs_with_variables_follow_the_rules_of_state(program: Program) -> None:
    check(program, compiled=False)


@given(programs())
@settings(COMMON, max_examples=15)
def test_programs_with_variables_follow_the_rules_of_state_compiled(program: Program) -> None:
    check(program, compiled=True)
