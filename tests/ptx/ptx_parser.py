"""PTX text to lists of instructions, with every called function inlined.

Only what NVVM writes is understood; anything else raises ``UnsupportedError`` with its line. Names
are resolved here, so that an interpreter sees one flat list: registers of nested scopes and of
inlined functions get names of their own, call parameters become registers, labels become positions.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

SIZES = {"pred": 1} | {kind + n: int(n) // 8 for kind in "bus" for n in ("8", "16", "32", "64")}
SIZES |= {"f16": 2, "bf16": 2, "f32": 4, "f64": 8}


class PtxError(Exception):
    """Something the PTX does that a GPU would refuse or, worse, would not. Names the line."""


class UnsupportedError(PtxError):
    """PTX that this interpreter does not know."""


@dataclass(frozen=True)
class Reg:
    """A register or ``!register``; also a variable declared inside the function."""

    name: str
    negated: bool = False


@dataclass(frozen=True)
class Imm:
    """A literal, as written."""

    text: str


@dataclass(frozen=True)
class Sym:
    """A variable of the module, a parameter of the kernel, a label, or a function."""

    name: str


@dataclass(frozen=True)
class Vec:
    """``{a, b}``, and ``p|q`` as a pair."""

    items: tuple[Operand, ...]


@dataclass(frozen=True)
class Mem:
    """``[base + offset]``."""

    base: Operand
    offset: int


Operand = Reg | Imm | Sym | Vec | Mem


@dataclass(frozen=True)
class Instruction:
    """``@guard op.modifiers args;`` and where it stands."""

    op: str
    mods: tuple[str, ...]
    args: tuple[Operand, ...]
    guard: Reg | None
    line: int
    text: str

    @property
    def type(self) -> str:
        """The last modifier that is a type."""
        return next((m for m in reversed(self.mods) if m in SIZES), "")

    def where(self) -> str:
        """How an error names this instruction."""
        return f"line {self.line}: {self.text}"


@dataclass(frozen=True)
class Variable:
    """A ``.shared``, ``.local``, ``.global`` or ``.const`` variable."""

    name: str
    space: str
    type: str
    count: int | None  # None: dynamic shared memory
    align: int
    values: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes."""
        return (self.count or 0) * SIZES[self.type]


@dataclass
class Function:
    """A kernel, or a function before it is inlined."""

    name: str
    params: list[tuple[str, str]]  # name, type
    results: list[str]
    registers: dict[str, str] = field(default_factory=dict)  # name -> type
    code: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)
    variables: list[Variable] = field(default_factory=list)


@dataclass
class Module:
    """A whole PTX file."""

    kernels: dict[str, Function]
    variables: list[Variable]


@functools.lru_cache(maxsize=64)
def parse(ptx: str) -> Module:
    """Parse a PTX file."""
    functions: dict[str, Function] = {}
    kernels: dict[str, Function] = {}
    variables: list[Variable] = []
    statements = _statements(ptx)
    for text, line in statements:
        if re.search(r"\.(entry|func)\b", text):
            function, is_kernel = _header(text, line)
            if text.endswith("{"):
                _body(function, statements)
                (kernels if is_kernel else functions)[function.name] = function
        elif text not in ("{", "}"):
            variables.append(_variable(text, line))
    kernels = {name: _inline(kernel, functions) for name, kernel in kernels.items()}
    return Module(kernels, variables)


def _statements(ptx: str) -> Iterator[tuple[str, int]]:
    """Statements and braces of scopes, each with its line; a function's header ends in ``{``."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    ptx = re.sub(r"//[^\n]*|/\*.*?\*/", blank, ptx, flags=re.S)
    ptx = re.sub(r"^\s*\.(version|target|address_size|loc|file)\b[^\n]*", blank, ptx, flags=re.M)
    start, line, depth, buffer = 1, 1, 0, ""
    for char in ptx:
        if not buffer.strip():
            buffer, start = "", line
        line += char == "\n"
        text = buffer.strip()
        if char in "([" or (char == "{" and text and not _opens_body(text, depth)):
            depth += 1
        elif char in ")]" or (char == "}" and depth):
            depth -= 1
        elif char == "{":
            yield " ".join([*text.split(), "{"]), start
            buffer = ""
            continue
        elif char == "}" and not text:
            yield "}", start
            continue
        elif (char == ";" and not depth) or (char == ":" and re.fullmatch(r"[\w$%]+", text)):
            yield " ".join(text.split()) + (":" if char == ":" else ""), start
            buffer = ""
            continue
        buffer += char


def _opens_body(text: str, depth: int) -> bool:
    return depth == 0 and re.search(r"\.(entry|func)\b", text) is not None


def _header(text: str, line: int) -> tuple[Function, bool]:
    pattern = (
        r"\.(entry|func)\s*(?:\((?P<results>[^)]*)\))?\s*(?P<name>[\w$]+)\s*(?:\((?P<p>.*?)\))?"
    )
    found = re.search(pattern, text)
    if found is None:
        raise UnsupportedError(f"line {line}: {text}")
    params = [_declared(p) for p in (found["p"] or "").split(",") if p.strip()]
    results = [_declared(p)[0] for p in (found["results"] or "").split(",") if p.strip()]
    return Function(found["name"], params, results), found[1] == "entry"


def _declared(text: str) -> tuple[str, str]:
    """Name and type of ``.param .align 8 .b64 name[16]``."""
    words = text.split()
    kind = next(w[1:] for w in words if w[1:] in SIZES)
    return words[-1].split("[")[0], kind


def _variable(text: str, line: int, rename: Callable[[str], str] = str) -> Variable:
    found = re.fullmatch(
        r"(?:\.\w+ )*?\.(?P<space>global|const|shared|local) (?:\.align (?P<align>\d+) )?"
        r"\.(?P<type>\w+) (?P<name>[\w$%]+)(?P<array>\[(?P<count>\d*)\])?(?: ?= ?(?P<values>.*))?",
        text,
    )
    if found is None:
        raise UnsupportedError(f"line {line}: {text}")
    count = 1 if found["array"] is None else int(found["count"]) if found["count"] else None
    values = tuple(v.strip() for v in (found["values"] or "").strip("{} ").split(",") if v.strip())
    align = int(found["align"] or SIZES[found["type"]])
    name = rename(found["name"])
    return Variable(name, found["space"], found["type"], count, align, values)


def _body(function: Function, statements: Iterator[tuple[str, int]]) -> None:
    """Read statements up to the closing brace of a function."""
    scopes: list[dict[str, str]] = [{}]
    serial = 0

    def declare(name: str) -> str:
        nonlocal serial
        serial += 1
        scopes[-1][name] = name if len(scopes) == 1 else f"{name}.{serial}"
        return scopes[-1][name]

    def resolve(name: str) -> str | None:
        return next((scope[name] for scope in reversed(scopes) if name in scope), None)

    for text, line in statements:
        if text == "{":
            scopes.append({})
        elif text == "}":
            scopes.pop()
            if not scopes:
                return
        elif text.endswith(":"):
            function.labels[text[:-1]] = len(function.code)
        elif text.startswith(".reg"):
            _, kind, names = text.split(maxsplit=2)
            for name in names.split(","):
                base, _, count = name.strip().partition("<")
                numbered = [f"{base}{i}" for i in range(int(count[:-1]))] if count else [base]
                function.registers |= {declare(n): kind[1:] for n in numbered}
        elif text.startswith((".local", ".shared", ".global", ".const")):
            function.variables.append(_variable(text, line, declare))
        elif text.startswith(".param"):
            declare(_declared(text)[0])
        elif not text.startswith(".pragma"):
            function.code.append(_instruction(text, line, resolve))


def _instruction(text: str, line: int, resolve: Callable[[str], str | None]) -> Instruction:
    found = re.fullmatch(r"(?:@(!?)([\w$%]+) )?([a-z]\w*)([.\w:]*)(?: (.*))?", text)
    if found is None:
        raise UnsupportedError(f"line {line}: {text}")
    negated, guard, op, mods, rest = found.groups()
    if guard is not None:
        guard = Reg(resolve(guard) or guard, bool(negated))
    args = tuple(_operand(a, resolve) for a in _split(rest or ""))
    modifiers = tuple(m for m in mods.replace("::", ".").split(".") if m)
    return Instruction(op, modifiers, args, guard, line, text)


def _split(text: str, separator: str = ",") -> list[str]:
    """Split at separators outside braces, brackets and parentheses."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "{[(") - (char in "}])")
        if char == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [p.strip() for p in parts if p.strip()]


def _operand(text: str, resolve: Callable[[str], str | None]) -> Operand:
    if text[0] in "{(":
        return Vec(tuple(_operand(t, resolve) for t in _split(text[1:-1])))
    if "|" in text:
        return Vec(tuple(_operand(t, resolve) for t in text.split("|")))
    if text[0] == "[":
        base, plus, offset = text[1:-1].replace(" ", "").partition("+")
        return Mem(_operand(base, resolve), int(offset, 0) if plus else 0)
    if re.match(r"-?\d", text):
        return Imm(text)
    name = text.lstrip("!")
    known = resolve(name)
    if known is None and name[0] != "%":
        return Sym(name)
    return Reg(known or name, text[0] == "!")


def _inline(kernel: Function, functions: dict[str, Function]) -> Function:
    """The kernel with each call replaced by the body of what it calls."""
    serial = 0
    done = replace(
        kernel, registers=dict(kernel.registers), code=[], labels={}, variables=[*kernel.variables]
    )

    def emit(function: Function, prefix: str, params: dict[str, str], leave: str) -> None:
        """Append the body; ``params`` are the caller's names of its parameters and results."""
        nonlocal serial
        local = {v.name for v in function.variables}

        def rename(operand: Operand) -> Operand:
            match operand:
                case Reg(name, negated) if name in function.registers or name in local:
                    return Reg(prefix + name, negated)
                case Sym(name) if name in function.labels:
                    return Sym(prefix + name)
                case Vec(items):
                    return Vec(tuple(rename(item) for item in items))
                case Mem(base, offset):
                    return Mem(rename(base), offset)
            return operand

        def slot(operand: Operand, kind: str) -> Reg | None:
            """The register that stands for a call's parameter, unless it is a kernel's."""
            if not isinstance(operand, Mem) or isinstance(operand.base, Imm | Vec | Mem):
                return None
            name = params.get(operand.base.name)
            if name is None and operand.base.name in {p for p, _ in kernel.params}:
                return None
            name = f"{name or prefix + operand.base.name}+{operand.offset}"
            done.registers.setdefault(name, f"b{8 * SIZES[kind]}")
            return Reg(name)

        if prefix:
            done.registers |= {prefix + n: kind for n, kind in function.registers.items()}
            done.variables += [replace(v, name=prefix + v.name) for v in function.variables]
        targets: dict[int, list[str]] = {}
        for label, position in function.labels.items():
            targets.setdefault(position, []).append(label)
        for position in range(len(function.code) + 1):
            done.labels |= {prefix + n: len(done.code) for n in targets.get(position, ())}
            if position == len(function.code):
                break
            ins = function.code[position]
            guard = ins.guard and Reg(prefix + ins.guard.name, ins.guard.negated)
            ins = replace(ins, guard=guard)
            if ins.op in ("ld", "st") and "param" in ins.mods:
                place = 1 if ins.op == "ld" else 0
                held = slot(ins.args[place], ins.type)
                if held is not None:
                    value = rename(ins.args[1 - place])
                    pair = (value, held) if ins.op == "ld" else (held, value)
                    done.code.append(replace(ins, op="mov", mods=(ins.type,), args=pair))
                    continue
            elif ins.op == "call":
                *results, target, arguments = (Vec(()), *ins.args)[-3:]
                name = target.name if isinstance(target, Sym | Reg) else ""
                if name not in functions:
                    raise UnsupportedError(f"call of an unknown function, {ins.where()}")
                callee, serial = functions[name], serial + 1
                inner = f"{name}#{serial}/"
                given = [a for v in (*results, arguments) if isinstance(v, Vec) for a in v.items]
                names = [prefix + a.name for a in given if isinstance(a, Sym | Reg)]
                formal = [*callee.results, *(p for p, _ in callee.params)]
                end = inner + "end"
                emit(callee, inner, dict(zip(formal, names, strict=True)), end)
                done.labels[end] = len(done.code)
                continue
            elif ins.op == "ret" and leave:
                done.code.append(replace(ins, op="bra", mods=(), args=(Sym(leave),)))
                continue
            done.code.append(replace(ins, args=tuple(rename(a) for a in ins.args)))

    emit(kernel, "", {}, "")
    return done
