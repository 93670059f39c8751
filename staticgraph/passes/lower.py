"""Lower: a fused function becomes a `Program` of kernels, library calls and host calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from staticgraph.ir import dims as D
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.function import Function, Given, Node, SizeOf, Value
from staticgraph.ir.function import Origin as SizeOrigin
from staticgraph.ir.kernel import distinct
from staticgraph.ir.program import (
    Branch,
    Buffer,
    Host,
    Launch,
    Library,
    Origin,
    Program,
    ProgramParam,
    Repeat,
    Role,
    SizeSource,
    Step,
)
from staticgraph.ir.record import record
from staticgraph.ir.scalar import PRIMITIVES, Load
from staticgraph.ir.types import TensorType
from staticgraph.ops.loops import SEGMENTS
from staticgraph.passes.checks import Check, of_scatters
from staticgraph.passes.fusion import Fused, Region, fuse, measure
from staticgraph.passes.kernel_writer import Scheduled
from staticgraph.passes.loop_kernel import loop_kernel
from staticgraph.passes.repeated import Repeated
from staticgraph.passes.schedule import schedule_check
from staticgraph.passes.views import read_inputs


@record(frozen=True)
class Lower:
    """Fuse and lower; `optimize=False` gives each op its own kernel."""

    name: ClassVar[str] = "lower"
    optimize: bool = True

    def __call__(self, f: Function) -> Program:
        return lower(f, fuse(f, enabled=self.optimize), self.optimize)


def lower(f: Function, fused: Fused, optimize: bool = True) -> Program:
    """Turn regions into kernels and bind their parameters to buffers.

    Args:
      optimize: whether the bodies of loops and branches are fused too.
    """

    def inner(body: Function) -> Program:
        return lower(body, fuse(body, enabled=optimize), optimize)

    return _Lowering(f, fused, inner, optimize).run()


class _Lowering:
    def __init__(
        self, f: Function, fused: Fused, inner: Callable[[Function], Program], optimize: bool
    ) -> None:
        self.f, self.fused, self.inner, self.optimize = f, fused, inner, optimize
        self.buffers: list[Buffer] = []
        self.of: dict[Value, Buffer] = {}
        self.steps: list[Step] = []
        self.producers = f.producers()
        self.values = list(fused.values)
        self.checked, self.checks = of_scatters(f, fused.items, self.values, fused.checks, _native)
        self.places = {v: i for i, v in enumerate(self.producers)}

    def buffer(self, v: Value, role: Role = "temporary", data: Any = None) -> Buffer:
        """The buffer of a value, made when first asked for."""
        b = self.of.get(v)
        if b is None:
            b = Buffer(len(self.buffers), v.dtype, v.type.shape, role, v.hint, data)
            self.buffers.append(b)
            self.of[v] = b
        return b

    def run(self) -> Program:
        params = tuple(
            ProgramParam(p.kind, p.name, self.buffer(p.value, "param"), p.loc)
            for p in self.f.params
        )
        repeated = Repeated(self.fused.values, self._stored())
        checks = list(reversed(self.checks))
        for place, item in enumerate(self.fused.items):
            while checks and checks[-1].after < place:
                self._check(checks.pop())
            if isinstance(item, Region):
                for kernel in repeated.schedule(item):
                    self._launch(kernel, item)
            else:
                self._node(self.checked.get(item, item))
        sizes = {s: self._source(o) for s, o in self.f.sizes.items()}
        results = tuple(self.buffer(v) for v in self.f.results)
        updates = {k: self.buffer(v) for k, v in self.f.updates.items()}
        return Program(
            self.f.name, tuple(self.buffers), tuple(self.steps), params, results, updates, sizes,
            self.f.guards,
        )  # fmt: skip

    def _source(self, o: SizeOrigin) -> SizeSource | Given:
        if isinstance(o, Given):
            return o
        if isinstance(o, SizeOf):
            return SizeSource(self.buffer(o.value), o.axis, False)
        return SizeSource(self.buffer(o.value), o.element, True)

    def _stored(self) -> frozenset[Value]:
        """Values that somebody outside their region reads from memory."""
        out = set(self.f.outputs())
        home: dict[Value, int] = {}
        for k, item in enumerate(self.fused.items):
            if isinstance(item, Region):
                home.update((m.value, k) for m in item.members)
        for k, item in enumerate(self.fused.items):
            if isinstance(item, Node):
                out.update(read_inputs(item, self.producers))
                continue
            for m in item.members:
                for e in distinct(m.body):
                    if isinstance(e, Load):
                        v = self.fused.values[e.operand]
                        if home.get(v, k) != k:
                            out.add(v)
        return frozenset(out)

    def _check(self, check: Check) -> None:
        """A launch that looks at indices and writes nothing."""
        origin = (_origin(check.node),)
        cost = D.product(check.dims) * (measure(check.index)[1] + PRIMITIVES["check_index"].cost)
        for made in schedule_check(check, tuple(self.values)):
            for a in made.args:  # constants stand where they are used first, and this is earlier
                if isinstance(a, Value) and a in self.producers and a not in self.of:
                    self._node(self.producers[a])
            args = tuple(self.buffer(a) if isinstance(a, Value) else a for a in made.args)
            self.steps.append(Launch(made.kernel, args, made.extent, origin, origin, cost))

    def _launch(self, kernel: Scheduled, region: Region) -> None:
        args: list[Any] = [self.buffer(a) if isinstance(a, Value) else a for a in kernel.args]
        nodes = self._computed(region)
        origins = tuple(dict.fromkeys(map(_origin, nodes)))
        checks = tuple(_origin(n) for n in nodes if n.outputs[0] in self.fused.checking)
        if not kernel.kernel.checks():  # a region may become two kernels
            checks = ()
        self.steps.append(
            Launch(kernel.kernel, tuple(args), kernel.extent, origins, checks, _cost(region))
        )

    def _computed(self, region: Region) -> list[Node]:
        """The nodes a region computes, those inlined into its members included, in order."""
        found = {m.node for m in region.members}
        stack = list(found)
        while stack:
            for v in stack.pop().inputs:
                made = self.producers.get(v)
                if made is not None and v in self.fused.inlined and made not in found:
                    found.add(made)
                    stack.append(made)
        known = (n for n in found if n.op.name != "Const")
        return sorted(known, key=lambda n: self.places[n.outputs[0]])

    def _node(self, node: Node) -> None:
        origin = (_origin(node),)
        if node.op.name == "Const":
            self.buffer(node.output, "constant", node.attrs["value"].array)
            return
        read = read_inputs(node, self.producers)
        inputs = tuple(self.buffer(v) for v in read)
        outputs = tuple(self.buffer(v) for v in node.outputs)
        if node.op.control:
            if read != node.inputs:
                node = replace(node, attrs={**node.attrs, "shapes": _shapes(node.inputs)})
            self._control(node, inputs, outputs)
        elif node.op.library is not None and _native(node) and _constants(node, inputs):
            attrs = {**node.attrs, "op": node.op.name}
            if read != node.inputs:
                attrs["shapes"] = tuple(v.dims for v in node.inputs)
            if "scratch" in attrs:
                scratch = TensorType(node.outputs[0].dtype, (attrs["scratch"],))
                outputs += (self.buffer(Value(scratch, f"{node.outputs[0].hint}/scratch")),)
            self.steps.append(Library(node.op.library, inputs, outputs, attrs, origin))
        else:
            self.steps.append(Host(node, inputs, outputs))

    def _constant(self, b: Buffer) -> Buffer:
        """A constant of a loop's body, as one of the program."""
        assert b.dims is not None
        return self.buffer(Value(TensorType(b.dtype, b.dims), b.name), "constant", b.data)

    def _control(self, node: Node, inputs: tuple[Buffer, ...], outputs: tuple[Buffer, ...]) -> None:
        """A loop or a branch: its bodies become programs."""
        origin, attrs = (_origin(node),), dict(node.attrs)
        if node.op.library == "branch":
            programs = tuple(map(self.inner, attrs.pop("branches")))
            self.steps.append(Branch(programs, inputs, outputs, attrs, origin))
            return
        attrs.pop(SEGMENTS, None)
        body, conditional = self.inner(attrs.pop("body")), attrs.pop("conditional")
        if not conditional and self.optimize:
            whole = loop_kernel(body, inputs, outputs, attrs, origin, self._constant)
            if whole is not None:
                self.steps.append(whole)
                return
        self.steps.append(Repeat(body, inputs, outputs, attrs, conditional, origin))


def _shapes(values: tuple[Value, ...]) -> tuple[tuple[Dim, ...] | None, ...]:
    return tuple(v.type.shape for v in values)


def _cost(region: Region) -> Dim:
    """The arithmetic of a region, in additions."""
    full, outer = D.product(region.dims), D.product(region.outer)
    total: Dim = 0
    for m in region.members:
        total = total + measure(m.body)[1] * (outer if m.scope == "outer" else full)
    return total


def _native(node: Node) -> bool:
    """True where there is native code for this op with these dtypes."""
    if any(v.type.shape is None for v in (*node.inputs, *node.outputs)):
        return False
    offers = NATIVE.get(node.op.library or "")
    return offers is not None and offers(node)


def _matmul(node: Node) -> bool:
    return node.outputs[0].dtype.name in ("float32", "float64")


def _philox(node: Node) -> bool:
    return (node.op.name, node.outputs[0].dtype.name) in PHILOX


def _computes(dtype: DType) -> bool:
    """True of types that library kernels compute in; half precision is left to numpy."""
    return dtype.is_integer or dtype.name in ("float32", "float64")


def _scatter(node: Node) -> bool:
    dtype, index = node.output.dtype, node.inputs[1].dtype
    if node.attrs["kind"] == "update":  # moves bits
        return index.name in ("int32", "int64") and (dtype.is_numeric or dtype.is_bool)
    return index.name in ("int32", "int64") and _computes(dtype)


def _distinct(node: Node) -> bool:
    return all(v.dtype.name in ("int32", "int64") for v in node.inputs)


def _cumulative(node: Node) -> bool:
    return isinstance(node.attrs["axis"], int) and _computes(node.output.dtype)


NATIVE: Mapping[str, Callable[[Node], bool]] = {
    "matmul": _matmul, "philox": _philox, "scatter": _scatter, "cumulative": _cumulative,
    "conv": _matmul, "distinct": _distinct,
}  # fmt: skip


def _origin(node: Node) -> Origin:
    return Origin(node.op.name, node.name, node.loc)


def _constants(node: Node, inputs: tuple[Buffer, ...]) -> bool:
    """True where the bounds of integer draws, which the kernel takes by value, are known."""
    return node.op.name != "PhiloxUniformInt" or all(b.role == "constant" for b in inputs[1:])


PHILOX = frozenset(
    {
        ("PhiloxUniform", "float32"), ("PhiloxUniform", "float64"), ("PhiloxNormal", "float32"),
        ("PhiloxNormal", "float64"), ("PhiloxTruncatedNormal", "float32"),
        ("PhiloxUniformInt", "int32"), ("PhiloxUniformInt", "int64"),
    }
)  # fmt: skip

__all__ = ["Lower", "TensorType", "lower"]
