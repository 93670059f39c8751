"""The error types of the package and how they print.

Every error a user can cause is built here and carries four things: a message with both
values, the user's line that is at fault, the operands with their type and origin, and, only
where a remedy exists, one hint.  The text is made when the error is made, so that it survives
pickling and threads.

    ShapeError: MatMul: inner dimensions differ, 784 and 785
      mnist.py:31 in build:  logits = tf.matmul(x, w)
      x: float32[?, 784]  placeholder at mnist.py:20
      w: float32[785, 10]  variable at mnist.py:22
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = range(6)
ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION = range(6, 10)
ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS = range(10, 16)
UNAUTHENTICATED = 16
"""The codes of `OpError.error_code`."""


class Location(Protocol):
    """A place in the user's program that can print itself (see `ir.loc.Loc`)."""

    def excerpt(self) -> str:
        """Return ``file:line in function:  source text``."""
        ...


class StaticGraphError(Exception):
    """Base of every error that the package raises on purpose.

    Args:
      message: one line, lower case after the op's name, with both values.
      loc: the user's line at fault.
      operands: one line each, ``name: type  origin``.
      hint: a remedy, only where there is one.
    """

    def __init__(
        self,
        message: str,
        *,
        loc: Location | None = None,
        operands: Sequence[str] = (),
        hint: str | None = None,
    ) -> None:
        self.message = message
        self.loc = loc
        self.operands = tuple(operands)
        self.hint = hint
        lines = [message]
        if loc is not None:
            lines.append(f"  {loc.excerpt()}")
        lines += [f"  {line}" for line in operands]
        if hint:
            lines.append(f"  hint: {hint}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), str(self)))


def _rebuild(cls: type[StaticGraphError], text: str) -> StaticGraphError:
    return cls(text)


class ShapeError(StaticGraphError, ValueError):
    """Shapes that cannot fit together."""


class DtypeError(StaticGraphError, TypeError):
    """Dtypes that differ where they must agree, or that an operation does not take."""


class GraphError(StaticGraphError, ValueError):
    """A misuse of the graph: two graphs mixed, a name taken or unknown, a finalized graph."""


class NameNotFoundError(GraphError, KeyError):
    """A name that the graph does not hold."""

    __str__ = Exception.__str__


class UsageError(StaticGraphError, TypeError):
    """A symbolic tensor used where a value is needed, or an argument of the wrong kind."""


class SessionClosedError(UsageError, RuntimeError):
    """A session that was used after it was closed."""


class ArgumentError(StaticGraphError, ValueError):
    """An argument of the right kind whose value a function does not take."""


class FeedError(StaticGraphError, ValueError):
    """A feed that is missing, unknown, or of the wrong dtype or shape."""


class FetchError(StaticGraphError, ValueError):
    """A fetch that is not in the graph or is not fetchable."""


class RunError(StaticGraphError, RuntimeError):
    """A run that failed; no variable has changed."""


class StateDictError(StaticGraphError, RuntimeError):
    """A saved state that does not fit the module; the module is as it was."""


class OpError(RunError):
    """A run that failed inside one operation (`tf.errors.OpError`).

    Programs make such errors of their own, too, as in TensorFlow by three arguments.

    Attributes:
      error_code: one of the codes of this module.
      node_def, op: what a program gave, else None.

    >>> import staticgraph as tf
    >>> e = tf.errors.OutOfRangeError(None, None, "no more rows")
    >>> e.message, e.error_code == tf.errors.OUT_OF_RANGE
    ('no more rows', True)
    """

    error_code: int = UNKNOWN

    def __init__(
        self, *args: Any, loc: Location | None = None, operands: Sequence[str] = (),
        hint: str | None = None,
    ) -> None:  # fmt: skip
        self.node_def, self.op = args[:2] if len(args) > 2 else (None, None)
        if len(args) > 3:
            self.error_code = args[3]
        super().__init__(
            args[2] if len(args) > 2 else args[0], loc=loc, operands=operands, hint=hint
        )


class InvalidArgumentError(OpError):
    """An operation met a value it cannot take."""

    error_code = INVALID_ARGUMENT


class AssertionFailedError(InvalidArgumentError):
    """`tf.Assert` found its condition false."""


class NumericsError(InvalidArgumentError):
    """`tf.check_numerics` found a NaN or an infinity."""


class OutOfBoundsError(InvalidArgumentError, IndexError):
    """An index outside the axis it selects from."""


class FailedPreconditionError(OpError):
    """The state a run needs is not there."""

    error_code = FAILED_PRECONDITION


class UninitializedError(FailedPreconditionError):
    """A variable was read before anything was assigned to it."""


class OutOfRangeError(OpError):
    """An iterator ran past its end."""

    error_code = OUT_OF_RANGE


class NotFoundError(OpError):
    """A file or entry that does not exist."""

    error_code = NOT_FOUND


class CancelledError(OpError):
    """A run was cancelled."""

    error_code = CANCELLED


class DeadlineExceededError(OpError):
    """A run took longer than it was allowed to."""

    error_code = DEADLINE_EXCEEDED


class AlreadyExistsError(OpError):
    """A file or entry that exists already."""

    error_code = ALREADY_EXISTS


class PermissionDeniedError(OpError):
    """An operation that the system does not allow."""

    error_code = PERMISSION_DENIED


class AbortedError(OpError):
    """A run was given up because of another one."""

    error_code = ABORTED


class UnavailableError(OpError):
    """A service that cannot be reached now."""

    error_code = UNAVAILABLE


class UnauthenticatedError(OpError):
    """A request without valid credentials."""

    error_code = UNAUTHENTICATED


class DataLossError(OpError):
    """Stored data that is damaged."""

    error_code = DATA_LOSS


class InternalError(OpError):
    """A defect of the package."""

    error_code = INTERNAL


class UnknownError(OpError):
    """A failure without a known cause."""


class ResourceExhaustedError(OpError, MemoryError):
    """The memory a plan needs cannot be had."""

    error_code = RESOURCE_EXHAUSTED


class UnimplementedError(OpError, NotImplementedError):
    """An operation that the chosen target does not offer."""

    error_code = UNIMPLEMENTED


class DataError(StaticGraphError):
    """Data that cannot be loaded: a dataset, a sampler, a batch or a worker is at fault."""


class DataIndexError(DataError, IndexError):
    """An index outside a dataset."""


class BatchError(DataError, ValueError):
    """Items that do not fit into one batch, or arrays that do not fit into one dataset."""


class ImageError(DataError, OSError):
    """A file that cannot be read as an image."""


class WorkerError(DataError, RuntimeError):
    """A worker of a `DataLoader` that failed or died."""


class WorkerTimeoutError(WorkerError, TimeoutError):
    """A worker of a `DataLoader` that took longer than it was allowed to."""


class VerificationError(StaticGraphError):
    """A compiler pass broke an invariant of the IR; a defect of the package, not of the user."""


class CompileError(StaticGraphError):
    """Machine code could not be made or loaded; what went wrong inside is in `__cause__`."""


class ParseError(StaticGraphError, ValueError):
    """IR text that does not follow the grammar."""


class MissingExtraError(StaticGraphError, ImportError):
    """An optional feature whose packages are not installed.

    Args:
      extra: name of the pip extra.
      feature: what the user asked for.
    """

    def __init__(self, extra: str, feature: str = "this feature") -> None:
        if "\n" in extra or " " in extra:  # rebuilt from its own text by pickle
            super().__init__(extra)
            return
        super().__init__(
            f"{feature} needs the optional extra {extra!r}",
            hint=f'pip install "staticgraph[{extra}]"',
        )


class GraphGrowthWarning(UserWarning):
    """Operations are being added to a graph between runs, usually inside the training loop."""


class CompileFallbackWarning(UserWarning):
    """A kernel could not be compiled and is evaluated by the reference instead."""


class ThreadsWarning(UserWarning):
    """There are not as many threads as were asked for; speed may suffer, results do not."""


class CacheWarning(UserWarning):
    """The kernel cache cannot be used; speed suffers, results do not."""
