"""Options of a session, in TensorFlow 1's spelling.

Options that have no meaning here (GPU memory fractions, placement logs) are accepted and kept, so
that programs written for TensorFlow run unchanged.
"""

from __future__ import annotations

from typing import Any, ClassVar

from staticgraph.runtime.step_stats import StepStats


class Options:
    """A bag of options that starts with the given values and accepts any others."""

    _defaults: ClassVar[dict[str, Any]] = {}

    def __init__(self, **options: Any) -> None:
        for key, value in {**self._defaults, **options}.items():
            setattr(self, key, value)

    def __repr__(self) -> str:
        inner = ", ".join(f"{k}={v!r}" for k, v in vars(self).items())
        return f"{type(self).__name__}({inner})"


class GPUOptions(Options):
    """Accepted for compatibility; the CPU backend reads none of it."""

    _defaults: ClassVar[dict[str, Any]] = {
        "per_process_gpu_memory_fraction": 1.0,
        "allow_growth": True,
        "visible_device_list": "",
    }


class OptimizerOptions(Options):
    """`opt_level`: `L1` compiles optimised, `L0` gives each operation its own kernel."""

    L0, L1 = -1, 0
    _defaults: ClassVar[dict[str, Any]] = {"opt_level": 0}


class GraphOptions(Options):
    """Holds `optimizer_options`."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("optimizer_options", OptimizerOptions())
        super().__init__(**options)


class ConfigProto(Options):
    """Options of a session.

    Args:
      intra_op_parallelism_threads: threads per kernel, 64 at most; 0 lets the runtime choose.
      graph_options: see `GraphOptions`.
    """

    _defaults: ClassVar[dict[str, Any]] = {
        "intra_op_parallelism_threads": 0, "inter_op_parallelism_threads": 0,
        "allow_soft_placement": True, "log_device_placement": False, "device_count": None,
    }  # fmt: skip

    def __init__(self, **options: Any) -> None:
        options.setdefault("gpu_options", GPUOptions())
        options.setdefault("graph_options", GraphOptions())
        super().__init__(**options)


class RunOptions(Options):
    """Options of one run.

    Args:
      trace_level: above `NO_TRACE`, the run's times are left in the `RunMetadata` of the run.
    """

    NO_TRACE, SOFTWARE_TRACE, HARDWARE_TRACE, FULL_TRACE = range(4)
    _defaults: ClassVar[dict[str, Any]] = {"trace_level": 0, "timeout_in_ms": 0}


class RunMetadata(Options):
    """What a run tells of itself.

    `step_stats` has the times of a run with a `RunOptions.trace_level`: see `runtime.step_stats`,
    and ``staticgraph.python.client.timeline``, which makes a Chrome trace of it.

    >>> import staticgraph as tf
    >>> metadata = tf.RunMetadata()
    >>> with tf.Graph().as_default(), tf.Session() as sess:
    ...     x = tf.placeholder(tf.float32, [2])
    ...     y = tf.exp(x, name="y")
    ...     options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    ...     _ = sess.run(y, {x: [0.0, 1.0]}, options=options, run_metadata=metadata)
    >>> [n.node_name for d in metadata.step_stats.dev_stats for n in d.node_stats]
    ['_COMPILE', '_PLAN', '_FEED', 'y', '_RESULTS']
    """

    def __init__(self, **options: Any) -> None:
        options.setdefault("step_stats", StepStats())
        super().__init__(**options)
