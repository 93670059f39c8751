"""Images from folders."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from staticgraph.data import DataLoader, ImageFolder, read_image
from staticgraph.errors import DataError, DataIndexError, ImageError, MissingExtraError, UsageError

HERE = Path(__file__).name


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, name in enumerate(["dog/b.png", "cat/2.PNG", "cat/10.png", "dog/more/a.png"]):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(4, 6, i)).save(path)
    (tmp_path / "images" / "cat" / "notes.txt").write_text("not an image", encoding="utf-8")
    (tmp_path / "images" / "readme.png").write_text("in no class", encoding="utf-8")
    return tmp_path / "images"


def test_classes_are_folders(folder: Path) -> None:
    images = ImageFolder(folder)
    assert images.classes == ["cat", "dog"]
    assert images.class_to_idx == {"cat": 0, "dog": 1}
    names = [str(Path(path).relative_to(folder)) for path, _ in images.samples]
    assert names == [
        str(Path(n)) for n in ("cat/10.png", "cat/2.PNG", "dog/b.png", "dog/more/a.png")
    ]
    assert images.targets == [0, 0, 1, 1] and len(images) == 4
    for i, seed in enumerate([2, 1, 0, 3]):
        image, label = images[i]
        np.testing.assert_array_equal(image, pixels(4, 6, seed))
        assert image.dtype == np.uint8 and image.flags.writeable and label == images.targets[i]
    with pytest.raises(DataIndexError, match="ImageFolder: index 4 is out of range"):
        images[4]


def test_what_is_done_to_images(folder: Path) -> None:
    grey = ImageFolder(folder, lambda x: x / np.float32(255), str, mode="L", size=(2, 3))
    image, label = grey[3]
    assert image.shape == (2, 3, 1) and image.dtype == np.float32 and label == "1"
    expected = (
        Image.fromarray(pixels(4, 6, 3)).convert("L").resize((3, 2), Image.Resampling.BILINEAR)
    )
    np.testing.assert_array_equal(image[..., 0], np.asarray(expected) / np.float32(255))
    with pytest.raises(UsageError, match=r"size must be a height and a width, not \(0, 3\)"):
        ImageFolder(folder, size=(0, 3))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_images(folder: Path, workers: int) -> None:
    (x, y), (x2, y2) = DataLoader(ImageFolder(folder), 3, num_workers=workers)
    np.testing.assert_array_equal(x, [pixels(4, 6, i) for i in (2, 1, 0)])
    np.testing.assert_array_equal(x2, [pixels(4, 6, 3)])
    assert y.tolist() == [0, 0, 1] and y2.tolist() == [1] and y.dtype == np.int64


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no image at all", "it is of no format that Pillow knows"),
        (b"", "it is of no format that Pillow knows"),
        ("half", "image file is truncated"),
        ("damaged", "broken PNG file|unrecognized data stream|decoder error|broken data stream"),
        (None, "there is no such file"),
    ],
    ids=["text", "empty", "half", "damaged", "none"],
)
def test_a_file_that_is_no_image(
    folder: Path, content: bytes | str | None, reason: str, workers: int
) -> None:
    bad = folder / "dog" / "b.png"
    whole = bad.read_bytes()
    images = ImageFolder(folder)
    if content is None:
        bad.unlink()
    elif isinstance(content, bytes):
        bad.write_bytes(content)
    else:
        at = whole.index(b"IDAT") + 8
        end = b"" if content == "half" else b"\xff" * 40 + whole[at + 40 :]
        bad.write_bytes(whole[:at] + end)
    with pytest.raises(ImageError, match=reason) as e:
        list(DataLoader(images, 2, num_workers=workers))
    message, line = str(e.value).splitlines()
    assert message.startswith(f"{bad}: cannot be read as an image: ")
    assert line.startswith(f"  {HERE}:") and line.endswith("images = ImageFolder(folder)")
    assert isinstance(e.value, OSError)


def test_folders_without_images(folder: Path, tmp_path: Path) -> None:
    (folder / "eel").mkdir()
    with pytest.raises(DataError, match=r"class 'eel' has no images in .*\n.*\n  hint: .*\.png"):
        ImageFolder(folder)
    with pytest.raises(DataError, match="holds no folders"):
        ImageFolder(folder / "eel")
    with pytest.raises(DataError, match=r"cannot list .*: No such file or directory") as e:
        ImageFolder(tmp_path / "nowhere")
    assert 'ImageFolder(tmp_path / "nowhere")' in str(e.value)


def test_one_image(folder: Path) -> None:
    path = folder / "dog" / "b.png"
    np.testing.assert_array_equal(read_image(path), pixels(4, 6))
    assert read_image(path, "RGBA", (8, 5)).shape == (8, 5, 4)
    with pytest.raises(ImageError, match=r"cannot be read as an image: .*mode") as e:
        read_image(path, "no mode")
    assert 'read_image(path, "no mode")' in str(e.value)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_sixteen_bits_give_their_upper_eight(kind: str, tmp_path: Path) -> None:
    wide = np.linspace(0, 65535, 12).reshape(3, 4).astype(np.uint16)
    path = tmp_path / f"wide.{kind}"
    Image.fromarray(wide).save(path)
    np.testing.assert_array_equal(read_image(path, "L")[:, :, 0], wide >> 8)
    np.testing.assert_array_equal(read_image(path), np.stack([wide >> 8] * 3, axis=2))
    np.testing.assert_array_equal(read_image(path, "I")[:, :, 0], wide)
    np.testing.assert_array_equal(read_image(path, "F")[:, :, 0], wide)


@pytest.mark.parametrize(("dtype", "mode"), [(np.float32, "F"), (np.int32, "I")])
def test_numbers_without_a_range_are_not_cut_off(dtype: Any, mode: str, tmp_path: Path) -> None:
    numbers = (np.arange(12).reshape(3, 4) * 1000.5).astype(dtype)
    path = tmp_path / "numbers.tif"
    Image.fromarray(numbers).save(path)
    with pytest.raises(ImageError, match=f"32-bit .*, which mode='RGB' cuts off; mode='{mode}' d"):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, mode)[:, :, 0], numbers)


def test_kinds_of_colours(tmp_path: Path) -> None:
    colours = Image.fromarray(pixels(4, 6, 1))
    want = pixels(4, 6, 1)
    few = colours.quantize(256)
    for name, image, options in [
        ("palette.png", few, {}), ("clear.png", few, {"transparency": 0}),
        ("alpha.png", colours.convert("RGBA"), {}),
        ("film.webp", colours, {"save_all": True, "append_images": [few], "lossless": True}),
        ("print.tif", colours.convert("CMYK"), {}),
    ]:  # fmt: skip
        image.save(tmp_path / name, **options)
        have = read_image(tmp_path / name)
        np.testing.assert_array_equal(have, want, err_msg=name)
        assert have.flags.writeable and have.dtype == np.uint8


def test_without_pillow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    for ask in (lambda: ImageFolder(folder), lambda: read_image(folder / "dog" / "b.png")):
        with pytest.raises(
            MissingExtraError, match="reading images needs the optional extra 'images'"
        ) as e:
            ask()
        assert 'pip install "staticgraph[images]"' in str(e.value)
