"""Switches between TensorFlow's versions: what they would switch on is refused, else a no-op."""

from __future__ import annotations

from staticgraph.errors import UnimplementedError
from staticgraph.ir import loc


def disable_v2_behavior() -> None:
    """Nothing to do: programs are static graphs."""


disable_control_flow_v2 = disable_v2_behavior
disable_eager_execution = disable_v2_behavior
disable_resource_variables = disable_v2_behavior
disable_tensor_equality = disable_v2_behavior
disable_v2_tensorshape = disable_v2_behavior
enable_control_flow_v2 = disable_v2_behavior
enable_resource_variables = disable_v2_behavior


def enable_eager_execution(
    config: object = None, device_policy: object = None, execution_mode: object = None
) -> None:
    """Refused: programs are static graphs.

    Raises:
      NotImplementedError: always.
    """
    del config, device_policy, execution_mode
    raise _refused("eager execution")


def enable_v2_behavior() -> None:
    """Refused: programs are static graphs.

    Raises:
      NotImplementedError: always.
    """
    raise _refused("the behaviour of TensorFlow 2")


def enable_v2_tensorshape() -> None:
    """Refused: the sizes of a `TensorShape` are `Dimension` objects.

    Raises:
      NotImplementedError: always.
    """
    raise UnimplementedError(
        "the shapes of TensorFlow 2 are not there: sizes are Dimension objects", loc=loc.caller(),
        hint="shape.as_list() gives ints and None",
    )  # fmt: skip


def enable_tensor_equality() -> None:
    """Refused: ``==`` of two tensors asks whether they are one object.

    Raises:
      NotImplementedError: always.
    """
    raise UnimplementedError(
        "== of tensors cannot be made to compare their elements", loc=loc.caller(),
        hint="tf.equal(x, y) does",
    )  # fmt: skip


def _refused(what: str) -> UnimplementedError:
    return UnimplementedError(
        f"{what} is not there: operations are built, and run by a session", loc=loc.caller(),
        hint="staticgraph.dynamic computes at once",
    )  # fmt: skip


def executing_eagerly() -> bool:
    """False: operations are built, and run by a session."""
    return False


def control_flow_v2_enabled() -> bool:
    """True: a loop or branch is one operation with a body."""
    return True


def resource_variables_enabled() -> bool:
    """True: a read of a variable sees the value from the start of the run."""
    return True


__all__ = [
    "control_flow_v2_enabled", "disable_control_flow_v2", "disable_eager_execution",
    "disable_resource_variables", "disable_tensor_equality", "disable_v2_behavior",
    "disable_v2_tensorshape", "enable_control_flow_v2", "enable_eager_execution",
    "enable_resource_variables", "enable_tensor_equality", "enable_v2_behavior",
    "enable_v2_tensorshape", "executing_eagerly", "resource_variables_enabled",
]  # fmt: skip
