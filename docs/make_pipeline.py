"""Write ``docs/pipeline.md``: ``python docs/make_pipeline.py``.

The prose is here; every text of a stage is printed by the compiler, so the page cannot go stale:
a test runs this file and compares.
"""

from __future__ import annotations

import difflib
import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

import staticgraph as tf

PAGE = Path(__file__).parent / "pipeline.md"


def example() -> tuple[tf.Tensor, tf.Operation]:
    """One step of training of one layer."""
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    t = tf.placeholder(tf.float32, [None, 2], name="t")
    w = tf.Variable(tf.zeros([3, 2]), name="w")
    y = tf.tanh(tf.matmul(x, w), name="y")
    loss = tf.reduce_mean(tf.square(y - t), name="loss")
    step = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
    return loss, step


INTRODUCTION = """\
# From Python to kernels

This page follows one small program through the compiler, stage by stage. Every text below was
printed by the compiler itself (`python docs/make_pipeline.py` writes the page, and a test compares
it), so what you read is what it does. To look at a program of your own, use any of these:

```python
tf.stages(loss, stop_after="fuse")      # what the compiler has after a stage; prints as text
tf.stages(loss).sources("cuda")         # the kernels' sources; "cpu" is the default
print(sess.explain())                   # what a session has compiled, why, and the bytes it plans
```

```
python -m staticgraph explain train.py --sources
python -m staticgraph explain train.py --fetch loss --stage share
```

The program is one step of gradient descent on one layer:
"""


def loop() -> tf.Tensor:
    """A recurrent network and the gradient of its weights."""
    x = tf.placeholder(tf.float32, [None, 8, 3], name="x")
    start = tf.placeholder(tf.float32, [8, 4], name="start")
    u = tf.Variable(tf.zeros([3, 4]), name="u")
    h = tf.foldl(lambda h, row: tf.tanh(h + tf.matmul(row, u)), x, initializer=start, name="rnn")
    gradient = tf.gradients(tf.reduce_sum(tf.square(h)), u)[0]
    return gradient


# Stage, heading, prose.  A stage without text of its own is shown by the lines it changed.
STAGES = {
    "close": (
        "Close: the graph becomes a function",
        """\
`sess.run([loss, step], {x: ..., t: ...})` asks for two things and feeds two tensors. Closing takes
what these fetches need and no more, and makes a *function* of it: what is fed and the variable's
old value come in as parameters, the loss and the variable's new value go out. From here on nothing
has a side effect: `w <- ...` after `return` is the only word about state.

Shapes were inferred again from what is fed. The unknown sizes of `x` and `t` are symbols `n0` and
`n1`, and `sizes` says where their values will come from at run time. `y - t` needs the two to be
equal; that assumption is written down as a *guard*. A run whose sizes break it does not get a wrong
answer: it gets an executable of its own (where one of the sizes is 1 and broadcasts) or an
error.""",
    ),
    "prune": (
        "Prune: what nobody reads goes",
        """\
An op's axes and sizes are tensors in the user's graph, as in TensorFlow, but attributes in a
function. The constants they came from are no longer read. A pass never edits a function; it builds
a new one, so the one before is still there to compare with. Lines that went are marked `-`, lines
that came `+`.""",
    ),
    "unify": (
        "Unify: one name for equal sizes",
        """\
The guard says that `n1` equals `n0`, so one name is enough. It matters later: two loops fuse when
their sizes are the *same* expression, and nobody has to prove anything again.""",
    ),
    "decompose": (
        "Decompose: few kinds of ops are left",
        """\
Ops that are made of others are replaced by them: a mean is a sum and a division, and the gradient
of a mean spreads a number over a shape. What is left is either an *index lambda* (an op that says
what one element of its result is), a library call, or a host call.""",
    ),
    "trim": (
        "Trim: loops and branches without what nobody needs",
        """\
Outputs that nothing reads are not made, values that no iteration changes are not carried, and what
a body computes from those alone is computed once, before the loop. Here there is no loop.""",
    ),
    "slices": (
        "Slices: what a loop reads at its counter",
        """\
A look-up at the counter of a loop becomes a slice that the loop hands to each iteration, and
elements that are written at the counter are what the loop stacks. Here there is no loop.""",
    ),
    "simplify": (
        "Simplify: rewrite rules",
        """\
Rules take out what changes nothing: reads of variables, sums to the shape that a tensor has
already, reshapes to the same shape. A rule applies only where the result is the same to the last
bit, NaNs and signed zeros included.""",
    ),
    "fold": (
        "Fold: constants are computed now",
        """\
An op whose operands are all constants is evaluated by its numpy rule, the same one that is the
oracle of the tests. Large results are not folded: a constant that fills memory is worse than the
loop.""",
    ),
    "share": (
        "Share: equal nodes become one",
        """\
Two nodes with the same op, inputs and attributes are one value. The ones that the gradient began
with and the one in the derivative of `tanh` are the same constant now.""",
    ),
    "motion": (
        "Motion: products leave loops",
        """\
A product of matrices that does not depend on what is carried is made for all iterations at once
before the loop, and products that are only added up are made behind it. Here there is no loop.""",
    ),
    "update": (
        "Update: the step of descent is part of the matrix product",
        """\
`w - 0.5 * (xᵀ @ g)` is one product of matrices with `alpha=-0.5` that adds to `w`. The product
is never stored, and where nobody needs the old `w` any more it is updated in place. This is the one
rewriting that may round differently: the factor is applied inside the product, which changes the
result by less than one unit in its last place.""",
    ),
    "fuse": (
        "Fuse: what is computed in one pass over memory",
        """\
Each op is asked for one element of its result: `y[d0, d1] = tanh(%MatMul[d0, d1])`. Fusing is
substitution: where `%Square[d0, d1]` was loaded its expression `mul(%sub, %sub)` now stands.
Values that several members read, or that are dear to compute, keep a line of their own, and lines
over the same index space share a *region*, which becomes one kernel. A name in the text below that
is also a line of the same region is not loaded from memory but lives in a register.

A matrix product is a call and separates regions; so does a sum over everything, whose result is not
known before the last element is.""",
    ),
    "lower": (
        "Lower: loops, buffers, steps",
        """\
A region is *scheduled*: its axes are bound to loops. Kernels are functions of pointers and sizes
and run over a share `p` of a parallel axis. Sizes that were known are literals in the text and the
unknown ones are arguments, so a new batch size compiles nothing. The mean over all elements has
become two kernels: one adds up chunks of 8192 elements, one adds up the chunks. The chunks are
always the same ones, so the result does not depend on how many threads there are.

The program is what will be run: buffers, and steps that read and write them.""",
    ),
}

REPEATED = """\
`simplify`, `share` and `prune` run once more after this, because folding and sharing make new
opportunities; for this program they {what}."""

SOURCES = """\
## Print: source, and machine code

A kernel is printed as Python for Numba. The text is the kernel's identity: the same text for the
same machine is compiled once, kept on disk under its hash, and used by every graph that needs it.
What is compiled is the same record written to LLVM IR, unless Numba is asked for; see
[the architecture](architecture.md). These are the kernels for the CPU:
"""

CUDA = """\
The same kernels print for NVIDIA GPUs; printing needs neither a GPU nor the CUDA packages. The
parallel axis is bound to blocks and threads instead of a loop, everything else is the same text.
This is the first kernel:
"""

PLAN = """\
## Plan: addresses and sizes

When the sizes are known, the program is bound to them: every temporary gets a place in one arena,
and two that are never alive together may share it. The result is a table of functions, argument
blocks and ranges, which one small native loop walks. Making a plan compiles nothing. After runs
with 4 and with 100 rows the session tells of one executable with two plans:
"""

LOOP = """\
## A loop

A loop is one operation with a body, in the graph as in a function. Here is a small recurrent
network over sequences of any length, and the gradient of its weights:
"""

LOOP_MOVED = """\
Closing makes two loops of it: one forwards, and one backwards, which takes the values that `h` had
and adds up the gradient of `u` in a carry. This is the function when all passes are done:
"""

LOOP_READ = """\
`row @ u` depends on no carry, so `motion` has made one product of it, over all steps, before the
loop. On the way back each step added `rowᵀ @ g` to the gradient; now the loop gives all `g`, and
one product behind it does the rest. The derivative of `tanh` reads what the forward loop computed.
What is left in the loops is what has to be done step by step, and in each of them it becomes one
kernel. These are the program's steps:
"""

LOOP_RUN = """\
The number of steps is a size like any other: a run with a longer sequence compiles nothing, and it
is one native call, loops included.
"""

END = """\
The first run of the program compiles; all others look the plan up by the sizes of what is fed,
copy the feeds (or, if they are large, only take their addresses), and make one native call.
"""


def block(text: str, language: str = "") -> str:
    """A fenced block."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def changed(before: str, after: str) -> str:
    """The lines that differ, as a diff without context."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return "\n".join(line[0] + line[2:] for line in lines if line[0] in "+-")


def observed() -> tuple[list[tuple[str, str]], Any]:
    """Name and text of every pass, and the compilation."""
    seen: list[tuple[str, str]] = []
    with tf.Graph().as_default():
        done = tf.stages(example(), observe=lambda name, ir, _: seen.append((name, str(ir))))
    return seen, done


def looped() -> list[str]:
    """The section about the loop."""
    source = textwrap.dedent("".join(inspect.getsourcelines(loop)[0][2:-1]))
    with tf.Graph().as_default():
        done = tf.stages(loop())
    steps = [line for line in str(done.program).splitlines() if _is_step(line)]
    return [
        LOOP, block(source, "python"), LOOP_MOVED, block(str(done.function)), LOOP_READ,
        block("\n".join(steps)), LOOP_RUN,
    ]  # fmt: skip


def _is_step(line: str) -> bool:
    return bool(re.match(r" +launch | +%.* = (library|scan) ", line))


def explained() -> str:
    """What a session tells after runs with two batch sizes."""
    with tf.Graph().as_default(), tf.Session() as sess:
        fetches = example()
        sess.run(tf.global_variables_initializer())
        for rows in (4, 100):
            feed = dict(zip(("x:0", "t:0"), (np.ones((rows, 3)), np.ones((rows, 2))), strict=True))
            sess.run(fetches, feed)
        (one,) = sess.explain(fetches).executables
    return "\n".join([f"compiled: {one.reason}; {one.runs} runs, {one.mode}", *map(str, one.plans)])


def page() -> str:
    """The page's text."""
    source = textwrap.dedent("".join(inspect.getsourcelines(example)[0][2:-1]))
    seen, done = observed()
    parts = [INTRODUCTION, block(source, "python")]
    before = ""
    told: set[str] = set()
    repeated: list[bool] = []
    for name, text in seen:
        if name in told:
            repeated.append(text != before)
        else:
            if name == "update":
                what = "change some lines again" if any(repeated) else "find nothing"
                parts.append(REPEATED.format(what=what) + "\n")
            heading, prose = STAGES[name]
            parts += [f"## {heading}\n", prose + "\n"]
            if name in ("close", "fuse", "lower"):
                if name == "fuse":
                    parts.append(f"The function before it:\n\n{block(before)}")
                    parts.append("And after it:\n")
                parts.append(block(text))
            elif text != before:
                parts.append(block(changed(before, text), "diff"))
        told.add(name)
        before = text
    sources = done.sources()
    parts += [SOURCES, *(block(f"# {k}\n{text}", "python") for k, text in sources.items())]
    cuda = done.sources("cuda")["k0"]
    parts += [CUDA, block(cuda[cuda.index("def ") :], "python")]
    parts += [PLAN, block(explained()), END, *looped()]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {len(PAGE.read_text(encoding='utf-8').splitlines())} lines", file=sys.stderr)
