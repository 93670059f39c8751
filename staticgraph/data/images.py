"""Images from files: one folder for each class."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from staticgraph.data.dataset import Dataset, checked
from staticgraph.errors import DataError, ImageError, MissingExtraError, UsageError
from staticgraph.ir.loc import Loc, caller

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


class ImageFolder(Dataset[tuple[Any, int]]):
    """The images of a folder, labelled by the folder within it that they lie in.

        photographs/cat/1.png   photographs/cat/more/2.jpg   photographs/dog/3.png

    Item `i` is the image `i`, uint8[height, width, channels], and the number of its class.  Classes
    are the names of the folders, in alphabetical order; the images of a class follow one another,
    in the order of their paths.  Reading needs Pillow, which the extra `images` installs.

    Args:
      root: the folder that holds a folder for each class.
      transform: what is done to an image before it is an item.
      target_transform: what is done to the number of a class.
      mode: how Pillow is to give the pixels: `"RGB"`, `"L"` (grey, one channel), `"RGBA"`.
      size: height and width that every image is brought to; by default each keeps its own.
      extensions: how the names of images end; other files are passed over.

    Attributes:
      classes: the names of the classes.
      class_to_idx: the number of each class by its name.
      samples: path and class of each image.
      targets: the class of each image.

    Raises:
      MissingExtraError: Pillow is not installed.
      DataError: there are no classes, or a class without images.
      ImageError: when an item is read, and its file is not an image that can be read.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from staticgraph.data import ImageFolder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat", "dog"):
    ...         Path(folder, name).mkdir()
    ...         Image.new("RGB", (4, 3)).save(Path(folder, name, "1.png"))
    ...     images = ImageFolder(folder)
    ...     pixels, label = images[1]
    >>> images.classes, pixels.shape, pixels.dtype, label
    (['cat', 'dog'], (3, 4, 3), dtype('uint8'), 1)
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        transform: Callable[[np.ndarray], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        *,
        mode: str = "RGB",
        size: tuple[int, int] | None = None,
        extensions: Sequence[str] = EXTENSIONS,
    ) -> None:
        _pillow()
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise UsageError(
                f"ImageFolder: size must be a height and a width, not {size!r}", loc=caller()
            )
        self.root = os.fspath(root)
        self.transform = transform
        self.target_transform = target_transform
        self.mode = mode
        self.size = size
        self.classes = _classes(Path(self.root))
        self.class_to_idx = {name: i for i, name in enumerate(self.classes)}
        self.samples: list[tuple[str, int]] = []
        for name, label in self.class_to_idx.items():
            found = _images(Path(self.root, name), tuple(e.lower() for e in extensions))
            if not found:
                raise DataError(
                    f"ImageFolder: class {name!r} has no images in {self.root}",
                    loc=caller(),
                    hint=f"names of images end in {', '.join(extensions)}",
                )
            self.samples += [(path, label) for path in found]
        self.targets = [label for _, label in self.samples]
        self._made_at: Loc = caller()  # in a worker there is no line of the user's to name

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        path, label = self.samples[checked(index, len(self), "ImageFolder")]
        image: Any = read_image(path, self.mode, self.size, loc=self._made_at)
        if self.transform is not None:
            image = self.transform(image)
        return image, label if self.target_transform is None else self.target_transform(label)

    def __len__(self) -> int:
        return len(self.samples)


def read_image(
    path: str | os.PathLike[str],
    mode: str = "RGB",
    size: tuple[int, int] | None = None,
    *,
    loc: Loc | None = None,
) -> np.ndarray:
    """Read an image file through Pillow.

    It is read as it is stored: the first picture of an animation, not turned by what a camera
    noted, and without its transparency unless the mode keeps that.  Where a mode has 8 bits,
    images of 16 give their upper eight.

    Args:
      path: the file.
      mode: `"RGB"`, `"L"` (grey) or another mode of Pillow's.
      size: height and width that the image is brought to.
      loc: the line that an error names; by default the caller's.

    Returns:
      uint8[height, width, channels]; another dtype with the modes `"I"`, `"I;16"`, `"F"` and `"1"`.

    Raises:
      MissingExtraError: Pillow is not installed.
      ImageError: the file does not exist or is not an image that can be read.

    >>> import os, tempfile
    >>> from PIL import Image
    >>> from staticgraph.data import read_image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "red.png")
    ...     Image.new("RGB", (2, 1), "red").save(path)
    ...     read_image(path)
    array([[[255,   0,   0],
            [255,   0,   0]]], dtype=uint8)
    """
    pillow = _pillow()
    try:
        with pillow.open(path) as file:
            image = _eight_bits(pillow, file, mode).convert(mode)
            if size is not None and image.size != (size[1], size[0]):
                image = image.resize((size[1], size[0]), pillow.Resampling.BILINEAR)
            pixels = np.array(image)
    except (OSError, SyntaxError, ValueError, pillow.DecompressionBombError) as e:
        # Pillow raises a SyntaxError for a damaged PNG, and a ValueError for an unknown mode
        raise ImageError(
            f"{os.fspath(path)}: cannot be read as an image: {_reason(e)}", loc=loc or caller()
        ) from e
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _eight_bits(pillow: Any, image: Any, mode: str) -> Any:
    """An image of 16 bits with the upper eight, where the mode has no more: Pillow would cut off.

    Raises:
      ValueError: it holds 32-bit numbers, of which nobody knows which range they fill.
    """
    wide = image.mode if image.mode[0] in "IF" else ""
    if not wide or mode[0] in "IF":
        return image
    if wide.startswith("I;16") or (wide == "I" and image.format == "PNG"):  # as Pillow 10 has it
        return pillow.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    kind = "integers" if wide == "I" else "floats"
    raise ValueError(
        f"it holds 32-bit {kind}, which mode={mode!r} cuts off; mode={wide!r} does not"
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if type(error).__name__ == "UnidentifiedImageError":
        return "it is of no format that Pillow knows"
    return str(error)


def _classes(root: Path) -> list[str]:
    try:
        names = sorted(entry.name for entry in root.iterdir() if entry.is_dir())
    except OSError as e:
        raise DataError(f"ImageFolder: cannot list {root}: {e.strerror or e}", loc=caller()) from e
    if not names:
        raise DataError(
            f"ImageFolder: {root} holds no folders",
            loc=caller(),
            hint="each class is a folder of images within it",
        )
    return names


def _images(folder: Path, extensions: tuple[str, ...]) -> list[str]:
    """The image files in a folder and those below it, in the order of their paths."""
    return sorted(
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(extensions)
    )


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as e:
        raise MissingExtraError("images", "reading images") from e
    return Image
