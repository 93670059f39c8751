"""Parsing of the text form: ``parse(print(f))`` means the same as ``f`` at every level.

    Function  = "function" name "(" params ")" "{" sizes guards nodes return "}"
    params    = "%x" ":" type ("feed" | "variable" | "counter") [string]
    sizes     = "sizes" symbol "=" ("size" | "element") "(" "%x" "," int ")"
    guards    = "guard" size ("==" | "<=") size string ["for" op]
    nodes     = [results "="] op [inputs] [attributes]
    return    = "return" [values] [";" "state" name "<-" value]
    Graph     = "graph" ["seed" int] "{" operations "}"
    Body      = "graph" string ["seed" int] "(" params ")" ["captures" "(" captures ")"]
                "{" operations "return" [values] [";" "keeps" ints] "}"

An op's inputs begin on the line of its name; apart from that line breaks do not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from staticgraph.errors import StaticGraphError
from staticgraph.ir.body import BodyGraph, body_gradient
from staticgraph.ir.dims import Poly, Symbol, symbols_of
from staticgraph.ir.function import (
    ElementOf,
    Function,
    Given,
    GuardSite,
    Node,
    Origin,
    Param,
    ParamKind,
    SizeOf,
    Value,
)
from staticgraph.ir.graph import Graph
from staticgraph.ir.loc import Loc
from staticgraph.ir.op import REQUIRED, Guard, Op, lookup
from staticgraph.ir.parse_kernel import parse_kernel
from staticgraph.ir.parse_values import ValueReader
from staticgraph.ir.tensor import Operation, Tensor
from staticgraph.ir.tokens import Token
from staticgraph.ir.types import TensorType

_KINDS = ("feed", "variable", "counter")


class OpReader(ValueReader):
    """What functions, graphs and programs share: applications of registered ops, sizes, guards."""

    sized: set[str]

    def loc(self, token: Token) -> Loc:
        return Loc(self.source, token.line, "<module>")

    def record(self) -> tuple[Op, Token]:
        token = self.take("word", "the name of an op")
        try:
            return lookup(token.text), token
        except KeyError:
            self.fail(f"there is no op {token.text!r}", token)

    def completed(self, op: Op, token: Token, static: bool) -> dict[str, Any]:
        """The attributes of an op, defaults filled in; `static` operands among them."""
        given = self.attributes()
        names = [*(op.static_operands if static else ()), *op.attrs]
        for key, (_, where) in given.items():
            if key not in names and not key.startswith("_"):
                self.fail(f"{op.name} has no attribute {key!r}", where)
        out = {k: v for k, (v, _) in given.items()}
        for key in names:
            if key not in out:
                if op.attrs.get(key, REQUIRED) is REQUIRED:
                    self.fail(f"{op.name}: the attribute {key!r} is missing", token)
                out[key] = op.attrs[key]
        return out

    def check_count(self, op: Op, count: int, token: Token, operands: tuple[str, ...]) -> None:
        least = len(operands) - op.variadic
        if count < least or (count > least and not op.variadic):
            self.fail(f"{op.name} takes {len(operands)} operands, {count} are given", token)

    def function(self) -> Function:
        inner = _FunctionReader.__new__(_FunctionReader)  # the same tokens, names of its own
        inner.__dict__.update(self.__dict__)
        inner.reset()
        f = inner.read()
        self._at = inner._at
        return f

    def size_lines(self) -> Iterator[tuple[Symbol, str, Token, int]]:
        """What follows the word ``sizes``: symbol, ``size``, ``element`` or ``given``, value,
        number; with ``given`` there is no value, and the token is that of the number.
        """
        while True:
            token = self.take("word", "the name of a size")
            self.expect("=")
            if not self.at("size", "element", "given"):
                self.fail(f"expected size, element or given, found {self.shown()}")
            how = self.advance().text
            self.expect("(")
            value = self.next
            if how != "given":
                value = self.take("value")
                self.expect(",")
            k = int(self.take("int", "an integer").text)
            self.expect(")")
            if token.text in self.sized:
                self.fail(f"the size {token.text!r} is defined twice", token)
            self.sized.add(token.text)
            yield Symbol(token.text), how, value, k
            if not self.accept(","):
                return

    def guard(self, start: Token) -> GuardSite:
        """What follows the word ``guard``."""
        a = self.dim()
        if not self.at("==", "<="):
            self.fail(f"expected == or <=, found {self.shown()}")
        relation = "==" if self.advance().text == "==" else "<="
        b = self.dim()
        message = str(self.string()) if self.next.kind == "string" else "{a} and {b} differ"
        op = self.take("word", "the name of an op").text if self.accept("for") else ""
        guard = Guard("==" if relation == "==" else "<=", a, b, message)
        return GuardSite(guard, op, self.loc(start))

    def name(self) -> str:
        if self.next.kind == "string":
            return str(self.string())
        return self.take("word", "a name").text


class _FunctionReader(OpReader):
    def reset(self) -> None:
        self.values: dict[str, Value] = {}
        self.sized = set()
        self.params: list[Param] = []
        self.nodes: list[Node] = []
        self.sizes: list[tuple[Symbol, str, Token, int]] = []
        self.guards: list[GuardSite] = []

    def read(self) -> Function:
        self.expect("function")
        name = self.name()
        self.expect("(")
        while not self.at(")"):
            self._param()
            if not self.accept(","):
                break
        self.expect(")")
        self.expect("{")
        while not self.at("return"):
            if self.accept("sizes"):
                self.sizes += self.size_lines()
            elif self.at("guard"):
                self.guards.append(self.guard(self.advance()))
            else:
                self._node()
        self.advance()
        results = self._uses() if self.next.kind == "value" else []
        updates = self._updates() if self.accept(";") else {}
        self.expect("}")
        return Function(
            name, tuple(self.params), tuple(self.nodes), tuple(results), updates,
            {s: self._origin(how, token, k) for s, how, token, k in self.sizes}, tuple(self.guards),
        )  # fmt: skip

    # ---- values
    def _define(self) -> Value:
        token = self.take("value")
        if token.text in self.values:
            self.fail(f"{token.text} is defined twice", token)
        self.expect(":")
        value = self.values[token.text] = Value(self.type(), token.text[1:])
        return value

    def _use(self) -> Value:
        return self._lookup(self.take("value"))

    def _lookup(self, token: Token) -> Value:
        value = self.values.get(token.text)
        if value is None:
            self.fail(f"{token.text} is not defined", token)
        return value

    def _uses(self) -> list[Value]:
        values = [self._use()]
        while self.accept(","):
            values.append(self._use())
        return values

    # ---- parts
    def _param(self) -> None:
        start = self.next
        value = self._define()
        if not self.at(*_KINDS):
            self.fail(f"expected {', '.join(_KINDS[:-1])} or {_KINDS[-1]}, found {self.shown()}")
        kind = cast(ParamKind, self.advance().text)
        name = str(self.string()) if self.next.kind == "string" else value.hint
        self.params.append(Param(kind, name, value, self.loc(start)))

    def _origin(self, how: str, token: Token, k: int) -> Origin:
        if how == "given":
            return Given(k)
        value = self._lookup(token)  # only now: a host op further down may give the size
        return SizeOf(value, k) if how == "size" else ElementOf(value, k)

    def _node(self) -> None:
        start = self.next
        outputs: list[Value] = []
        while self.next.kind == "value":
            outputs.append(self._define())
            if not self.accept(","):
                self.expect("=")
                break
        if start.kind not in ("value", "word"):
            self.fail(f"expected a node or return, found {self.shown()}")
        op, token = self.record()
        made = {v.hint for v in outputs}
        inputs: list[Value] = []
        while self.next.kind == "value" and (inputs or self.next.line == token.line):
            if self.next.text[1:] in made:
                self.fail(f"{self.next.text} is used where it is defined")
            inputs.append(self._use())
            if not self.accept(","):
                break
        self.check_count(op, len(inputs), token, op.data_operands)
        attrs = self.completed(op, token, static=True)
        name = outputs[0].hint if outputs else ""
        self.nodes.append(Node(op, tuple(inputs), attrs, tuple(outputs), self.loc(start), name))

    def _updates(self) -> dict[str, Value]:
        self.expect("state")
        out: dict[str, Value] = {}
        while True:
            name = self.name()
            self.expect("<-")
            out[name] = self._use()
            if not self.accept(","):
                return out


class _GraphReader(OpReader):
    graph: Graph

    def read(self) -> Graph:
        self.graph = Graph()
        self.expect("graph")
        self._seed()
        self.expect("{")
        with self.graph.as_default():
            while not self.at("}"):
                self._operation()
        self.expect("}")
        return self.graph

    def _seed(self) -> None:
        if self.accept("seed"):
            self.graph.seed = int(self.take("int", "an integer").text)

    # ---- bodies
    def body(self) -> BodyGraph:
        inner = _GraphReader.__new__(_GraphReader)  # the same tokens, another graph
        inner.__dict__.update(self.__dict__)
        found = inner.inside(self)
        self._at = inner._at
        return found

    def inside(self, around: _GraphReader) -> BodyGraph:
        """Read a body; `around` reads the graph that it is in."""
        start = self.advance()
        self.graph = body = BodyGraph(
            around.graph, str(self.string()), body_gradient, self.loc(start)
        )
        self._seed()
        with body.as_default():
            self.expect("(")
            while not self.at(")"):
                name, type_ = self._param()
                body.param(type_, name)
                if not self.accept(","):
                    break
            self.expect(")")
            if self.accept("captures"):
                self._captures(body, around)
            self.expect("{")
            while not self.at("return"):
                self._operation()
        self.advance()
        results = []
        while self.next.kind == "value":
            results.append(self._tensor())
            if not self.accept(","):
                break
        kept = self._kept() if self.accept(";") else []
        self.expect("}")
        if kept and max(kept) >= len(results):
            self.fail(f"there is no result {max(kept)}", start)
        body.residuals = {results[k]: k for k in kept}
        body.close(results)
        return body

    def _param(self) -> tuple[str, TensorType]:
        token = self.take("value", "a parameter")
        self.expect(":")
        return token.text[1:], self.type()

    def _captures(self, body: BodyGraph, around: _GraphReader) -> None:
        self.expect("(")
        while not self.at(")"):
            name, type_ = self._param()
            self.expect("=")
            around._at = self._at
            source = around._tensor()
            self._at = around._at
            param = body.captures[source] = body.param(type_, name, source)
            body.sources[param] = source
            if not self.accept(","):
                break
        self.expect(")")

    def _kept(self) -> list[int]:
        self.expect("keeps")
        out = [int(self.take("int", "the number of a result").text)]
        while self.accept(","):
            out.append(int(self.take("int", "the number of a result").text))
        return out

    def _operation(self) -> None:
        start = self.take("value", "an operation")
        types: list[TensorType] = []
        if self.accept(":"):
            types.append(self.type())
            while self.accept(","):
                types.append(self.type())
        self.expect("=")
        record, token = self.record()
        inputs: list[Tensor] = []
        controls: list[Operation] = []
        while self.next.kind in ("value", "control"):
            if not (inputs or controls) and self.next.line != token.line:
                break  # the next operation
            if self.next.kind == "control":
                controls.append(self._find(self.advance()))
            else:
                inputs.append(self._tensor())
            if not self.accept(","):
                break
        self.check_count(record, len(inputs), token, record.operands)
        attrs = self.completed(record, token, static=False)
        device = str(self.string()) if self.accept("@") else None
        try:
            with self.graph.device(device), self.graph.control_dependencies(None), \
                    self.graph.control_dependencies(controls):  # fmt: skip
                op = self.graph.create_operation(
                    record, inputs, attrs, start.text[1:], self.loc(start)
                )
        except StaticGraphError as e:
            self.fail(e.message, token)
        if op.name != start.text[1:]:
            self.fail(f"the name {start.text[1:]!r} is taken", start)
        self._refine(op, types, start)

    def _tensor(self) -> Tensor:
        token = self.take("value")
        op = self._find(token)
        index = int(self.take("int", "the number of a result").text) if self.accept(":") else 0
        if not 0 <= index < len(op.outputs):
            self.fail(f"{op.name!r} has {len(op.outputs)} results", token)
        return op.outputs[index]

    def _find(self, token: Token) -> Operation:
        try:
            return self.graph.get_operation_by_name(token.text[1:])
        except StaticGraphError:
            self.fail(f"there is no operation {token.text[1:]!r} before this one", token)

    def _refine(self, op: Operation, types: list[TensorType], start: Token) -> None:
        """Take the types that the text gives: what the graph knew beyond inference is kept."""
        if len(types) != len(op.outputs):
            self.fail(f"{op.type} has {len(op.outputs)} results, the text has {len(types)}", start)
        for t, want in zip(op.outputs, types, strict=True):
            have = t.type
            ranks_differ = None not in (have.shape, want.shape) and len(have.dims) != len(want.dims)
            if have.dtype != want.dtype or ranks_differ or any(
                isinstance(a, int) and isinstance(b, int) and a != b
                for a, b in zip(have.shape or (), want.shape or (), strict=False)
            ):  # fmt: skip
                self.fail(f"{op.type} gives {have}, the text has {want}", start)
            t.type = want
            used = {s.name for d in want.shape or () if isinstance(d, Poly) for s in symbols_of(d)}
            self.graph.reserve_symbols(used)


def parse_function(text: str, source: str = "<text>") -> Function:
    """Read a function.

    >>> from staticgraph import ops
    >>> f = parse_function("function f(%x: f32[2] feed) { %y: f32[2] = Add %x, %x return %y }")
    >>> print(f)
    function f(%x: f32[2] feed) {
      %y: f32[2] = Add %x, %x
      return %y
    }

    Raises:
      ParseError: with the line, the column and an excerpt.
    """
    reader = _FunctionReader(text, source)
    reader.reset()
    f = reader.read()
    reader.take("end", "the end of the text")
    return f


def parse_graph(text: str, source: str = "<text>") -> Graph:
    """Read a graph and build its operations; types are inferred as for the user's own calls.

    Raises:
      ParseError: with the line, the column and an excerpt.
    """
    reader = _GraphReader(text, source)
    graph = reader.read()
    reader.take("end", "the end of the text")
    return graph


__all__ = ["OpReader", "parse_function", "parse_graph", "parse_kernel"]
