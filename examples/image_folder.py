"""Train a small convolutional network on image files that worker processes read.

Images are drawn first: discs, squares and triangles at random places and sizes, with noise, one
folder for each class.  The network then learns to tell them apart twice, as a static graph and
define-by-run, from the same starting weights and the same batches.

    python examples/image_folder.py [--form both] [--workers 2] [--epochs 8] [--seed 0] [--folder F]

Without `--folder` the images lie in a temporary folder, which is removed at the end.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import staticgraph as tf
import staticgraph.dynamic as torch
from staticgraph.data import DataLoader, ImageFolder, to_tensors

SIDE = 24
CLASSES = ("disc", "square", "triangle")
Weights = dict[str, np.ndarray]
Trainer = tuple[Callable[[Any], float], Callable[[Any], int]]
"""What does a step with a batch and returns the loss, and what counts the right answers in one."""


def shape(name: str, rng: np.random.Generator) -> np.ndarray:
    """A picture of one class: grey on grey, uint8[SIDE, SIDE]."""
    radius = rng.uniform(5, 9)
    at = rng.uniform(radius, SIDE - radius, 2)
    y, x = np.indices((SIDE, SIDE)) - at[:, None, None]
    if name == "disc":
        inside = x * x + y * y < radius * radius
    elif name == "square":
        inside = np.maximum(np.abs(x), np.abs(y)) < 0.85 * radius
    else:
        inside = (y < 0.8 * radius) & (np.abs(x) < 0.6 * (y + radius))
    paper, ink = rng.uniform(30, 100), rng.uniform(150, 220)
    picture = np.where(inside, ink, paper) + rng.normal(0, 20, (SIDE, SIDE))
    return picture.clip(0, 255).astype(np.uint8)


def draw(folder: Path, count: int, seed: int) -> None:
    """Write images of each class, half of one kind of file and half of another."""
    rng = np.random.default_rng(seed)
    for name in CLASSES:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            ending = ("png", "bmp")[i % 2]
            Image.fromarray(shape(name, rng)).save(folder / name / f"{i:03d}.{ending}")


def prepare(pixels: np.ndarray) -> np.ndarray:
    """Pixels as floats around 0.  At the top level of the module, where workers find it."""
    return (pixels.astype(np.float32) - 128.0) / 64.0


def start(seed: int) -> Weights:
    """Weights for both forms; kernels are [height, width, inputs, outputs]."""
    rng = np.random.default_rng(seed)
    shapes = {"first": (5, 5, 1, 8), "second": (5, 5, 8, 16), "output": (16, len(CLASSES))}
    return {
        name: (rng.normal(size=s) * np.sqrt(2.0 / np.prod(s[:-1]))).astype(np.float32)
        for name, s in shapes.items()
    }


@contextmanager
def train_static(weights: Weights) -> Iterator[Trainer]:
    """The network as a graph."""
    images = tf.placeholder(tf.float32, [None, SIDE, SIDE, 1], name="images")
    labels = tf.placeholder(tf.int64, [None], name="labels")
    first, second, output = (tf.Variable(weights[n], name=n) for n in ("first", "second", "output"))
    h = tf.nn.relu(tf.nn.conv2d(images, first, [1, 1, 1, 1], "VALID"))
    h = tf.nn.max_pool(h, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")
    h = tf.nn.relu(tf.nn.conv2d(h, second, [1, 1, 1, 1], "VALID"))
    logits = tf.matmul(tf.reduce_max(h, axis=[1, 2]), output)
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
    right = tf.reduce_sum(tf.cast(tf.equal(tf.argmax(logits, 1), labels), tf.int32))
    step = tf.train.MomentumOptimizer(0.01, 0.9).minimize(loss)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        yield (
            lambda batch: float(sess.run([loss, step], {images: batch[0], labels: batch[1]})[0]),
            lambda batch: int(sess.run(right, {images: batch[0], labels: batch[1]})),
        )


class Net(torch.nn.Module):
    """The network as a module."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(1, 8, 5, bias=False)
        self.second = torch.nn.Conv2d(8, 16, 5, bias=False)
        self.output = torch.nn.Linear(16, len(CLASSES), bias=False)
        with torch.no_grad():
            for layer, name in ((self.first, "first"), (self.second, "second")):
                layer.weight.copy_(torch.from_numpy(weights[name].transpose(3, 2, 0, 1).copy()))
            self.output.weight.copy_(torch.from_numpy(weights["output"].T.copy()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        h = self.first(images.permute(0, 3, 1, 2)).relu()
        h = torch.nn.functional.max_pool2d(h, 2)
        h = self.second(h).relu()
        return self.output(h.amax((2, 3)))


@contextmanager
def train_dynamic(weights: Weights) -> Iterator[Trainer]:
    """The network define-by-run."""
    net = Net(weights)
    loss_function = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    def step(batch: Any) -> float:
        images, labels = batch
        loss = loss_function(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.item())

    def right(batch: Any) -> int:
        with torch.no_grad():
            return int((net(batch[0]).argmax(1) == batch[1]).sum().item())

    yield step, right


def run(form: str, folder: Path, args: argparse.Namespace) -> list[float]:
    """Train one form and tell how it goes; the loss of each step."""
    collate = to_tensors if form == "dynamic" else None
    train = DataLoader(
        ImageFolder(folder / "train", prepare, mode="L"), args.batch, shuffle=True,
        seed=args.seed, num_workers=args.workers, persistent_workers=args.workers > 0,
        collate_fn=collate,
    )  # fmt: skip
    test = DataLoader(
        ImageFolder(folder / "test", prepare, mode="L"), 64, num_workers=args.workers,
        collate_fn=collate,
    )  # fmt: skip
    losses: list[float] = []
    began = time.perf_counter()
    trainer = train_static if form == "static" else train_dynamic
    with trainer(start(args.seed)) as (step, right):
        for epoch in range(args.epochs):
            losses += [step(batch) for batch in train]
            print(f"{form}, epoch {epoch + 1}: loss {np.mean(losses[-len(train) :]):.4f}")
        hits = sum(right(batch) for batch in test)
    seconds = time.perf_counter() - began
    total = len(test.dataset)
    print(f"{form}: {hits} of {total} images right ({hits / total:.1%}), {seconds:.1f} s")
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--form", choices=("static", "dynamic", "both"), default="both")
    parser.add_argument("--workers", type=int, default=2, help="processes that read images")
    parser.add_argument("--epochs", type=int, default=8, help="passes over the images")
    parser.add_argument("--batch", type=int, default=30, help="images in a step")
    parser.add_argument("--seed", type=int, default=0, help="seed of images, weights and order")
    parser.add_argument("--folder", type=Path, help="where the images are written")
    args = parser.parse_args()
    if min(args.epochs, args.batch) < 1 or args.workers < 0:
        parser.error("--epochs and --batch must be at least 1, --workers at least 0")

    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        try:
            draw(folder / "train", 100, args.seed)
            draw(folder / "test", 40, args.seed + 1)
        except OSError as e:
            parser.error(f"images cannot be written to {folder}: {e.strerror}")
        forms = ("static", "dynamic") if args.form == "both" else (args.form,)
        losses = [run(form, folder, args) for form in forms]
    if len(losses) == 2:
        difference = np.max(np.abs(np.subtract(*losses)))
        print(f"losses of the two forms differ by at most {difference:.1g}")


if __name__ == "__main__":
    main()
