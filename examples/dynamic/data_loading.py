"""Images from files, in batches, shuffled, by worker processes ("Data Loading").

Changed for its age: the bytes of a picture become a tensor by way of numpy.  The document names a
folder of images; here the program writes one, of noise, into a temporary place.
"""

import argparse
import os
import tempfile

import numpy as np
from PIL import Image

import staticgraph.dynamic as torch
from staticgraph.data import DataLoader, Dataset


class MyImageDataset(Dataset):
    """The images of a folder as tensors of channels, rows and columns in [0, 1]."""

    def __init__(self, path):
        self.filenames = sorted(os.path.join(path, name) for name in os.listdir(path))

    def __getitem__(self, i):
        pic = Image.open(self.filenames[i])
        img = torch.from_numpy(np.array(pic))
        img = img.view(pic.size[1], pic.size[0], len(pic.mode))
        img = img.transpose(0, 1).transpose(0, 2).float() / 255
        return img

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

    with tempfile.TemporaryDirectory() as path:
        write_images(path, args.images, args.seed)
        dataset = MyImageDataset(path)

        # one image at a time
        for i in range(3):
            print(dataset[i].size())

        # loaded, batched and shuffled by several processes
        loader = DataLoader(
            dataset, num_workers=args.workers, batch_size=64, shuffle=True, seed=args.seed
        )
        for _ in range(args.steps):
            for batch in loader:
                print(batch.size(), f"{batch.mean().item():.5f}")


if __name__ == "__main__":
    main()
