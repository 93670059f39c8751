"""Classify handwritten digits with a network of two layers, and show what was compiled.

Data: the 1,797 images of 8x8 pixels that scikit-learn brings along, the test part of "Optical
Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak, UCI Machine Learning Repository,
1998, https://doi.org/10.24432/C50P49, licence CC BY 4.0.  Nothing is downloaded.

    python examples/digits.py [--steps 1500] [--batch 64] [--hidden 64] [--seed 0] [--out out]

Written to the output folder: `digits_curve.png`, the learning curve, and `digits_graph.png`, the
graph.  A seed gives the same losses in each run on one machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")  # no window: the curve goes to a file
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import staticgraph as tf
from staticgraph import viz


class Data(NamedTuple):
    """Images as rows of 64 floats in [0, 1], and their labels."""

    x_train: np.ndarray
    x_test: np.ndarray
    y_train: np.ndarray
    y_test: np.ndarray


class Model(NamedTuple):
    """The tensors that are fed and fetched."""

    images: tf.Tensor
    labels: tf.Tensor
    loss: tf.Tensor
    accuracy: tf.Tensor
    train: tf.Operation


def load(seed: int) -> Data:
    """The digits, a quarter of them held out."""
    digits = load_digits()
    images = (digits.data / 16.0).astype(np.float32)
    labels = digits.target.astype(np.int32)
    return Data(
        *train_test_split(images, labels, test_size=0.25, random_state=seed, stratify=labels)
    )


def dense(x: tf.Tensor, inputs: int, outputs: int, name: str) -> tf.Tensor:
    """A fully connected layer without activation."""
    with tf.name_scope(name):
        start = tf.truncated_normal([inputs, outputs], stddev=(2.0 / inputs) ** 0.5)
        weights = tf.Variable(start, name="weights")
        bias = tf.Variable(tf.zeros([outputs]), name="bias")
        return tf.matmul(x, weights) + bias


def build(hidden: int) -> Model:
    """The graph; the batch size stays open."""
    images = tf.placeholder(tf.float32, [None, 64], name="images")
    labels = tf.placeholder(tf.int32, [None], name="labels")
    h = tf.nn.relu(dense(images, 64, hidden, "hidden"), name="relu")
    logits = dense(h, hidden, 10, "output")
    with tf.name_scope("loss"):
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )
    with tf.name_scope("accuracy"):
        right = tf.equal(tf.argmax(logits, 1, output_type=tf.int32), labels)
        accuracy = tf.reduce_mean(tf.cast(right, tf.float32))
    train = tf.train.AdamOptimizer(2e-3).minimize(loss)
    return Model(images, labels, loss, accuracy, train)


def batches(data: Data, size: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Shuffled batches without end; every image once per pass."""
    rng = np.random.default_rng(seed)
    size = min(size, len(data.x_train))
    while True:
        order = rng.permutation(len(data.x_train))
        for i in range(0, len(order) - size + 1, size):
            chosen = order[i : i + size]
            yield data.x_train[chosen], data.y_train[chosen]


def report(sess: tf.Session) -> None:
    """What the session compiled."""
    for number, executable in enumerate(sess.executables(), 1):
        kernels = len(executable.program.kernels())
        steps = len(executable.program.steps)
        peak = max((plan.peak_bytes for plan in executable.plans.values()), default=0)
        print(
            f"executable {number}: {steps} steps, {kernels} distinct kernels, "
            f"{executable.counts.runs} runs, {peak:,} bytes planned"
        )


def draw_curve(losses: list[float], tests: list[tuple[int, float]], path: Path) -> None:
    """The loss of each step, and the accuracy on the held-out digits."""
    figure, left = plt.subplots(figsize=(7, 4))
    left.semilogy(losses, color="tab:blue", linewidth=0.7)
    left.set_xlabel("step")
    left.set_ylabel("loss of the batch", color="tab:blue")
    right = left.twinx()
    right.plot(*zip(*tests, strict=True), color="tab:orange", marker=".")
    right.set_ylabel("accuracy on held-out digits", color="tab:orange")
    right.set_ylim(0.8, 1.0)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500, help="training steps")
    parser.add_argument("--batch", type=int, default=64, help="images in a step")
    parser.add_argument("--hidden", type=int, default=64, help="units of the hidden layer")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, batches and split")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures")
    args = parser.parse_args()
    if min(args.steps, args.batch, args.hidden) < 1:
        parser.error("--steps, --batch and --hidden must be at least 1")
    try:
        args.out.mkdir(parents=True, exist_ok=True)  # fails now rather than after the training
    except OSError as e:
        parser.error(f"--out {args.out}: {e.strerror}")

    tf.set_random_seed(args.seed)
    data = load(args.seed)
    model = build(args.hidden)
    held_out = {model.images: data.x_test, model.labels: data.y_test}

    losses: list[float] = []
    tests: list[tuple[int, float]] = []
    seconds = 0.0
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        source = batches(data, args.batch, args.seed)
        with tqdm(total=args.steps, unit="step", desc="training", mininterval=0.5) as bar:
            for step in range(args.steps):
                images, labels = next(source)
                start = time.perf_counter()
                loss, _ = sess.run(
                    [model.loss, model.train], {model.images: images, model.labels: labels}
                )
                if step:  # the first step compiles
                    seconds += time.perf_counter() - start
                losses.append(float(loss))
                if step % 100 == 99 or step == args.steps - 1:
                    tests.append((step, float(sess.run(model.accuracy, held_out))))
                    bar.set_postfix(loss=f"{loss:.4f}", accuracy=f"{tests[-1][1]:.2%}")
                bar.update()
        report(sess)

    print(
        f"loss {losses[-1]:.4f}, accuracy on {len(data.y_test)} held-out digits {tests[-1][1]:.2%}"
    )
    if args.steps > 1:
        print(f"{(args.steps - 1) / seconds:,.0f} steps/s after the first")
    curve, picture = args.out / "digits_curve.png", args.out / "digits_graph.png"
    draw_curve(losses, tests, curve)
    viz.draw(path=picture)
    print(f"wrote {curve} and {picture}")


if __name__ == "__main__":
    main()
