"""The shape of the code: who may import whom, how long files get, what they are called."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

import staticgraph
from staticgraph.ir.op import Op, registered

ROOT = Path(staticgraph.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LIMIT = 520  # lines in a file

# What each part may import besides itself; `errors` stands below everything.
LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "ir": set(),
    "ops": {"ir"},
    "passes": {"ir", "ops"},
    "codegen": {"ir"},
    "runtime": {"ir", "ops", "passes", "codegen"},
    "api": {"ir", "ops", "passes", "runtime"},
    "dynamic": {"ir", "ops", "passes"},
    "bridge": {"ir", "ops", "passes", "runtime", "api", "dynamic"},
    "viz": {"ir"},
}
# Parts written on the public functions; of the layers below they may name only the nouns.
LIBRARY: set[str] = {"api", "dynamic", "ir", "runtime"}
LIBRARY_PARTS = frozenset(
    "contrib data distributed layers math nn python saved_model summary test train".split()
)
# The command line and the comparison look at every stage, and so may import every one of them.
FRONTS = {"__init__", "__main__", "cli", "compare"}
HEAVY = {
    "numba",
    "matplotlib",
    "scipy",
    "sklearn",
    "graphviz",
    "pygraphviz",
    "mpi4py",
    "PIL",
    "numba_cuda",
}
NUMBA_FILES = ("intrinsics", "scalar_intrinsics", "native", "cuda")
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base"}


@functools.cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


def part(file: Path) -> str:
    """The layer a file belongs to: the folder under the package, or the module itself."""
    relative = file.relative_to(ROOT)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.level == 0, "imports are absolute"
    module = node.module or ""
    return [f"{module}.{a.name}" for a in node.names] if module == "staticgraph" else [module]


def imports(file: Path) -> Iterator[tuple[int, str]]:
    """Every import of a file, those inside functions included."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for module in modules(node):
                yield node.lineno, module


def at_start(file: Path) -> Iterator[tuple[int, str]]:
    """The imports that run when the module is imported."""
    stack: list[ast.AST] = [tree(file)]
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            for module in modules(node):
                yield node.lineno, module
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            stack += ast.iter_child_nodes(node)


def allowed(name: str) -> set[str] | None:
    """What a part may import; None where everything is allowed."""
    if name in FRONTS:
        return None
    if name in LAYERS:
        return LAYERS[name]
    parts = LIBRARY | LIBRARY_PARTS | {p.stem for p in ROOT.glob("*.py")} - FRONTS
    return parts


def test_every_folder_has_a_place_in_the_layers() -> None:
    folders = {p.parent.name for p in ROOT.glob("*/__init__.py")}
    assert folders <= LAYERS.keys() | LIBRARY_PARTS | FRONTS


def test_imports_go_down_only() -> None:
    wrong = []
    for file in FILES:
        own = part(file)
        permitted = allowed(own)
        if permitted is None:
            continue
        for line, module in imports(file):
            package, _, rest = module.partition(".")
            target = rest.partition(".")[0]
            if package != "staticgraph" or target in (own, "errors"):
                continue
            if target not in permitted:
                wrong.append(f"{file.relative_to(ROOT)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def test_numba_is_imported_in_few_places() -> None:
    wrong = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in FILES
        for line, module in imports(file)
        if module.partition(".")[0] in ("numba", "numba_cuda")
        and not (part(file) == "codegen" and file.stem.startswith(NUMBA_FILES))
    ]
    assert not wrong, "\n".join(wrong)


def test_heavy_packages_are_imported_where_they_are_used() -> None:
    """Not at the top of a module that `import staticgraph` could reach."""
    wrong = [
        f"{file.relative_to(ROOT)}:{line} imports {module}"
        for file in FILES
        for line, module in at_start(file)
        if module.partition(".")[0] in HEAVY
        and not (part(file) == "codegen" and file.stem.startswith(NUMBA_FILES))
        and not (part(file) == "viz" and module == "graphviz")  # only programs that draw import it
    ]
    assert not wrong, "\n".join(wrong)


def test_files_are_short() -> None:
    long = {
        str(f.relative_to(ROOT.parent)): n
        for f in FILES
        if (n := len(f.read_text(encoding="utf-8").splitlines())) > LIMIT
    }
    assert not long, long


def test_files_are_called_after_what_they_hold() -> None:
    assert not [f for f in FILES if {f.stem, f.parent.name} & BANNED_NAMES]


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(f.relative_to(ROOT))
        for f in FILES
        if f.stat().st_size > 1 and not ast.get_docstring(tree(f))
    ]
    assert not silent, silent


@pytest.mark.parametrize("op", list(registered()), ids=lambda op: op.name)
def test_every_op_is_exercised(op: Op) -> None:
    """By samples, or, where it acts on more than its operands, by tests of that effect."""
    assert op.samples or op.effect != "pure"
