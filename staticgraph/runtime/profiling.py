"""Which profile is told of which session's runs: `Session.profile`, and traces of single runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from staticgraph.errors import SessionClosedError, UsageError
from staticgraph.ir.loc import Loc
from staticgraph.runtime.profile import Profile
from staticgraph.runtime.session import BaseSession
from staticgraph.runtime.step_stats import step_stats
from staticgraph.runtime.timing import Listener, Recorder

_recorders: WeakKeyDictionary[BaseSession, Recorder] = WeakKeyDictionary()
_began: WeakKeyDictionary[BaseSession, Loc] = WeakKeyDictionary()


@contextmanager
def listening(session: BaseSession, listener: Listener) -> Iterator[None]:
    """Tell `listener` of every run of a session that ends meanwhile."""
    with session._lock:
        recorder = _recorders.get(session)
        if recorder is None:
            recorder = Recorder(session)
            recorder.begin()
            _recorders[session] = recorder
        recorder.listeners.append(listener)
    try:
        yield
    finally:
        with session._lock:
            recorder.listeners.remove(listener)
            if not recorder.listeners:
                recorder.end()
                del _recorders[session]


@contextmanager
def profiling(session: BaseSession, here: Loc) -> Iterator[Profile]:
    """See `Session.profile`; `here` is the user's line."""
    with session._lock:
        if session in _began:
            raise UsageError(
                "the session is being profiled already", loc=here,
                operands=(f"its profile began at {_began[session].excerpt()}",),
            )  # fmt: skip
        if session._closed:
            raise SessionClosedError("the session is closed", loc=here)
        _began[session] = here
    profile = Profile()
    try:
        with listening(session, profile):
            yield profile
    finally:
        del _began[session]


@contextmanager
def traced(session: BaseSession, run_metadata: Any) -> Iterator[None]:
    """Leave the times of the runs made meanwhile in `run_metadata`, in TensorFlow's form."""
    profile = Profile()
    with session._lock:  # runs of other threads are not to be among them
        with listening(session, profile):
            yield
        run_metadata.step_stats = step_stats(profile)


@contextmanager
def every_session(listener: Listener) -> Iterator[None]:
    """Tell `listener` of the runs of every session that is opened meanwhile."""
    init = BaseSession.__init__

    with ExitStack() as sessions:

        def opening(self: BaseSession, *args: Any, **kwargs: Any) -> None:
            init(self, *args, **kwargs)
            sessions.enter_context(listening(self, listener))

        BaseSession.__init__ = opening  # type: ignore[method-assign]
        try:
            yield
        finally:
            BaseSession.__init__ = init  # type: ignore[method-assign]


__all__ = ["every_session", "listening", "profiling", "traced"]
