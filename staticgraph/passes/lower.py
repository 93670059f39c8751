"""Lower: a fused function becomes a `Program` of kernels, library calls and host calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from staticgraph.ir import dims as D
from staticgraph.ir.dims import Dim
from staticgraph.ir.dtypes import DType
from staticgraph.ir.function import ElementOf, Function, Node, SizeOf, Value
from staticgraph.ir.kernel import subexpressions
from staticgraph.ir.program import (
    Buffer,
    Host,
    Launch,
    Library,
    Origin,
    Program,
    ProgramParam,
    Role,
    SizeSource,
    Step,
)
from staticgraph.ir.scalar import Load
from staticgraph.ir.types import TensorType
from staticgraph.passes.fusion import Fused, Region, fuse, measure
from staticgraph.passes.kernel_writer import Scheduled
from staticgraph.passes.schedule import schedule


@dataclass(frozen=True)
class Lower:
    """Fuse and lower; `optimize=False` gives each op its own kernel."""

    name: ClassVar[str] = "lower"
    optimize: bool = True

    def __call__(self, f: Function) -> Program:
        return lower(f, fuse(f, enabled=self.optimize))


def lower(f: Function, fused: Fused) -> Program:
    """Turn regions into kernels and bind their parameters to buffers."""
    return _Lowering(f, fused).run()


class _Lowering:
    def __init__(self, f: Function, fused: Fused) -> None:
        self.f, self.fused = f, fused
        self.buffers: list[Buffer] = []
        self.of: dict[Value, Buffer] = {}
        self.steps: list[Step] = []
        self.producers = f.producers()
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
        stored = self._stored()
        for item in self.fused.items:
            if isinstance(item, Region):
                for kernel in schedule(item, self.fused.values, stored):
                    self._launch(kernel, item)
            else:
                self._node(item)
        sizes = {
            s: SizeSource(self.buffer(o.value), o.axis, False)
            if isinstance(o, SizeOf)
            else SizeSource(self.buffer(o.value), o.element, True)
            for s, o in self.f.sizes.items()
        }
        assert all(isinstance(o, SizeOf | ElementOf) for o in self.f.sizes.values())
        results = tuple(self.buffer(v) for v in self.f.results)
        updates = {k: self.buffer(v) for k, v in self.f.updates.items()}
        return Program(
            self.f.name, tuple(self.buffers), tuple(self.steps), params, results, updates, sizes,
            self.f.guards,
        )  # fmt: skip

    def _stored(self) -> frozenset[Value]:
        """Values that somebody outside their region reads from memory."""
        out = set(self.f.outputs())
        home: dict[Value, int] = {}
        for k, item in enumerate(self.fused.items):
            if isinstance(item, Region):
                home.update((m.value, k) for m in item.members)
        for k, item in enumerate(self.fused.items):
            if isinstance(item, Node):
                out.update(item.inputs)
                continue
            for m in item.members:
                for e in subexpressions(m.body):
                    if isinstance(e, Load):
                        v = self.fused.values[e.operand]
                        if home.get(v, k) != k:
                            out.add(v)
        return frozenset(out)

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
        inputs = tuple(self.buffer(v) for v in node.inputs)
        outputs = tuple(self.buffer(v) for v in node.outputs)
        if node.op.library is not None and _native(node) and _constants(node, inputs):
            attrs = {**node.attrs, "op": node.op.name}
            if "scratch" in attrs:
                scratch = TensorType(node.outputs[0].dtype, (attrs["scratch"],))
                outputs += (self.buffer(Value(scratch, f"{node.output.hint}/scratch")),)
            self.steps.append(Library(node.op.library, inputs, outputs, attrs, origin))
        else:
            self.steps.append(Host(node, inputs, outputs))


def _cost(region: Region) -> Dim:
    """The arithmetic of a region, in additions."""
    full, outer = D.product(region.dims), D.product(region.outer)
    total: Dim = 0
    for m in region.members:
        total = total + measure(m.body)[1] * (full if m.scope == "full" else outer)
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


def _cumulative(node: Node) -> bool:
    return isinstance(node.attrs["axis"], int) and _computes(node.output.dtype)


NATIVE: Mapping[str, Callable[[Node], bool]] = {
    "matmul": _matmul, "philox": _philox, "scatter": _scatter, "cumulative": _cumulative,
    "conv": _matmul,
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
