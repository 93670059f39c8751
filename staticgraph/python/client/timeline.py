"""Chrome traces of a traced run, as TensorFlow 1 programs make them.

>>> import staticgraph as tf
>>> from staticgraph.python.client import timeline
>>> options, metadata = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), tf.RunMetadata()
>>> with tf.Graph().as_default(), tf.Session() as sess:
...     _ = sess.run(tf.ones([2]) + 1.0, options=options, run_metadata=metadata)
>>> trace = timeline.Timeline(metadata.step_stats).generate_chrome_trace_format()
>>> import json
>>> json.loads(trace)["displayTimeUnit"]
'ns'
"""

from __future__ import annotations

import json
from typing import Any

from staticgraph.runtime.step_stats import StepStats


class Timeline:
    """The events of a traced run.

    Args:
      step_stats: of a `RunMetadata` that a traced run has filled.
      graph: accepted for compatibility.
    """

    def __init__(self, step_stats: StepStats, graph: Any = None) -> None:
        del graph
        self._stats = step_stats

    def generate_chrome_trace_format(
        self, show_dataflow: bool = True, show_memory: bool = False
    ) -> str:
        """The trace as JSON text, for chrome://tracing and ui.perfetto.dev.

        Args:
          show_dataflow, show_memory: accepted for compatibility.
        """
        del show_dataflow, show_memory
        events: list[dict[str, Any]] = []
        for pid, device in enumerate(self._stats.dev_stats):
            events.append(_named("process_name", pid, 0, device.device))
            events += [_named("thread_name", pid, t, n) for t, n in device.thread_names.items()]
            for node in device.node_stats:
                events.append({
                    "ph": "X", "cat": "Op", "name": node.node_name, "pid": pid,
                    "tid": node.thread_id, "ts": node.all_start_nanos / 1e3,
                    "dur": node.op_end_rel_nanos / 1e3,
                    "args": {"name": node.node_name, "op": node.timeline_label, **node.args},
                })  # fmt: skip
        return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}, indent=1)


def _named(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}


__all__ = ["Timeline"]
