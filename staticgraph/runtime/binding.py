"""Bind steps to concrete sizes and addresses: what a plan's table is made of.

A table row is (function, argument block, lo, hi).  A kernel's block holds its arguments, with two
spare words for a failed index check; those of library calls are in `runtime.library`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

from staticgraph.codegen import library_source
from staticgraph.codegen.cache import kernel_addresses
from staticgraph.codegen.cpu import SIGNATURE_WORDS, kernel_source
from staticgraph.codegen.llvm import kernel_ir
from staticgraph.ir import dims as D
from staticgraph.ir.kernel import Kernel
from staticgraph.ir.program import Buffer, Launch, Library, Program, Step
from staticgraph.runtime.library import LIBRARY
from staticgraph.runtime.row import AddressOf, Row, Sizes, nbytes
from staticgraph.runtime.threads import bytes_like


class Code:
    """Machine code of a program, by kernel and by source text."""

    def __init__(self, program: Program) -> None:
        self.sources: dict[Kernel, str] = {k: kernel_source(k) for k in program.kernels()}
        texts = dict.fromkeys(self.sources.values())
        for s in program.steps:
            if isinstance(s, Library):
                texts |= dict.fromkeys(LIBRARY[s.kind].sources(s))
        known = library_source.copies() | {s: k for k, s in self.sources.items()}
        direct = {s: partial(kernel_ir, k) for s, k in known.items() if s in texts}
        direct = direct if emits_ir() else {}
        found = kernel_addresses(list(texts), direct) if texts else []
        self.addresses = dict(zip(texts, found, strict=True))
        self.kernels = {k: self.addresses[s] for k, s in self.sources.items()}


def emits_ir() -> bool:
    """True unless $STATICGRAPH_CODEGEN is ``numba``, which sends kernels through Numba."""
    return os.environ.get("STATICGRAPH_CODEGEN", "") != "numba"


def rows(steps: Sequence[Step], code: Code, env: Sizes, at: AddressOf) -> list[Row]:
    """The table rows of native steps; those without work are left out."""
    made: list[Row] = []
    for i, s in enumerate(steps):
        if isinstance(s, Launch):
            made.append(_launch(s, i, code, env, at))
        else:
            assert isinstance(s, Library)
            made += LIBRARY[s.kind].rows(s, i, code.addresses, env, at)
    return [r for r in made if r.extent > 0]


def _launch(step: Launch, index: int, code: Code, env: Sizes, at: AddressOf) -> Row:
    words: list[int] = []
    pointers: list[tuple[int, Buffer, int]] = []
    work = 0
    for i, a in enumerate(step.args):
        if isinstance(a, Buffer):
            pointers.append((i, a, 0))
            words.append(at(a))
            work += nbytes(a, env)
        else:
            words.append(D.evaluate(a, env))
    words += [0] * SIGNATURE_WORDS
    extent = D.evaluate(step.extent, env)
    work += bytes_like(D.evaluate(step.cost, env))
    function = code.kernels[step.kernel]
    return Row(function, tuple(words), extent, index, tuple(pointers), work, splits=True)
