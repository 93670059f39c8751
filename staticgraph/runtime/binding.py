"""Bind steps to concrete sizes and addresses: what a plan's table is made of.

A table row is (function, argument block, lo, hi).  A kernel's block holds its arguments, with two
spare words for a failed index check; those of library calls are in `runtime.library`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial

from staticgraph.codegen import driver, loop_source, pool
from staticgraph.codegen.cache import kernel_addresses
from staticgraph.codegen.cpu import SIGNATURE_WORDS, kernel_source
from staticgraph.errors import CompileError
from staticgraph.ir import dims as D
from staticgraph.ir.kernel import Kernel
from staticgraph.ir.program import Branch, Buffer, Launch, Library, Program, Repeat, Step, by_line
from staticgraph.runtime.library import LIBRARY
from staticgraph.runtime.row import AddressOf, Row, Sizes, nbytes
from staticgraph.runtime.threads import bytes_like

LINES_NAMED = 8  # of the user's lines whose operations cannot be compiled


class Code:
    """Machine code of a program, by kernel and by source text."""

    def __init__(self, program: Program) -> None:
        self.sources: dict[Kernel, str] = {k: kernel_source(k) for k in program.kernels()}
        texts = dict.fromkeys(self.sources.values())
        machinery: dict[str, None] = {}
        later: dict[str, None] = {}
        for s in program.every_step():
            if isinstance(s, Library):
                texts |= dict.fromkeys(LIBRARY[s.kind].sources(s))
                machinery |= dict.fromkeys(LIBRARY[s.kind].machinery(s))
                later |= dict.fromkeys(LIBRARY[s.kind].later(s))
        direct: dict[str, Callable[[], str]] = {}
        if emits_ir():
            direct = {s: partial(_source_ir, s) for s in texts}
            direct |= {s: partial(_kernel_ir, k) for k, s in self.sources.items()}
        try:
            found = (
                kernel_addresses(
                    list(texts), direct, list(machinery), _likely(program), list(later)
                )
                if texts or machinery
                else []
            )
        except CompileError as e:
            bad = {text for text in texts if not _compiles(text, direct)}
            raise self._naming(e, program, bad) from (e.__cause__ or e)
        self.addresses = dict(zip(texts, found, strict=True))
        kernels = {k: self.addresses[s] for k, s in self.sources.items()}
        self._launches = [s for s in program.every_step() if isinstance(s, Launch)]
        # by identity: to hash a kernel takes longer than all else that makes its row
        self._functions = {id(s.kernel): kernels[s.kernel] for s in self._launches}

    def function(self, step: Launch) -> int:
        """The address of a launch's kernel."""
        return self._functions[id(step.kernel)]

    def _naming(self, error: CompileError, program: Program, bad: set[str]) -> CompileError:
        """The error with the operations and lines of what cannot be compiled."""
        steps = [s for s in program.every_step() if not bad.isdisjoint(self._texts(s))]
        origins = dict.fromkeys(o for s in steps for o in s.origins)
        named = tuple(line for line in by_line(origins))
        more = (f"and from {len(named) - LINES_NAMED} lines more",)
        shown = named[:LINES_NAMED] + (more if len(named) > LINES_NAMED else ())
        return CompileError(error.message, operands=shown)

    def _texts(self, s: Step) -> tuple[str, ...]:
        if isinstance(s, Launch):
            return (self.sources[s.kernel],)
        return LIBRARY[s.kind].sources(s) if isinstance(s, Library) else ()


def _likely(program: Program) -> list[str]:
    """LLVM IR that plans for the program will ask for, at first or some day."""
    steps = list(program.every_step())
    texts = [driver.SOURCE]
    large = program.sizes or any(isinstance(s, Library) for s in steps)  # perhaps: to be shared
    if large and pool.default_threads() > 1:
        texts += pool.sources()
    if any(isinstance(s, Repeat) for s in steps):
        texts += (loop_source.LOOP_SOURCE, loop_source.MOVE_SOURCE)
    if any(isinstance(s, Branch) for s in steps):
        texts.append(loop_source.BRANCH_SOURCE)
    return texts


def _kernel_ir(kernel: Kernel) -> str:
    from staticgraph.codegen.llvm import kernel_ir  # it loads LLVM, as compiling does anyway

    return kernel_ir(kernel)


def _source_ir(source: str) -> str:
    from staticgraph.codegen.llvm_source import source_ir

    return source_ir(source)


def _compiles(text: str, direct: Mapping[str, Callable[[], str]]) -> bool:
    """Whether a source compiles; asked again, what has failed once fails without a try."""
    try:
        kernel_addresses([text], {text: direct[text]} if text in direct else {})
    except CompileError:
        return False
    return True


def emits_ir() -> bool:
    """True unless $STATICGRAPH_CODEGEN is ``numba``, which sends kernels through Numba."""
    return os.environ.get("STATICGRAPH_CODEGEN", "") != "numba"


def rows(step: Launch | Library, index: int, code: Code, env: Sizes, at: AddressOf) -> list[Row]:
    """The table rows of step `index`; those without work are left out."""
    if isinstance(step, Launch):
        made = [_launch(step, index, code, env, at)]
    else:
        made = LIBRARY[step.kind].rows(step, index, code.addresses, env, at)
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
    function = code.function(step)
    return Row(function, tuple(words), extent, index, tuple(pointers), work, splits=True)
