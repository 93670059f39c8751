"""Steps of optimizers on look-ups: TensorFlow's values, and work for the named rows alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import staticgraph as tf
from staticgraph.errors import OutOfBoundsError
from staticgraph.ir.op import lookup
from staticgraph.ir.program import Host, Library
from staticgraph.passes.memory import donations

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: tf.train.GradientDescentOptimizer(0.1),
    "momentum": lambda: tf.train.MomentumOptimizer(0.1, 0.9),
    "nesterov": lambda: tf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    "adagrad": lambda: tf.train.AdagradOptimizer(0.1),
    "rms": lambda: tf.train.RMSPropOptimizer(0.1, momentum=0.5),
    "centered": lambda: tf.train.RMSPropOptimizer(0.1, momentum=0.5, centered=True),
    "adadelta": lambda: tf.train.AdadeltaOptimizer(0.5),
    "ftrl": lambda: tf.train.FtrlOptimizer(0.1, l1_regularization_strength=0.01),
    "proximal": lambda: tf.train.ProximalGradientDescentOptimizer(0.1, 0.01),
    "proximal_adagrad": lambda: tf.train.ProximalAdagradOptimizer(
        0.1, l1_regularization_strength=0.01
    ),
}
# What TensorFlow 2.21's tf.compat.v1 leaves in rows 0, 1, 2 and 5 after the steps of `taken`.
TENSORFLOW = {
    "sgd": [0.0, 0.08, 0.09599999, 0.14400001, 0.32, 0.4, 0.6, 0.65999997],
    "momentum": [0.0, 0.08, 0.023999996, 0.036, 0.32, 0.4, 0.6, 0.65999997],
    "nesterov": [0.0, 0.062, -0.03504, -0.052559994, 0.248, 0.31, 0.24000001, 0.264],
    "adagrad": [0.0, 0.04654775, 0.08286029, 0.17216499, 0.3070019, 0.40465373, 0.90031105,
                1.0002573],
    "rms": [0.0, 0.078964844, 0.05241342, 0.0864319, 0.31851992, 0.4, 0.7470178, 0.838724],
    "centered": [0.0, 0.07896019, 0.051929846, 0.08495562, 0.3182481, 0.39949623, 0.7385118,
                 0.82932174],
    "adadelta": [0.0, 0.099776395, 0.19963218, 0.29963216, 0.3997764, 0.4997764, 0.9997764,
                 1.0997764],
    "ftrl": [0.0, -0.035295058, 0.024825303, 0.106140435, 0.1587965, 0.2529446, 0.82125086,
             0.9211771],
    "proximal": [0.0, 0.078999996, 0.09419999, 0.14220001, 0.319, 0.39900002, 0.59900004, 0.659],
    "proximal_adagrad": [0.0, 0.04387514, 0.08081624, 0.17070463, 0.30583942, 0.40370026,
                         0.90006185, 1.0000305],
}  # fmt: skip
STEPS = ([0, 1, 1], [2, 1], [5, 5])


def native(sess: tf.Session) -> Any:
    """The newest executable, which has no step outside native code."""
    exe = sess.executables()[-1]
    assert not any(isinstance(s, Host) for s in exe.program.steps)
    return exe


def taken(name: str, rows: int, dtype: Any = tf.int32, known: bool = False) -> np.ndarray:
    """The table after `STEPS`, of which all have one executable if the number of ids is open."""
    start = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2) / 10.0
    table = tf.Variable(start)
    if known:
        ids = [tf.placeholder(dtype, [len(k)]) for k in STEPS]
    else:
        ids = [tf.placeholder(dtype, [None])] * len(STEPS)
    made: dict[Any, Any] = {}
    optimizer = OPTIMIZERS[name]()
    for i in ids:
        if i not in made:
            made[i] = optimizer.minimize(tf.reduce_sum(tf.square(tf.nn.embedding_lookup(table, i))))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        before = len(sess.executables())
        for i, k in zip(ids, STEPS, strict=True):
            sess.run(made[i], {i: k})
            native(sess)
        assert len(sess.executables()) == before + len(made)
        after: np.ndarray = sess.run(table)
    untouched = [r for r in range(rows) if r not in (0, 1, 2, 5)]
    np.testing.assert_array_equal(after[untouched], start[untouched])
    return after[[0, 1, 2, 5]].ravel()


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_values_are_those_of_tensorflow(name: str, dtype: Any) -> None:
    np.testing.assert_allclose(taken(name, 6, dtype), TENSORFLOW[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rows", [6, 40])  # 3 ids are many of 6 rows, and few of 40
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_how_many_ids_are_known_to_come_changes_no_value(name: str, rows: int) -> None:
    got = taken(name, rows, known=True)
    np.testing.assert_allclose(got, TENSORFLOW[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slices_that_are_given_with_their_places_are_about_these_rows(name: str) -> None:
    table = tf.Variable(np.arange(12, dtype=np.float32).reshape(6, 2) / 10.0)
    ids = tf.placeholder(tf.int32, [None])
    slices = tf.IndexedSlices(2.0 * tf.gather(table, ids), ids)
    op = OPTIMIZERS[name]().apply_gradients([(slices, table)])
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for k in STEPS:
            sess.run(op, {ids: k})
        native(sess)
        after = sess.run(table)
    np.testing.assert_allclose(after[[0, 1, 2, 5]].ravel(), TENSORFLOW[name], rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(after[3:5].ravel(), np.array([0.6, 0.7, 0.8, 0.9], np.float32))


def step(name: str, rows: int, *, clip: bool = False, tables: int = 1) -> tuple[Any, Any, Any]:
    """A step on tables that are looked up at the same ids; the tables, and the ids."""
    with tf.variable_scope(None, "net"):
        held = [tf.get_variable(f"table{k}", [rows, 4]) for k in range(tables)]
        weights = tf.get_variable("weights", [4, 3])
    i = tf.placeholder(tf.int32, [None])
    found = tf.add_n([tf.nn.embedding_lookup(t, i) for t in held])
    optimizer = OPTIMIZERS[name]()
    pairs = optimizer.compute_gradients(tf.reduce_sum(tf.square(tf.matmul(found, weights))))
    if clip:
        grads, _ = tf.clip_by_global_norm([g for g, _ in pairs], 0.5)
        pairs = [(g, v) for g, (_, v) in zip(grads, pairs, strict=True)]
    return optimizer.apply_gradients(pairs), held, i


@pytest.mark.parametrize("tables", [1, 2])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_length_of_the_table_costs_no_memory(name: str, clip: bool, tables: int) -> None:
    planned = []
    for rows in (50, 5000):
        with tf.Graph().as_default(), tf.Session() as sess:
            op, _, i = step(name, rows, clip=clip, tables=tables)
            sess.run(tf.global_variables_initializer())
            sess.run(op, {i: [3, 1, 3]})
            exe = native(sess)
            planned.append(exe.last.arena_bytes)
            updates = exe.program.updates.values()
            tables_written = [b for b in updates if b.dims and b.dims[0] == rows]
            assert len(tables_written) >= tables
            assert set(tables_written) <= set(donations(exe.program))  # all are written in place
    assert planned[0] == planned[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_refused_id_changes_nothing(name: str) -> None:
    op, _, i = step(name, 50, tables=2)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(op, {i: [3, 1, 3]})
        state = tf.global_variables()
        before = sess.run(state)
        for bad in (50, -1):
            with pytest.raises(OutOfBoundsError, match=rf"index {bad} is outside \[0, 50\)"):
                sess.run(op, {i: [2, bad, 2]})
            for old, new in zip(before, sess.run(state), strict=True):
                np.testing.assert_array_equal(old, new)


def test_ids_of_one_table_only_are_refused_before_any_table_is_written() -> None:
    i, j = tf.placeholder(tf.int32, [None]), tf.placeholder(tf.int64, [None])
    a, b = tf.Variable(tf.ones([30, 2])), tf.Variable(tf.ones([20, 2]))
    loss = tf.reduce_sum(tf.square(tf.gather(a, i))) + tf.reduce_sum(tf.square(tf.gather(b, j)))
    op = tf.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        with pytest.raises(OutOfBoundsError, match=r"index 25 is outside \[0, 20\)"):
            sess.run(op, {i: [25], j: [25]})
        for v in sess.run(tf.global_variables()):
            assert ((v == 1.0) | (v == 0.0)).all()
        sess.run(op, {i: [25], j: [5]})
        assert sess.run([a[25, 0], b[5, 0], a[5, 0]]) == pytest.approx([0.8, 0.8, 1.0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_ids_change_nothing(name: str) -> None:
    op, tables, i = step(name, 50)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        before = sess.run(tables)
        sess.run(op, {i: []})
        np.testing.assert_array_equal(sess.run(tables), before)
        sess.run(op, {i: [7]})
        assert not np.array_equal(sess.run(tables), before)


def test_look_ups_of_one_table_are_one_update() -> None:
    start = np.arange(60.0).reshape(20, 3)
    table = tf.Variable(start)
    i, j = tf.placeholder(tf.int32, [None, 2]), tf.placeholder(tf.int64, [])
    loss = tf.reduce_sum(tf.gather(table, i)) + 10.0 * tf.reduce_sum(tf.gather(table, j))
    op = tf.train.MomentumOptimizer(1.0, 0.5).minimize(loss)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(op, {i: [[4, 2], [4, 9]], j: 4})
        exe = native(sess)
        sess.run(op, {i: [[9, 9]], j: 0})
        assert sess.executables()[-1] is exe
        want, slot = start.copy(), np.zeros((20, 1))
        for moved in ({4: 12.0, 2: 1.0, 9: 1.0}, {9: 2.0, 0: 10.0}):
            for row, g in moved.items():
                slot[row] = 0.5 * slot[row] + g
                want[row] -= slot[row]
        np.testing.assert_allclose(sess.run(table), want, rtol=1e-12)
    kinds = [s.kind for s in exe.program.steps if isinstance(s, Library)]
    assert kinds.count("distinct") == 1


def test_negative_ids_that_mean_nothing_name_no_row() -> None:
    table = tf.Variable(np.ones((20, 2)))
    ids = tf.placeholder(tf.int32, [None])
    found = tf.unsorted_segment_sum(tf.gather(table, tf.maximum(ids, 0)), ids, 4)
    op = tf.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_sum(found))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(op, {ids: [-1, 3]})
        after = sess.run(table)
    assert after[:, 0].tolist() == pytest.approx([1.0] * 3 + [0.9] + [1.0] * 16)


def test_rows_of_a_largest_norm() -> None:
    start = np.arange(1.0, 41.0).reshape(20, 2)
    ids = [3, 3, 0, 7]
    ways = []
    for look_up in (
        lambda t, i: tf.nn.embedding_lookup(t, i, max_norm=2.0),
        lambda t, i: tf.nn.embedding_lookup(t * 1.0, i, max_norm=2.0),  # not about some rows
    ):
        with tf.Graph().as_default(), tf.Session() as sess:
            table, i = tf.Variable(start), tf.placeholder(tf.int32, [None])
            weight = np.arange(8.0).reshape(4, 2)
            loss = tf.reduce_sum(look_up(table, i) * weight)
            op = tf.train.AdagradOptimizer(0.1).minimize(loss)
            sess.run(tf.global_variables_initializer())
            for _ in range(2):
                sess.run(op, {i: ids})
            ways.append(sess.run(table))
    np.testing.assert_allclose(ways[0], ways[1], rtol=1e-12)
    assert not np.array_equal(ways[0], start)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_values_do_not_depend_on_the_number_of_threads(name: str) -> None:
    many = np.random.default_rng(1).integers(0, 9000, 4000)
    start = np.random.default_rng(2).normal(size=(9000, 64)).astype(np.float32)
    found = []
    for threads in (1, 2, 3):
        config = tf.ConfigProto(intra_op_parallelism_threads=threads)
        with tf.Graph().as_default(), tf.Session(config=config) as sess:
            table, i = tf.Variable(start), tf.placeholder(tf.int32, [None])
            op = OPTIMIZERS[name]().minimize(tf.reduce_sum(tf.square(tf.gather(table, i))))
            sess.run(tf.global_variables_initializer())
            for _ in range(2):
                sess.run(op, {i: many})
            found.append(sess.run(table).tobytes())
    assert found[0] == found[1] == found[2]


def test_the_norm_of_a_gradient_is_that_of_its_rows_and_has_a_gradient() -> None:
    start = np.arange(1.0, 41.0).reshape(20, 2)
    table, i = tf.Variable(start), tf.placeholder(tf.int32, [None])
    grad = tf.gradients(tf.reduce_sum(tf.gather(table, i) ** 3), table)[0]
    clipped = [tf.clip_by_norm(grad, 1.0), tf.clip_by_global_norm([grad], 1.0)[0][0]]
    norm = tf.global_norm([grad])
    second = tf.gradients(norm, table)[0]
    ids = [3, 3, 0]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        got_norm, got_second, *got = sess.run([norm, second, *clipped], {i: ids})
    whole = np.zeros_like(start)
    np.add.at(whole, ids, 3.0 * start[ids] ** 2)
    size = np.sqrt((whole**2).sum())
    assert got_norm == pytest.approx(size)
    for g in got:
        np.testing.assert_allclose(g, whole / size)
    curvature = np.zeros_like(start)
    np.add.at(curvature, ids, 6.0 * start[ids])
    np.testing.assert_allclose(got_second, whole / size * curvature)


def test_a_step_within_a_loop_of_the_graph() -> None:
    start = np.ones((30, 2), np.float32)
    i = tf.placeholder(tf.int32, [None])
    table = tf.Variable(start)
    optimizer = tf.train.AdagradOptimizer(0.1)

    def body(k: Any) -> Any:
        loss = tf.reduce_sum(tf.square(tf.gather(table, i)))
        with tf.control_dependencies([optimizer.minimize(loss, var_list=[table])]):
            return k + 1

    loop = tf.while_loop(lambda k: k < 5, body, [0])
    again = OPTIMIZERS["adagrad"]().minimize(tf.reduce_sum(tf.square(tf.gather(table, i))))
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(loop, {i: [4, 4, 9]})
        inside = sess.run(table)
        sess.run(tf.global_variables_initializer())
        for _ in range(5):
            sess.run(again, {i: [4, 4, 9]})
        np.testing.assert_allclose(inside, sess.run(table), rtol=1e-6)
        assert not np.array_equal(inside, start)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("stride", [1, 64, 4096, 65537])
def test_distinct_rows_of_many_ids(stride: int, dtype: Any) -> None:
    rng = np.random.default_rng(stride)
    ids = (rng.integers(0, 3000, (2, 4000)) * stride).astype(dtype)
    more = (rng.integers(0, 9, 5) * stride).astype(np.int64)
    i, j = tf.placeholder(dtype, [None, None]), tf.placeholder(tf.int64, [None])
    for bound in (3000 * stride, 1 << 40):
        distinct = lookup("DistinctRows")([i, j], bound, n=2)
        with tf.Session() as sess:
            rows, place, place_of_more = sess.run(distinct, {i: ids, j: more})
            native(sess)
        flat = np.concatenate([ids.ravel(), more])
        want = list(dict.fromkeys(flat.tolist()))
        assert rows.tolist() == want + [-1] * (min(flat.size, bound) - len(want))
        np.testing.assert_array_equal(rows[place], ids)
        np.testing.assert_array_equal(rows[place_of_more], more)


def test_scatters_onto_several_tables_are_all_in_place() -> None:
    with tf.Graph().as_default(), tf.Session() as sess:
        tables = [tf.Variable(tf.ones([9, 2])) for _ in range(3)]
        ids = [tf.placeholder(tf.int32, [None]) for _ in tables]
        ops = [tf.scatter_add(t, i, tf.ones([1, 2])) for t, i in zip(tables, ids, strict=True)]
        fetch = [op.op for op in ops]
        sess.run(tf.global_variables_initializer())
        for bad in range(3):
            feed = {i: [9 if k == bad else 1] for k, i in enumerate(ids)}
            with pytest.raises(OutOfBoundsError, match=r"index 9 is outside \[0, 9\)") as told:
                sess.run(fetch, feed)
            assert "test_row_steps.py" in str(told.value)
            assert all((v == 1.0).all() for v in sess.run(tables))
        sess.run(fetch, {i: [k] for k, i in enumerate(ids)})
        programs = [e.program for e in sess.executables() if len(e.program.updates) == 3]
        assert 3 in [len(donations(p)) for p in programs]
        for k, v in enumerate(sess.run(tables)):
            assert v[:, 0].tolist() == [2.0 if r == k else 1.0 for r in range(9)]
