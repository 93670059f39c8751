"""Batches of images fed to a placeholder: the twin of dynamic/data_loading.py."""

import argparse
import os
import tempfile

import numpy as np
from PIL import Image

import staticgraph as tf
from staticgraph.data import DataLoader, Dataset


class MyImageDataset(Dataset):
    """The images of a folder as arrays of channels, rows and columns in [0, 1]."""

    def __init__(self, path):
        self.filenames = sorted(os.path.join(path, name) for name in os.listdir(path))

    def __getitem__(self, i):
        pixels = np.array(Image.open(self.filenames[i]))
        return pixels.transpose(2, 0, 1).astype(np.float32) / 255

    def __len__(self):
        return len(self.filenames)


def write_images(path, count, seed):
    """Pictures of 28 by 28 pixels in colour."""
    draw = np.random.RandomState(seed)
    for i in range(count):
        pixels = draw.randint(0, 256, (28, 28, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(os.path.join(path, f"{i:03d}.png"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2, help="passes over the images in batches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=200, help="images that are written")
    parser.add_argument("--workers", type=int, default=4, help="worker processes")
    args = parser.parse_args()
    if args.images < 3 or args.workers < 0:
        parser.error("--images must be at least 3, --workers at least 0")

    images = tf.placeholder(tf.float32, [None, 3, 28, 28], name="images")
    mean = tf.reduce_mean(images)

    with tempfile.TemporaryDirectory() as path, tf.Session() as sess:
        write_images(path, args.images, args.seed)
        dataset = MyImageDataset(path)

        # one image at a time
        for i in range(3):
            print(dataset[i].shape)

        # loaded, batched and shuffled by several processes, and fed
        loader = DataLoader(
            dataset, num_workers=args.workers, batch_size=64, shuffle=True, seed=args.seed
        )
        for _ in range(args.steps):
            for batch in loader:
                print(batch.shape, f"{sess.run(mean, {images: batch}):.5f}")


if __name__ == "__main__":
    main()
