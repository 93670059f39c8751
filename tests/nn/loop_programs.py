"""Programs with loops as people wrote them, for any library with the functions of TensorFlow 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tests.nn.raw_programs import numbers

Given = tuple[list[Any], dict[Any, Any]]
"""What is fetched, and what is fed; a program may fetch several times."""


def conditional_random_field(tf: Any, cells: Any) -> list[Given]:
    """Sums over all labellings by a scan, the best of them by two more, one of them backwards."""
    del cells
    labels = 4
    unary = tf.placeholder(tf.float64, [None, None, labels])
    lengths = tf.placeholder(tf.int32, [None])
    pair = tf.get_variable("pair", [labels, labels], tf.float64)
    steps = tf.transpose(unary, [1, 0, 2])

    def forward(alpha: Any, given: Any) -> Any:
        x, t = given
        new = tf.reduce_logsumexp(tf.expand_dims(alpha, 2) + pair, axis=1) + x
        return tf.where(t < lengths, new, alpha)

    times = tf.range(1, tf.shape(steps)[0])
    alphas = tf.scan(forward, (steps[1:], times), initializer=steps[0])
    total = tf.reduce_logsumexp(alphas[-1], axis=1)

    def best(carry: Any, x: Any) -> Any:
        score = tf.expand_dims(carry[0], 2) + pair
        return tf.reduce_max(score, 1) + x, tf.cast(tf.argmax(score, 1), tf.int32)

    start = (steps[0], tf.zeros_like(steps[0], dtype=tf.int32))
    scores, sources = tf.scan(best, steps[1:], initializer=start)
    last = tf.cast(tf.argmax(scores[-1], 1), tf.int32)

    def back(label: Any, source: Any) -> Any:
        return tf.reduce_sum(source * tf.one_hot(label, labels, dtype=tf.int32), 1)

    path = tf.scan(back, sources, initializer=last, reverse=True)
    slopes = tf.gradients(total, [unary, pair])
    feed = {unary: numbers([3, 6, labels], 2), lengths: [6, 3, 1]}
    return [([alphas, total, scores, path, *slopes], feed)]


def attention(tf: Any, cells: Any) -> list[Given]:
    """A decoder in a `while_loop` that writes words and logits and stops at the word 0."""
    units, words, most = 5, 6, 7
    states = tf.placeholder(tf.float64, [None, 4, units])
    cell = cells.GRUCell(units)
    w = tf.get_variable("w", [units, words], tf.float64)
    table = tf.get_variable("table", [words, units], tf.float64)
    batch = tf.shape(states)[0]

    def go_on(t: Any, state: Any, word: Any, over: Any, out: Any, logits: Any) -> Any:
        del state, word, out, logits
        return tf.logical_and(t < most, tf.logical_not(tf.reduce_all(over)))

    def step(t: Any, state: Any, word: Any, over: Any, out: Any, logits: Any) -> Any:
        weights = tf.nn.softmax(tf.einsum("btu,bu->bt", states, state))
        seen = tf.einsum("bt,btu->bu", weights, states)
        x = tf.concat([tf.nn.embedding_lookup(table, word), seen], 1)
        y, state = cell(x, state)
        score = tf.matmul(y, w)
        word = tf.where(over, tf.zeros_like(word), tf.cast(tf.argmax(score, 1), tf.int32))
        over = tf.logical_or(over, tf.equal(word, 0))
        return t + 1, state, word, over, out.write(t, word), logits.write(t, score)

    n, state, _, over, out, logits = tf.while_loop(
        go_on, step,
        [
            tf.constant(0), cell.zero_state(batch, tf.float64), tf.ones([batch], tf.int32),
            tf.zeros([batch], tf.bool), tf.TensorArray(tf.int32, size=most),
            tf.TensorArray(tf.float64, size=most, element_shape=tf.TensorShape([None, words])),
        ],
        parallel_iterations=1, swap_memory=True,
    )  # fmt: skip
    scores = logits.gather(tf.range(n))
    slopes = tf.gradients(tf.reduce_sum(scores**2), [states, w, table])
    fetches = [n, state, over, out.gather(tf.range(n)), scores, *map(tf.convert_to_tensor, slopes)]
    return [(fetches, {states: numbers([2, 4, units], 3)})]


def beams(tf: Any, cells: Any) -> list[Given]:
    """A search with beams, whose sentences grow by a word with every iteration."""
    del cells
    words, width, length, far = 6, 3, 6, 1e7
    follow = tf.constant(2 * numbers([words, words], 5))
    first = tf.placeholder(tf.int32, [None])
    batch = tf.shape(first)[0]
    sentences = tf.tile(tf.reshape(first, [-1, 1, 1]), [1, width, 1])
    start = tf.constant([[0.0] + [-far] * (width - 1)], tf.float64)
    stay = tf.constant([0.0] + [-far] * (words - 1), tf.float64)

    def step(i: Any, sentences: Any, scores: Any, over: Any) -> Any:
        logits = tf.nn.log_softmax(tf.gather(follow, sentences[:, :, -1]))
        ended = tf.tile(tf.expand_dims(over, 2), [1, 1, words])
        logits = tf.where(ended, tf.zeros_like(logits) + stay, logits)
        flat = tf.reshape(tf.expand_dims(scores, 2) + logits, [-1, width * words])
        scores, chosen = tf.nn.top_k(flat, k=width)
        beam, word = chosen // words, chosen % words
        rows = tf.tile(tf.expand_dims(tf.range(batch), 1), [1, width])
        at = tf.stack([rows, beam], axis=2)
        sentences = tf.concat([tf.gather_nd(sentences, at), tf.expand_dims(word, 2)], axis=2)
        return i + 1, sentences, scores, tf.logical_or(tf.gather_nd(over, at), tf.equal(word, 0))

    open_ = tf.TensorShape([None, width])
    found = tf.while_loop(
        lambda i, s, p, over: tf.logical_and(i < length, tf.logical_not(tf.reduce_all(over))),
        step,
        [tf.constant(0), sentences, tf.tile(start, [batch, 1]), tf.fill([batch, width], False)],
        shape_invariants=[
            tf.TensorShape([]), tf.TensorShape([None, None, None]), open_, open_,
        ],
        parallel_iterations=1, back_prop=False,
    )  # fmt: skip
    return [(list(found), {first: [1, 4]}), (list(found[:3]), {first: [2]})]


def kalman(tf: Any, cells: Any) -> list[Given]:
    """The likelihood of a series by a filter in a scan, and steps of descent on its noises."""
    del cells
    seen = tf.placeholder(tf.float64, [None, 1])
    move = tf.constant([[1.0, 0.1], [0.0, 1.0]], tf.float64)
    look = tf.constant([[1.0, 0.0]], tf.float64)
    moved = tf.get_variable("moved", [], tf.float64)
    looked = tf.get_variable("looked", [], tf.float64)

    def step(state: Any, z: Any) -> Any:
        m, p, _ = state
        m = tf.matmul(move, m)
        p = tf.matmul(tf.matmul(move, p), move, transpose_b=True)
        p += tf.exp(moved) * tf.eye(2, dtype=tf.float64)
        y = z[:, tf.newaxis] - tf.matmul(look, m)
        s = tf.matmul(tf.matmul(look, p), tf.transpose(look))
        s += tf.exp(looked) * tf.eye(1, dtype=tf.float64)
        gain = tf.transpose(tf.matrix_solve(s, tf.matmul(look, p)))
        fit = tf.log(tf.matrix_determinant(s)) + tf.reduce_sum(y * tf.matrix_solve(s, y))
        return m + tf.matmul(gain, y), p - tf.matmul(tf.matmul(gain, look), p), -0.5 * fit

    start = (tf.zeros([2, 1], tf.float64), tf.eye(2, dtype=tf.float64), tf.zeros([], tf.float64))
    means, spreads, fits = tf.scan(step, seen, initializer=start)
    loss = -tf.reduce_sum(fits)
    slopes = tf.gradients(loss, [moved, looked, seen])
    train = tf.train.GradientDescentOptimizer(0.01).minimize(loss)
    with tf.control_dependencies([train]):
        after = [tf.identity(moved.read_value()), tf.identity(looked.read_value())]
    feed = {seen: np.cumsum(numbers([12, 1], 0), 0)}
    return [([means, spreads, fits, loss, *slopes], feed), (after, feed), (after, feed)]


def branches_with_effects(tf: Any, cells: Any) -> list[Given]:
    """Assignments in branches, groups of them, and what stands behind them."""
    del cells
    count = tf.get_variable("count", [], tf.float64)
    w = tf.get_variable("w", [3], tf.float64)
    x = tf.placeholder(tf.float64, [3])
    loss = tf.reduce_sum(tf.square(w - x))
    better = tf.cond(
        loss < 2.0, lambda: tf.assign(count, loss), lambda: tf.constant(-1.0, tf.float64)
    )
    with tf.control_dependencies([better]):
        step = tf.cond(count > 0.4, lambda: tf.assign_sub(w, 0.2 * (w - x)), lambda: tf.identity(w))
    both = tf.cond(loss < 1.0, lambda: tf.group(tf.assign_add(count, 10.0), w.assign(-w)), tf.no_op)
    with tf.control_dependencies([both]):
        after = [tf.identity(count.read_value()), tf.identity(w.read_value())]
    feeds = [{x: numbers([3], k)} for k in range(3)]
    return [
        *(([better], f) for f in feeds),
        *(([step], f) for f in feeds),
        *((after, f) for f in feeds),
    ]


def gradients_in_the_body(tf: Any, cells: Any) -> list[Given]:
    """Descent with a search for its rate: a loop in a loop, and gradients taken within."""
    del cells
    start = tf.placeholder(tf.float64, [2])

    def height(x: Any) -> Any:
        return (1.0 - x[0]) ** 2 + 5.0 * (x[1] - x[0] ** 2) ** 2

    def step(i: Any, x: Any) -> Any:
        g = tf.gradients(height(x), x)[0]
        rate = tf.while_loop(
            lambda r: height(x - r * g) > height(x) - 0.1 * r * tf.reduce_sum(g * g),
            lambda r: r * 0.5, [tf.constant(1.0, tf.float64)], maximum_iterations=30,
        )  # fmt: skip
        return i + 1, x - rate * g

    x = tf.while_loop(lambda i, x: i < 12, step, (0, start))[1]
    return [([x, height(x)], {start: [-1.0, 1.0]})]


def networks_in_a_map(tf: Any, cells: Any) -> list[Given]:
    """A recurrent network over the sentences of each text, in a `map_fn` over texts."""
    texts = tf.placeholder(tf.float64, [None, 4, 3, 2])
    lengths = tf.placeholder(tf.int32, [None, 4])
    cell = cells.GRUCell(3)

    def one(text: Any) -> Any:
        return tf.nn.dynamic_rnn(cell, text[0], sequence_length=text[1], dtype=tf.float64)[1]

    with tf.variable_scope("words"):
        y = tf.map_fn(one, (texts, lengths), dtype=tf.float64)
    variables = sorted(tf.trainable_variables(), key=lambda v: v.op.name)
    slopes = tf.gradients(tf.reduce_sum(tf.sin(3 * y)), [texts, *variables])
    feed = {texts: numbers([2, 4, 3, 2], 1), lengths: [[1, 2, 3, 1], [3, 0, 2, 2]]}
    return [([y, *slopes], feed)]


def arrays_in_branches(tf: Any, cells: Any) -> list[Given]:
    """Elements read in the branches of a choice within a loop that writes another array."""
    del cells
    x = tf.placeholder(tf.float64, [None, 4])
    n = tf.shape(x)[0]
    rows = tf.TensorArray(tf.float64, size=n, clear_after_read=False).unstack(x)

    def step(i: Any, total: Any, out: Any) -> Any:
        row = rows.read(i)
        total = tf.cond(
            tf.reduce_sum(row) > 0.0, lambda: total + rows.read(tf.maximum(i - 1, 0)),
            lambda: total * 0.5 - row,
        )  # fmt: skip
        return i + 1, total, out.write(i, total)

    start = (0, tf.zeros([4], tf.float64), tf.TensorArray(tf.float64, size=n))
    y = tf.while_loop(lambda i, *_: i < n, step, start)[2].stack()
    fetches = [y, tf.gradients(y * y, x)[0]]
    return [(fetches, {x: numbers([6, 4], 1)}), (fetches, {x: numbers([2, 4], 2)})]


def draws(tf: Any, cells: Any) -> list[Given]:
    """Random numbers in loops, the same in every library."""
    del cells
    tf.set_random_seed(7)
    total = tf.while_loop(
        lambda i, a: i < 4, lambda i, a: (i + 1, a + tf.random_uniform([3], seed=3)),
        [0, tf.zeros([3])], parallel_iterations=1,
    )[1]  # fmt: skip
    each = tf.map_fn(
        lambda _: tf.random_normal([2], seed=5), tf.range(3), dtype=tf.float32,
        parallel_iterations=1,
    )  # fmt: skip
    return [([total], {}), ([each], {}), ([total], {})]


PROGRAMS: dict[str, Callable[..., list[Given]]] = {
    f.__name__: f
    for f in (
        conditional_random_field, attention, beams, kalman, branches_with_effects,
        gradients_in_the_body, networks_in_a_map, arrays_in_branches, draws,
    )
}  # fmt: skip


def results(tf: Any, cells: Any, name: str) -> list[np.ndarray]:
    """All values that a program fetches, in order, with numbers in its variables."""
    runs = PROGRAMS[name](tf, cells)
    found: list[np.ndarray] = []
    with tf.Session() as sess:
        for k, v in enumerate(sorted(tf.global_variables(), key=lambda v: v.op.name)):
            v.load(numbers(v.shape, k), sess)
        for fetches, feed in runs:
            found += map(np.asarray, sess.run(fetches, feed))
    return found
