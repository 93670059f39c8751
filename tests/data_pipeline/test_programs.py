"""Whole programs with workers: signals, scripts without a guard, start methods."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

ENDLESS = """
import sys
from staticgraph.data import DataLoader
from tests.data_pipeline.sources import Flood

if __name__ == "__main__":
    kept = DataLoader(Flood(), 2, num_workers=1, persistent_workers=True)
    next(iter(kept))
    for i, batch in enumerate(DataLoader(
        Flood(), 2, num_workers=2, multiprocessing_context=sys.argv[1])
    ):
        if i == 4:
            print("reading", flush=True)
"""

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def gone(group: int) -> bool:
    """Whether no process of a group is left, after a while."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("number", "method"),
    [
        (signal.SIGINT, "forkserver"),
        (signal.SIGINT, "fork"),
        (signal.SIGKILL, "spawn"),
        (signal.SIGKILL, "fork"),
    ],
    ids=lambda x: getattr(x, "name", x),
)
def test_a_program_that_is_stopped(method: str, number: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS, encoding="utf-8")
    program = subprocess.Popen(
        [sys.executable, str(script), method],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "reading\n"
        if number == signal.SIGINT:
            os.killpg(program.pid, number)  # as a terminal does it: workers get it, too
        else:
            program.kill()  # this process alone
        errors = program.communicate(timeout=60)[1]
        assert program.returncode == -number
        assert errors.count("Traceback") == (number == signal.SIGINT), errors
        assert errors.rstrip().endswith("KeyboardInterrupt" if number == signal.SIGINT else "")
        assert gone(program.pid)
    finally:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)


def run(script: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "script.py"
    file.write_text(script, encoding="utf-8")
    return subprocess.run(
        [sys.executable, str(file)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_script_without_a_guard(tmp_path: Path) -> None:
    done = run(
        "from staticgraph.data import DataLoader\n"
        "for batch in DataLoader([1, 2], num_workers=1):\n"
        "    print(batch)\n",
        tmp_path,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert "workers are started while a worker imports this script" in done.stderr
    report = done.stderr.split("errors.WorkerError: ")[-1].splitlines()
    assert report[0].endswith("ended with exit code 1 before it gave its first batch")
    assert report[1] == "  script.py:2:  for batch in DataLoader([1, 2], num_workers=1):"
    assert 'if __name__ == "__main__":' in report[2]


def test_a_loop_that_is_still_there_when_the_program_ends(tmp_path: Path) -> None:
    done = run(
        "from staticgraph.data import DataLoader\n"
        "from tests.data_pipeline.sources import Flood\n"
        'if __name__ == "__main__":\n'
        "    batches = iter(DataLoader(Flood(), 2, num_workers=2))\n"
        "    print(next(batches).shape)\n",
        tmp_path,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(2, 100000)\n", "")


def test_a_dataset_of_the_script_and_workers_within_workers(tmp_path: Path) -> None:
    done = run(
        "from staticgraph.data import DataLoader, Dataset\n"
        "class Nested(Dataset):\n"
        "    def __len__(self): return 2\n"
        "    def __getitem__(self, i): return list(DataLoader([1, 2], num_workers=i))\n"
        'if __name__ == "__main__":\n'
        "    try:\n"
        "        for x in DataLoader(Nested(), None, num_workers=1): print(x)\n"
        "    except TypeError as e:\n"
        "        print(e)\n",
        tmp_path,
    )
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "[array([1]), array([2])]"
    assert lines[1].startswith("DataLoader: worker processes cannot be started by a process that")
    assert lines[2].startswith("  script.py:4 in __getitem__:")


def test_a_dataset_of_an_interactive_session() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from staticgraph.data import DataLoader, Dataset\n"
            "class Typed(Dataset):\n"
            "    def __len__(self): return 2\n"
            "    def __getitem__(self, i): return i\n"
            "list(DataLoader(Typed(), num_workers=1))\n",
        ],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    message, line, hint = done.stderr.split("errors.UsageError: ")[-1].splitlines()
    assert message.startswith("DataLoader: what was sent to a worker process cannot be opened")
    assert "Typed" in message and line == "  <string>:5" and "interactive session" in hint


def test_a_fork_takes_what_cannot_be_pickled(tmp_path: Path) -> None:
    done = run(
        "import warnings\n"
        "from staticgraph.data import DataLoader\n"
        "warnings.simplefilter('ignore', DeprecationWarning)  # of forks, where there are threads\n"
        "print(list(DataLoader('abc', None, num_workers=2, collate_fn=lambda x: x * 2,\n"
        "                      multiprocessing_context='fork')))\n",
        tmp_path,
    )
    assert (done.stdout, done.stderr) == ("['aa', 'bb', 'cc']\n", "")
