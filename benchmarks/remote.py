"""The coordinator's end of a worker."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_STOP = getattr(signal, "SIGSTOP", None)
_CONT = getattr(signal, "SIGCONT", None)


class WorkerError(Exception):
    """A worker died, or did not answer in time."""


class Remote:
    """A worker process.  Between requests it is stopped, so that no thread of it spins."""

    def __init__(
        self, python: str, env: Mapping[str, str], module: str = "benchmarks.worker"
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed in `end`
        self._answers: queue.Queue[str] = queue.Queue()
        self._process = subprocess.Popen(
            [python, "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, env=dict(env), cwd=ROOT, text=True,
        )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError, OSError):
            for line in self._process.stdout:
                self._answers.put(line)
        self._answers.put("")

    def ask(self, timeout: float, **request: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
          WorkerError: there was none.
        """
        assert self._process.stdin is not None
        self._signal(_CONT)
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=timeout)
        except queue.Empty:
            raise WorkerError(f"no answer within {timeout:.0f} s") from None
        except OSError:
            line = ""
        if not line:
            raise WorkerError(f"the process ended: {self._last_words()}")
        self._signal(_STOP)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """End the process, in whatever state it is."""
        self._signal(_CONT)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._errors.close()

    def _signal(self, number: signal.Signals | None) -> None:
        if number is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "no message"
