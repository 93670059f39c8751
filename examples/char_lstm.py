"""Learn to write like a text, letter by letter, with a long short-term memory.

Training cuts the text into as many strands as the batch has rows and reads them side by side, so
that every step goes on where the last one stopped, with the state it left.  Writing is one run:
the loop that draws a letter, feeds it back and draws the next is a part of the graph.

    python examples/char_lstm.py [TEXT_FILE] [--steps 600] [--write 400] [--seed 0]

Without a file it reads what the repository itself has to read: README, licence and documentation.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import staticgraph as tf

rnn = tf.nn.rnn_cell


class Model:
    """The network over a batch of strands of text, and as a writer of one strand."""

    def __init__(self, letters: int, width: int, layers: int) -> None:
        self.cell = rnn.MultiRNNCell([rnn.BasicLSTMCell(width) for _ in range(layers)])
        self.letters = letters
        self.table = tf.get_variable("table", [letters, width])
        self.weights = tf.get_variable("weights", [width, letters])
        self.bias = tf.get_variable("bias", [letters], initializer=tf.zeros_initializer())

    def scores(self, outputs: tf.Tensor) -> tf.Tensor:
        """Logits of the next letter, for each row."""
        return tf.matmul(outputs, self.weights) + self.bias

    def loss(self, text: tf.Tensor, following: tf.Tensor, state: tuple) -> tuple:
        """Cross entropy in nats a letter, and the state at the end."""
        outputs, state = tf.nn.dynamic_rnn(
            self.cell, tf.nn.embedding_lookup(self.table, text), initial_state=state
        )
        flat = tf.reshape(outputs, [-1, self.cell.output_size])
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=tf.reshape(following, [-1]), logits=self.scores(flat)
        )
        return tf.reduce_mean(losses), state

    def writer(self, first: tf.Tensor, length: tf.Tensor, heat: tf.Tensor) -> tf.Tensor:
        """The numbers of `length` letters, each drawn with the ones before it in mind."""

        def step(before: tuple, _: tf.Tensor) -> tuple:
            letter, state = before
            with tf.variable_scope("rnn", reuse=True):
                output, state = self.cell(tf.nn.embedding_lookup(self.table, letter), state)
            drawn = tf.multinomial(self.scores(output) / heat, 1, output_dtype=tf.int32)
            return drawn[:, 0], state

        start = (first, self.cell.zero_state(1, tf.float32))
        written, _ = tf.scan(step, tf.range(length), initializer=start)
        return written[:, 0]


def strands(text: np.ndarray, batch: int, steps: int) -> Iterator[tuple[bool, np.ndarray]]:
    """Pieces of ``steps + 1`` letters of each strand, without end; True where strands begin."""
    length = len(text) // batch
    rows = text[: length * batch].reshape(batch, length)
    while True:
        for at in range(0, length - steps, steps):
            yield at == 0, rows[:, at : at + steps + 1]


def read(path: str | None) -> str:
    """The text to learn from."""
    if path is not None:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    root = Path(__file__).parents[1]
    files = [root / "README.md", root / "LICENSE", *sorted((root / "docs").glob("*.md"))]
    return "\n".join(f.read_text(encoding="utf-8") for f in files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", help="a text file")
    parser.add_argument("--steps", type=int, default=600, help="steps of training")
    parser.add_argument("--width", type=int, default=128, help="units of each layer")
    parser.add_argument("--layers", type=int, default=2, help="layers of cells")
    parser.add_argument("--batch", type=int, default=32, help="strands that are read side by side")
    parser.add_argument("--length", type=int, default=50, help="letters of a step")
    parser.add_argument("--write", type=int, default=400, help="letters to write in the end")
    parser.add_argument("--heat", type=float, default=0.7, help="below 1: the likely more likely")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and letters")
    args = parser.parse_args()

    if min(args.width, args.layers, args.batch, args.length) < 1 or args.heat <= 0:
        parser.error("sizes must be at least 1, and --heat above 0")
    try:
        content = read(args.file)
    except OSError as e:
        parser.error(f"{args.file}: {e.strerror}")
    needed = args.batch * (args.length + 1)
    if len(content) < needed:
        parser.error(f"the text has {len(content)} letters, {needed} are needed")

    letters, text = np.unique(list(content), return_inverse=True)
    text = text.astype(np.int32)
    print(f"{len(text):,} letters, {len(letters)} different ones")

    tf.set_random_seed(args.seed)
    model = Model(len(letters), args.width, args.layers)
    now = tf.placeholder(tf.int32, [args.batch, args.length], name="now")
    following = tf.placeholder(tf.int32, [args.batch, args.length], name="following")
    state = model.cell.zero_state(args.batch, tf.float32)
    loss, end = model.loss(now, following, state)
    optimizer = tf.train.AdamOptimizer(3e-3)
    gradients, variables = zip(*optimizer.compute_gradients(loss), strict=True)
    gradients, _ = tf.clip_by_global_norm(list(gradients), 5.0)
    train = optimizer.apply_gradients(zip(gradients, variables, strict=True))

    first = tf.placeholder(tf.int32, [1], name="first")
    length = tf.placeholder(tf.int32, [], name="length")
    written = model.writer(first, length, tf.constant(args.heat))

    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        zero = last = sess.run(state)
        pieces = strands(text, args.batch, args.length)
        smooth, start = np.log(len(letters)), time.perf_counter()
        for t in range(1, args.steps + 1):
            begins, piece = next(pieces)
            feed = {now: piece[:, :-1], following: piece[:, 1:], state: zero if begins else last}
            value, last, _ = sess.run([loss, end, train], feed)
            smooth += 0.05 * (value - smooth)
            if t % max(args.steps // 10, 1) == 0:
                print(f"step {t:5d}  {smooth / np.log(2):.3f} bits a letter")
        seconds = time.perf_counter() - start
        rate = args.steps * args.batch * args.length / max(seconds, 1e-9)
        print(f"{seconds / max(args.steps, 1) * 1e3:.1f} ms a step, {rate:,.0f} letters a second\n")
        numbers = sess.run(written, {first: text[:1], length: args.write})
        print("".join(letters[numbers]))


if __name__ == "__main__":
    main()
