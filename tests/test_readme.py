"""The README tells the truth: its programs print what it shows, its links and commands hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import staticgraph as tf

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"^python3 -m venv .*$", TEXT, re.MULTILINE)


def test_every_program_is_followed_by_what_it_prints() -> None:
    assert len(PROGRAMS) == TEXT.count("```python\n") >= 2


@pytest.mark.parametrize(("program", "printed"), PROGRAMS, ids=lambda x: x.splitlines()[-1][:20])
def test_programs_print_what_is_shown(program: str, printed: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip() == printed.rstrip()


def test_the_first_program_fits_a_screen() -> None:
    assert len(PROGRAMS[0][0].strip().splitlines()) <= 12


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "examples" / "README.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), target


def test_what_is_said_to_be_missing_is_missing() -> None:
    rows = re.findall(r"^\|([^|\n]*)\|([^|\n]*)\|([^|\n]*)\|$", TEXT, re.MULTILINE)
    assert len(rows) > 5
    missing = [n for _, _, cell in rows for n in re.findall(r"`(\w+)`", cell)]
    assert missing
    assert not [n for n in missing if hasattr(tf, n) or hasattr(tf.train, n) or hasattr(tf.nn, n)]


def test_the_checks_run_the_tests_as_the_readme_says() -> None:
    first, second = COMMANDS
    assert "examples/digits.py" in first
    tests = second.rpartition("-m ")[2]
    assert f"-m {tests}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
