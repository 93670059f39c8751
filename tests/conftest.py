"""Fixtures of the tests: seeded randomness and golden files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files instead of comparing"
    )
    parser.addoption(
        "--all-cuda", action="store_true", help="every sample of every op through CUDA"
    )


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the file of that name beside the test, in ``golden/``.

    ``--update-golden`` writes the files; a difference to what is committed is then a review.
    """
    folder = request.path.parent / "golden"
    update = request.config.getoption("--update-golden")

    def check(name: str, text: str) -> None:
        file = folder / name
        text = text.rstrip("\n") + "\n"
        if update:
            folder.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
            return
        assert file.exists(), f"{file} is missing; make it with --update-golden"
        assert text == file.read_text(encoding="utf-8")

    return check
