"""Parsing of a kernel's text; ``parse_kernel(str(k)) == k``."""

from __future__ import annotations

import re
from typing import cast, get_args

from staticgraph.ir import dtypes
from staticgraph.ir.dtypes import DType
from staticgraph.ir.kernel import (
    Accumulate,
    AccumulateArg,
    Form,
    Init,
    Kernel,
    Let,
    Loop,
    Param,
    Pointer,
    Set,
    SizeParam,
    Statement,
    Store,
    Temp,
    Var,
)
from staticgraph.ir.parse_values import ValueReader
from staticgraph.ir.record import record
from staticgraph.ir.scalar import (
    PRIMITIVES,
    Expr,
    Lit,
    Load,
    Prim,
    ReduceKind,
    Size,
    size_expr,
)
from staticgraph.ir.tokens import Token

_FORMS = get_args(Form)
_KINDS = get_args(ReduceKind)
_ZERO = Lit(0, dtypes.int64)
_PARAM = re.compile(r"a(\d+)$")


@record(slots=True)
class _Open:
    """A primitive or load whose closing bracket is still to come."""

    token: Token
    param: int | None
    close: str
    args: list[Expr]


@record(slots=True)
class _Block:
    """A loop whose closing brace is still to come."""

    var: str
    start: Expr
    stop: Expr
    body: list[Statement]
    known: set[str]


class KernelReader(ValueReader):
    def read(self) -> Kernel:
        self.params: list[Param] = []
        self.names: dict[str, Expr] = {"p": Temp("p", dtypes.int64)}
        self.expect("kernel")
        if not self.at(*_FORMS):
            self.fail(f"expected one of {', '.join(_FORMS)}, found {self.shown()}")
        form = cast(Form, self.advance().text)
        self.expect("(")
        while not self.at(")"):
            self._param()
            if not self.accept(","):
                break
        self.expect(")")
        self.expect("parallel")
        self.expect("p")
        body = self._body()
        return Kernel(form, tuple(self.params), body)

    def _param(self) -> None:
        place = len(self.params)
        if self.accept(f"s{place}"):
            self.expect(":")
            self.expect("size")
            self.params.append(SizeParam(int(self.take("int", "the number of a size").text)))
            self.names[f"s{place}"] = Temp(f"s{place}", dtypes.int64)
            return
        self.expect(f"a{place}")
        self.expect(":")
        streamed = self.accept("stream")
        written = self.accept("mut")
        if streamed and not written:
            self.expect("mut")
        dtype = self.dtype()
        self.expect("*")
        self.params.append(Pointer(dtype, written, streamed))

    # ---- statements
    def _body(self) -> tuple[Statement, ...]:
        self.expect("{")
        blocks = [_Block("", _ZERO, _ZERO, [], set())]
        while True:
            block = blocks[-1]
            if self.accept("}"):
                blocks.pop()
                for name in block.known:
                    del self.names[name]
                if not blocks:
                    return tuple(block.body)
                loop = Loop(block.var, block.start, block.stop, tuple(block.body))
                blocks[-1].body.append(loop)
            elif self.accept("for"):
                blocks.append(self._loop())
            else:
                block.body.append(self._statement(block.known))

    def _loop(self) -> _Block:
        token = self.take("word", "the name of a loop variable")
        self.expect("in")
        start = self.expr()
        self.expect("..")
        stop = self.expr()
        self.expect("{")
        known: set[str] = set()
        self._bind(token, Temp(token.text, dtypes.int64), known)
        return _Block(token.text, start, stop, [], known)

    def _bind(self, token: Token, e: Expr, known: set[str]) -> None:
        if token.text in self.names:
            self.fail(f"{token.text!r} is defined twice", token)
        self.names[token.text] = e
        known.add(token.text)

    def _statement(self, known: set[str]) -> Statement:
        if self.at("var") and self.ahead(1).kind == "word":
            self.advance()
            token = self.take("word", "a name")
            self.expect(":")
            dtype = self.dtype()
            self.expect("=")
            kind = self._kind()
            self.expect("(")
            self.expect(")")
            position = kind in ("argmax", "argmin")  # such an accumulator's value is a position
            self._bind(token, Temp(token.text, dtypes.int64 if position else dtype), known)
            return Init(token.text, kind, dtype)
        if self.at("state", "set") and self.ahead(1).kind == "word":
            return self._changing(known)
        token = self.take("word", "a statement")
        if self.at(":"):
            self.advance()
            dtype = self.dtype()
            self.expect("=")
            value = self.expr()
            self._check(value, dtype, token)
            self._bind(token, Temp(token.text, dtype), known)
            return Let(token.text, value)
        if self.accept("["):
            param = self._pointer(token)
            index = self.expr()
            self.expect("]")
            self.expect("=")
            return Store(param, index, self.expr())
        kind = self._kind()
        self.expect("=")
        value = self.expr()
        if self.accept("at"):
            return AccumulateArg(token.text, kind, value, self.expr())
        return Accumulate(token.text, kind, value)

    def _changing(self, known: set[str]) -> Statement:
        """What follows the words ``state`` and ``set``."""
        first = self.advance().text
        token = self.take("word", "a name")
        if first == "set":
            self.expect("=")
            return Set(token.text, self.expr())
        self.expect(":")
        dtype = self.dtype()
        self.expect("=")
        value = self.expr()
        self._check(value, dtype, token)
        self._bind(token, Temp(token.text, dtype), known)
        return Var(token.text, value)

    def _kind(self) -> ReduceKind:
        if not self.at(*_KINDS):
            self.fail(f"expected one of {', '.join(_KINDS)}, found {self.shown()}")
        return cast(ReduceKind, self.advance().text)

    def _pointer(self, token: Token) -> int:
        m = _PARAM.match(token.text)
        param = int(m[1]) if m is not None else len(self.params)
        if param >= len(self.params) or not isinstance(self.params[param], Pointer):
            self.fail(f"{token.text!r} is not a pointer parameter", token)
        return param

    # ---- expressions
    def expr(self) -> Expr:
        """An expression; open calls are kept on a stack, so depth does not matter."""
        stack: list[_Open] = []
        while True:
            done = self._leaf(stack)
            while done is not None:
                if not stack:
                    return done
                top = stack[-1]
                top.args.append(done)
                done = None
                if not self.accept(","):
                    self.expect(top.close)
                    done = self._closed(stack.pop())

    def _leaf(self, stack: list[_Open]) -> Expr | None:
        """A leaf, or None where a call was opened."""
        token = self.next
        if self.accept("<"):
            dim = self.dim()
            self.expect(">")
            return Size(dim) if not isinstance(dim, int) else size_expr(dim)
        if token.kind in ("int", "float") or self.at("True", "False"):
            return self._literal()
        self.take("word", "an expression")
        if self.accept("("):
            name = token.text.split(".")[0]
            if name not in PRIMITIVES:
                self.fail(f"there is no primitive {name!r}", token)
            stack.append(_Open(token, None, ")", []))
            return None
        if self.accept("["):
            param = self._pointer(token)
            if self.accept("]"):
                return self._closed(_Open(token, param, "]", []))
            stack.append(_Open(token, param, "]", []))
            return None
        known = self.names.get(token.text)
        if known is None:
            self.fail(f"{token.text!r} is not defined", token)
        return known

    def _literal(self) -> Expr:
        token = self.next
        value: int | float | bool
        if token.kind == "float":
            value = self.float()
        else:
            self.advance()
            value = token.text == "True" if token.kind == "word" else int(token.text)
        self.expect(":")
        return Lit(value, self.dtype())

    def _closed(self, call: _Open) -> Expr:
        args = tuple(call.args)
        if call.param is not None:
            pointer = self.params[call.param]
            assert isinstance(pointer, Pointer)
            return Load(call.param, args, pointer.dtype)
        name, _, suffix = call.token.text.partition(".")
        row = PRIMITIVES[name]
        if len(args) != row.arity:
            self.fail(f"{name} takes {row.arity} operands, {len(args)} are given", call.token)
        return Prim(name, args, self._result(row.result, args, suffix, call.token))

    def _result(self, result: str, args: tuple[Expr, ...], suffix: str, token: Token) -> DType:
        if result == "cast":
            named = next((d for d in dtypes.ALL if d.short == suffix), None)
            if named is None:
                self.fail("a cast names the element type it gives: cast.f32(x)", token)
            return named
        if result == "bool":
            return dtypes.bool_
        return args[1 if result == "cond" else 0].dtype

    def _check(self, e: Expr, dtype: DType, token: Token) -> None:
        if e.dtype is not dtype:
            self.fail(f"{token.text} is {dtype.name}, its value {e.dtype.name}", token)


def parse_kernel(text: str, source: str = "<text>") -> Kernel:
    """Read a kernel.

    Raises:
      ParseError: with the line, the column and an excerpt.
    """
    reader = KernelReader(text, source)
    kernel = reader.read()
    reader.take("end", "the end of the text")
    return kernel


__all__ = ["KernelReader", "parse_kernel"]
