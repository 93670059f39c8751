"""Guess the script that a syllable is written in from its name, letter by letter.

The network is Elman's: the state after each letter is a function of the letter and the last state.

The loop over letters is a part of the graph: `tf.scan` calls the step once, while the graph is
built, and the compiled loop serves names of every length.

Data: the names of syllables in the Unicode Character Database, which comes with Python: HANGUL
SYLLABLE GWEONG is to be told from ETHIOPIC SYLLABLE PHWA by GWEONG and PHWA alone.

    python examples/elman_rnn.py [--steps 600] [--hidden 64] [--seed 0] [NAME ...]
"""

from __future__ import annotations

import argparse
import re
import time
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import staticgraph as tf

SCRIPTS = ("Canadian", "Ethiopic", "Hangul", "Vai", "Yi")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
EACH = 300  # names of a script, drawn from more where there are more


class Data(NamedTuple):
    """Names as columns of letters, padded at the end; their lengths and scripts."""

    letters: np.ndarray
    lengths: np.ndarray
    scripts: np.ndarray


class RNN:
    """``hidden = relu(ih(input) + hh(hidden))`` over the first axis of the input."""

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        self.w_ih = tf.get_variable("w_ih", [input_dim, hidden_dim])
        self.b_ih = tf.get_variable("b_ih", [hidden_dim], initializer=tf.zeros_initializer())
        start = tf.orthogonal_initializer()
        self.w_hh = tf.get_variable("w_hh", [hidden_dim, hidden_dim], initializer=start)
        self.b_hh = tf.get_variable("b_hh", [hidden_dim], initializer=tf.zeros_initializer())

    def ih(self, letters: tf.Tensor) -> tf.Tensor:
        """The input's share: a row of weights for each letter."""
        return tf.nn.embedding_lookup(self.w_ih, letters) + self.b_ih

    def hh(self, hidden: tf.Tensor) -> tf.Tensor:
        """The last state's share."""
        return tf.matmul(hidden, self.w_hh) + self.b_hh

    def __call__(self, letters: tf.Tensor, hidden: tf.Tensor) -> tf.Tensor:
        """All states, ``[length, batch, hidden]``."""

        def step(hidden: tf.Tensor, letter: tf.Tensor) -> tf.Tensor:
            return tf.nn.relu(self.ih(letter) + self.hh(hidden))

        return tf.scan(step, letters, initializer=hidden)


def encode(names: Sequence[str], scripts: Sequence[int]) -> Data:
    """Letters as numbers; what is none of `LETTERS` is left out."""
    rows = [[LETTERS.index(c) for c in name.upper() if c in LETTERS] for name in names]
    if not all(rows):
        raise SystemExit(f"a name has no letter from A to Z: {names[rows.index([])]!r}")
    letters = np.zeros((max(map(len, rows)), len(rows)), np.int32)
    for column, row in enumerate(rows):
        letters[: len(row), column] = row
    return Data(letters, np.array([len(r) for r in rows], np.int32), np.array(scripts, np.int32))


def syllables(rng: np.random.Generator) -> list[tuple[str, int]]:
    """Names of syllables and the numbers of their scripts."""
    pairs = []
    names = [unicodedata.name(chr(code), "") for code in range(0x30000)]
    for number, script in enumerate(SCRIPTS):
        pattern = re.compile(rf"{script.upper()} SYLLAB(?:LE|ICS) ([A-Z]+)$")
        found = sorted({m[1] for m in map(pattern.match, names) if m})
        kept = rng.permutation(len(found))[:EACH]
        pairs += [(found[k], number) for k in kept]
    return pairs


def chosen(data: Data, columns: np.ndarray) -> Data:
    """Some of the names, without padding that none of them needs."""
    lengths = data.lengths[columns]
    return Data(data.letters[: lengths.max(), columns], lengths, data.scripts[columns])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="names to guess the script of")
    parser.add_argument("--steps", type=int, default=600, help="steps of training")
    parser.add_argument("--hidden", type=int, default=64, help="width of the state")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and batches")
    args = parser.parse_args()
    asked = encode(args.names, [0] * len(args.names)) if args.names else None

    tf.set_random_seed(args.seed)
    letters = tf.placeholder(tf.int32, [None, None], name="letters")
    lengths = tf.placeholder(tf.int32, [None], name="lengths")
    scripts = tf.placeholder(tf.int32, [None], name="scripts")

    batch = tf.shape(letters)[1]
    states = RNN(len(LETTERS), args.hidden)(letters, tf.zeros([batch, args.hidden]))
    last = tf.gather_nd(states, tf.stack([lengths - 1, tf.range(batch)], axis=1))
    weights = tf.get_variable("weights", [args.hidden, len(SCRIPTS)])
    logits = tf.matmul(last, weights)
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=scripts, logits=logits)
    )
    guess = tf.argmax(logits, 1, output_type=tf.int32)
    right = tf.reduce_mean(tf.cast(tf.equal(guess, scripts), tf.float32))

    optimizer = tf.train.AdamOptimizer(2e-3)
    gradients, variables = zip(*optimizer.compute_gradients(loss), strict=True)
    gradients, _ = tf.clip_by_global_norm(list(gradients), 1.0)
    train = optimizer.apply_gradients(zip(gradients, variables, strict=True))

    rng = np.random.default_rng(args.seed)
    names, numbers = zip(*syllables(rng), strict=True)
    data, order = encode(names, numbers), rng.permutation(len(names))
    held, rest = order[: len(order) // 5], order[len(order) // 5 :]

    def feed(columns: np.ndarray) -> dict[tf.Tensor, np.ndarray]:
        return dict(zip((letters, lengths, scripts), chosen(data, columns), strict=True))

    most = np.bincount(data.scripts[held]).max() / len(held)
    print(f"{len(rest)} names to learn from, {len(held)} held out; {most:.0%} by the commonest")
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        start = time.perf_counter()
        for t in range(1, args.steps + 1):
            value, _ = sess.run([loss, train], feed(rng.choice(rest, 64)))
            if t % max(args.steps // 6, 1) == 0:
                print(f"step {t:4d}  loss {value:.3f}  held out {sess.run(right, feed(held)):.0%}")
        milliseconds = (time.perf_counter() - start) / max(args.steps, 1) * 1e3
        print(f"{milliseconds:.2f} ms a step; programs compiled: {len(sess.executables())}")
        if asked is not None:
            found = sess.run(guess, {letters: asked.letters, lengths: asked.lengths})
            for name, number in zip(args.names, found, strict=True):
                print(f"{name}: {SCRIPTS[number]}")


if __name__ == "__main__":
    main()
