"""The times of a run in the form of TensorFlow 1's ``RunMetadata.step_stats``.

    StepStats         dev_stats: one DeviceStepStats for each thread that ran
    DeviceStepStats   device, node_stats, thread_names
    NodeExecStats     node_name, timeline_label, thread_id, and begin and end in microseconds

A kernel that computes several operations is one node, named after the last of them; its label
tells them all.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any

from staticgraph.ir.record import record

if TYPE_CHECKING:
    from staticgraph.runtime.profile import Profile

DEVICE = "/job:localhost/replica:0/task:0/device:CPU:0"


@record(slots=True)
class NodeExecStats:
    """When a node ran: a kernel, a library call, a host step, or the copying of feeds and results.

    Microseconds since the trace began, and since the node's own begin; the fields in nanoseconds
    are TensorFlow's newer ones.
    """

    node_name: str
    timeline_label: str
    thread_id: int
    all_start_nanos: int
    op_end_rel_nanos: int
    op_start_rel_nanos: int = 0
    scheduled_nanos: int = 0
    output: list[Any] = field(default_factory=list)
    memory: list[Any] = field(default_factory=list)
    args: dict[str, Any] = field(default_factory=dict)

    @property
    def all_end_rel_nanos(self) -> int:
        """As `op_end_rel_nanos`."""
        return self.op_end_rel_nanos

    @property
    def all_start_micros(self) -> int:
        """Begin."""
        return self.all_start_nanos // 1000

    @property
    def op_start_rel_micros(self) -> int:
        """Zero: nothing waits."""
        return self.op_start_rel_nanos // 1000

    @property
    def op_end_rel_micros(self) -> int:
        """Length."""
        return self.op_end_rel_nanos // 1000

    @property
    def all_end_rel_micros(self) -> int:
        """Length."""
        return self.op_end_rel_nanos // 1000

    @property
    def scheduled_micros(self) -> int:
        """Begin."""
        return self.scheduled_nanos // 1000


@record(slots=True)
class DeviceStepStats:
    """What ran on one device."""

    device: str
    node_stats: list[NodeExecStats] = field(default_factory=list)
    thread_names: dict[int, str] = field(default_factory=dict)


@record(slots=True)
class StepStats:
    """What ran, by device."""

    dev_stats: list[DeviceStepStats] = field(default_factory=list)


def step_stats(profile: Profile) -> StepStats:
    """The runs of a profile, in the order in which things began."""
    device = DeviceStepStats(DEVICE)
    events = profile.trace()["traceEvents"]
    for e in sorted((e for e in events if e["ph"] == "X"), key=lambda e: e["ts"]):
        if e["name"] == "run":
            continue
        names = [text.split(" = ") for text in e["args"].get("ops", ())]
        op = f"{', '.join(n for n, _ in names)} = {', '.join(o for _, o in names)}"
        start = round(e["ts"] * 1e3)
        device.node_stats.append(
            NodeExecStats(
                names[-1][0] if names else f"_{e['name'].upper()}",
                op if names else e["name"],
                e["tid"],
                start,
                round(e["dur"] * 1e3),
                scheduled_nanos=start,
                args=e["args"],
            )
        )
    for e in events:
        if e["ph"] == "M":
            device.thread_names[e["tid"]] = e["args"]["name"]
    return StepStats([device] if device.node_stats else [])


__all__ = ["DeviceStepStats", "NodeExecStats", "StepStats", "step_stats"]
