"""Tokens of the text form, a reader over them, and errors that point at the place.

The text of every level shares one set of tokens:

    %name     a value (or, in a graph, an operation); ``%name:1`` is two tokens more
    ^name     a control input
    word      names of ops, attributes, sizes, dtypes; may hold ``.`` and ``/``
    number    ``3``, ``-2``, ``0.5``, ``1e-05``, ``inf``, ``-inf``, ``nan``
    "string"  as in JSON; ``b"..."`` holds bytes
    # ...     a comment, to the end of the line
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import cache
from typing import Literal, NoReturn, cast

from staticgraph.errors import ParseError
from staticgraph.ir.record import record

Kind = Literal["value", "control", "string", "float", "hex", "int", "word", "punct", "end"]

NAME_CHARACTERS = r"[A-Za-z0-9_./\-]"


@cache
def _token() -> re.Pattern[str]:
    """What a token is; a program that parses nothing does without."""
    return re.compile(_TOKEN, re.VERBOSE)


_TOKEN = rf"""
    (?P<space>  [ \t\r\n]+ | \#[^\n]* )
  | (?P<value>  %{NAME_CHARACTERS}+ )
  | (?P<control> \^{NAME_CHARACTERS}+ )
  | (?P<string> b?"(?:[^"\\\n]|\\.)*" )
  | (?P<hex>    0x[0-9a-f]+ )
  | (?P<float>  -?(?:inf|nan)\b | -?\d+(?:\.\d+(?:[eE][+-]?\d+)?|[eE][+-]?\d+) )
  | (?P<int>    -?\d+ )
  | (?P<word>   [A-Za-z_][A-Za-z0-9_./]* )
  | (?P<punct>  <-(?!\d) | -> | <= | == | \.\. | [(){{}}\[\]<>=,;:+*\-@] )
    """
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./]*")


@record(frozen=True, slots=True)
class Token:
    """One token; `text` is as written, `start` its offset."""

    kind: Kind
    text: str
    start: int
    line: int


class Reader:
    """Walks over the tokens of a text.

    >>> r = Reader("return %x")
    >>> r.expect("return").text, r.take("value").text
    ('return', '%x')
    """

    def __init__(self, text: str, source: str = "<text>") -> None:
        self.text, self.source = text, source
        self._starts = [0, *(m.end() for m in re.finditer("\n", text))]
        self._tokens = self._split()
        self._at = 0

    def _split(self) -> list[Token]:
        tokens: list[Token] = []
        pattern = _token()
        at, end = 0, len(self.text)
        while at < end:
            m = pattern.match(self.text, at)
            if m is None:
                self._fail(at, f"no token starts with {self.text[at]!r}")
            if m.lastgroup != "space":
                kind = cast(Kind, m.lastgroup)
                tokens.append(Token(kind, m.group(), at, self._line(at)))
            at = m.end()
        last = len(self.text.rstrip())
        tokens.append(Token("end", "", last, self._line(last)))
        return tokens

    def _line(self, offset: int) -> int:
        return bisect_right(self._starts, offset)

    # ---- looking
    @property
    def next(self) -> Token:
        """The token to be read."""
        return self._tokens[self._at]

    def ahead(self, k: int) -> Token:
        """The token `k` places further on."""
        return self._tokens[min(self._at + k, len(self._tokens) - 1)]

    def at(self, *texts: str) -> bool:
        """True where one of the words or marks `texts` comes next."""
        return self.next.kind in ("word", "punct") and self.next.text in texts

    # ---- taking
    def advance(self) -> Token:
        """Take whatever comes next."""
        token = self.next
        self._at += token.kind != "end"
        return token

    def accept(self, text: str) -> bool:
        """Take the word or mark `text` if it comes next."""
        if self.at(text):
            self._at += 1
            return True
        return False

    def expect(self, text: str) -> Token:
        """Take the word or mark `text`."""
        if not self.at(text):
            self.fail(f"expected {text!r}, found {self.shown()}")
        return self.advance()

    def take(self, kind: Kind, what: str | None = None) -> Token:
        """Take a token of `kind`; `what` names it in the error."""
        if self.next.kind != kind:
            self.fail(f"expected {what or 'a ' + kind}, found {self.shown()}")
        return self.advance()

    def shown(self) -> str:
        """The next token as errors name it."""
        return "the end of the text" if self.next.kind == "end" else repr(self.next.text)

    # ---- errors
    def fail(self, message: str, token: Token | None = None) -> NoReturn:
        """Raise a `ParseError` at `token`, by default the next one."""
        self._fail((token or self.next).start, message)

    def _fail(self, offset: int, message: str) -> NoReturn:
        line = self._line(offset)
        start = self._starts[line - 1]
        text = self.text[start:].split("\n", 1)[0]
        column = offset - start
        cut = max(0, column - 60)  # long lines: what surrounds the place
        shown = text[cut : cut + 100].replace("\t", " ")
        raise ParseError(
            f"{self.source}, line {line}, column {column + 1}: {message}",
            operands=(shown, " " * (column - cut) + "^"),
        )


__all__ = ["NAME_CHARACTERS", "WORD", "Kind", "Reader", "Token"]
