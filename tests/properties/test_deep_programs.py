"""Programs with loops three deep, state and draws: run after run as the numpy oracle has it."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings

import staticgraph as tf
from staticgraph.ir.evaluate import evaluate
from staticgraph.passes.close import close
from staticgraph.runtime.executable import host_rule
from tests.properties.deep_programs import DeepCase, deep_cases
from tests.properties.test_programs import COMMON

State = dict[str, np.ndarray]


def session(case: DeepCase, optimize: bool) -> Any:
    names = tf.OptimizerOptions
    level = names.L1 if optimize else names.L0
    options = tf.GraphOptions(optimizer_options=names(opt_level=level))
    return tf.Session(graph=case.graph, config=tf.ConfigProto(graph_options=options))


def oracle(case: DeepCase, feed: dict[Any, np.ndarray], state: State) -> list[np.ndarray]:
    """One run by the numpy rules; `state` holds variables and positions of streams."""
    types = {t: type(t.type)(t.type.dtype, v.shape) for t, v in feed.items()}
    f = close(case.graph, case.fetches, types)
    fed = iter(feed.values())
    args = [
        next(fed) if p.kind == "feed" else state.get(p.name, np.int64(0)) for p in f.params
    ]  # fmt: skip
    results, updates = evaluate(f, args, host_rule)
    state.update((name.removeprefix("counter:"), np.array(v)) for name, v in updates.items())
    return results


def check(case: DeepCase, optimize: bool) -> None:
    """Run three times, and look at the variables in the end."""
    with session(case, optimize) as sess, case.graph.as_default():
        sess.run(tf.global_variables_initializer())
        state = {v.op.name: sess.run(v) for v in case.variables}
        for feed in case.feeds:
            want = oracle(case, feed, state)
            got = sess.run(case.fetches, feed)
            for t, a, b in zip(case.fetches, got, want, strict=True):
                scale = float(np.max(np.abs(b), initial=1.0, where=np.isfinite(b)))
                np.testing.assert_allclose(
                    a, b, rtol=1e-9, atol=1e-9 * scale, err_msg=f"{t.name}, {optimize=}"
                )
        for v in case.variables:
            np.testing.assert_allclose(sess.run(v), state[v.op.name], rtol=1e-9, atol=1e-9)


@given(deep_cases())
@settings(COMMON, max_examples=25)
def test_sessions_do_what_the_oracle_does(case: DeepCase) -> None:
    check(case, True)


@given(deep_cases())
@settings(COMMON, max_examples=6)
def test_sessions_that_do_not_optimise_do_so_too(case: DeepCase) -> None:
    check(case, False)
