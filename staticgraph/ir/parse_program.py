"""Parsing of a program's text; ``parse_program(str(p))`` has the structure of `p`.

    Program = "program" name "{" lines return "}" kernels
    line    = ("feed" | "variable" | "counter") "%x" ":" type [string]
            | "const" "%x" "=" dense
            | "temp" "%x" ":" type
            | "sizes" symbol "=" ("size" | "element") "(" "%x" "," int ")"
            | "guard" size ("==" | "<=") size string ["for" op]
            | "launch" kernel "(" (["mut"] "%x" | size) ... ")" "over" size
            | [values "="] "library" kind [values] [attributes]
            | [values "="] "host" op [values] [attributes]
            | [values "="] ("scan" | "while") [values] attributes Program
            | [values "="] "branch" [values] attributes Program ...
    return  = "return" [values] [";" "state" name "<-" "%x"]
    kernels = name "=" Kernel

A step's inputs begin on the line of its name; apart from that line breaks do not count.  Kernels
stand at the end, once, for all programs in the text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

from staticgraph.ir.dims import Dim, Symbol
from staticgraph.ir.dtypes import as_dtype
from staticgraph.ir.function import Given, GuardSite, Node, Value
from staticgraph.ir.kernel import Kernel, Pointer
from staticgraph.ir.loc import UNKNOWN
from staticgraph.ir.parse import OpReader
from staticgraph.ir.parse_kernel import KernelReader
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
from staticgraph.ir.tokens import Token
from staticgraph.ir.types import TensorType

_PARAMS = ("feed", "variable", "counter")
_LOOP = ("length", "sizes", "carries", "sequences", "reverse", "histories")


class _ProgramReader(OpReader):
    def read(self) -> Program:
        self.kernels: dict[str, Kernel] = {}
        program = self.program()
        while self.next.kind == "word":
            self._kernel()
        return program()

    def program(self) -> Callable[[], Program]:
        """A program without its kernels, to be made when these are known."""
        self.buffers: dict[str, Buffer] = {}
        self.params: list[ProgramParam] = []
        self.sized = set()
        self.sizes: dict[Symbol, SizeSource | Given] = {}
        self.guards: list[GuardSite] = []
        self.later: list[Callable[[], Step]] = []  # kernels are defined after the program
        self.expect("program")
        name = self.name()
        self.expect("{")
        while not self.at("return"):
            self._entry()
        self.advance()
        results = self._uses()
        updates = self._updates() if self.accept(";") else {}
        self.expect("}")
        return lambda: Program(
            name, tuple(self.buffers.values()), tuple(make() for make in self.later),
            tuple(self.params), tuple(results), updates, self.sizes, tuple(self.guards),
        )  # fmt: skip

    def _entry(self) -> None:
        start = self.next
        if self.at(*_PARAMS):
            self._param(self.advance())
        elif self.accept("const"):
            token = self.take("value")
            self.expect("=")
            array = self.dense().array
            self._define(token, TensorType(as_dtype(array.dtype), array.shape), "constant", array)
        elif self.accept("temp"):
            token = self.take("value")
            self.expect(":")
            self._define(token, self.type(), "temporary")
        elif self.accept("sizes"):
            for s, how, value, k in self.size_lines():
                self.sizes[s] = (
                    Given(k)
                    if how == "given"
                    else SizeSource(self._lookup(value), k, how == "element")
                )
        elif self.accept("guard"):
            self.guards.append(self.guard(start))
        elif self.accept("launch"):
            self._launch()
        else:
            self._call(start)

    # ---- buffers
    def _define(self, token: Token, type_: TensorType, role: Role, data: Any = None) -> Buffer:
        if token.text in self.buffers:
            self.fail(f"{token.text} is defined twice", token)
        b = Buffer(len(self.buffers), type_.dtype, type_.shape, role, token.text[1:], data)
        self.buffers[token.text] = b
        return b

    def _param(self, kind: Token) -> None:
        token = self.take("value")
        self.expect(":")
        b = self._define(token, self.type(), "param")
        name = str(self.string()) if self.next.kind == "string" else b.name
        which = cast(Literal["feed", "variable", "counter"], kind.text)
        self.params.append(ProgramParam(which, name, b, self.loc(token)))

    def _lookup(self, token: Token) -> Buffer:
        b = self.buffers.get(token.text)
        if b is None:
            self.fail(f"{token.text} is not defined", token)
        return b

    def _uses(self, line: int | None = None) -> list[Buffer]:
        out: list[Buffer] = []
        while self.next.kind == "value" and (out or line in (None, self.next.line)):
            out.append(self._lookup(self.advance()))
            if not self.accept(","):
                break
        return out

    def _updates(self) -> dict[str, Buffer]:
        self.expect("state")
        out: dict[str, Buffer] = {}
        while True:
            name = self.name()
            self.expect("<-")
            out[name] = self._lookup(self.take("value"))
            if not self.accept(","):
                return out

    # ---- steps
    def _launch(self) -> None:
        token = self.take("word", "the name of a kernel")
        args: list[Buffer | Dim] = []
        written: list[tuple[Token, bool]] = []
        self.expect("(")
        while not self.at(")"):
            mutable = self.accept("mut")
            written.append((self.next, mutable))
            is_buffer = mutable or self.next.kind == "value"
            args.append(self._lookup(self.take("value")) if is_buffer else self.dim())
            if not self.accept(","):
                break
        self.expect(")")
        self.expect("over")
        extent = self.dim()

        def make() -> Launch:
            kernel = self.kernels.get(token.text)
            if kernel is None:
                self.fail(f"there is no kernel {token.text!r}", token)
            if len(args) != len(kernel.params):
                count = f"{len(kernel.params)} arguments, not {len(args)}"
                self.fail(f"{token.text} takes {count}", token)
            for (place, mutable), q in zip(written, kernel.params, strict=True):
                if mutable != (isinstance(q, Pointer) and q.written):
                    self.fail("mut stands where the kernel has it", place)
            checks = (Origin("", token.text, UNKNOWN),) * kernel.checks()
            return Launch(kernel, tuple(args), extent, (), checks)

        self.later.append(make)

    def _call(self, start: Token) -> None:
        outputs = self._uses()
        if outputs:
            self.expect("=")
        if self.accept("host"):
            step: Step = self._host(outputs, start)
        elif self.accept("library"):
            token = self.take("word", "a kind of library call")
            inputs = self._uses(token.line)
            attrs = {k: v for k, (v, _) in self.attributes().items()}
            step = Library(token.text, tuple(inputs), tuple(outputs), attrs)
        elif self.at("scan", "while", "branch"):
            self.later.append(self._control(outputs))
            return
        else:
            self.fail(f"expected a step or return, found {self.shown()}")
        self.later.append(lambda: step)

    def _host(self, outputs: list[Buffer], start: Token) -> Host:
        op, token = self.record()
        inputs = self._uses(token.line)
        self.check_count(op, len(inputs), token, op.data_operands)
        attrs = self.completed(op, token, static=True)
        taken, made = (
            [Value(TensorType(b.dtype, b.dims), b.name) for b in bs] for bs in (inputs, outputs)
        )
        name = outputs[0].name if outputs else ""
        node = Node(op, tuple(taken), attrs, tuple(made), self.loc(start), name)
        return Host(node, tuple(inputs), tuple(outputs))

    def _control(self, outputs: list[Buffer]) -> Callable[[], Step]:
        token = self.advance()
        inputs = tuple(self._uses(token.line))
        attrs = {k: v for k, (v, _) in self.attributes().items()}
        names = ("sizes",) if token.text == "branch" else _LOOP
        given = attrs.keys() - ({"shapes"} if token.text != "branch" else set())
        if sorted(given) != sorted(names):
            self.fail(f"{token.text} has the attributes {', '.join(names)}", token)
        programs = [self._nested()]
        while token.text == "branch" and self.at("program"):
            programs.append(self._nested())

        def make() -> Step:
            made = tuple(p() for p in programs)
            if token.text == "branch":
                return Branch(made, inputs, tuple(outputs), attrs)
            return Repeat(made[0], inputs, tuple(outputs), attrs, token.text == "while")

        return make

    def _nested(self) -> Callable[[], Program]:
        inner = _ProgramReader.__new__(_ProgramReader)  # the same tokens and kernels
        inner.__dict__.update(self.__dict__)
        program = inner.program()
        self._at = inner._at
        return program

    def _kernel(self) -> None:
        token = self.take("word", "the name of a kernel")
        if token.text in self.kernels:
            self.fail(f"{token.text} is defined twice", token)
        self.expect("=")
        inner = KernelReader.__new__(KernelReader)  # the same tokens, names of its own
        inner.__dict__.update(self.__dict__)
        self.kernels[token.text] = inner.read()
        self._at = inner._at


def parse_program(text: str, source: str = "<text>") -> Program:
    """Read a program with its kernels.

    Raises:
      ParseError: with the line, the column and an excerpt.
    """
    reader = _ProgramReader(text, source)
    program = reader.read()
    reader.take("end", "the end of the text")
    return program


__all__ = ["parse_program"]
