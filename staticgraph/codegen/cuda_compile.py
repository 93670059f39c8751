"""From the source of one CUDA kernel to PTX and machine code, on any machine.

This is the only module that knows which CUDA compiler is used; the rest of the package hands over
source text and gets a ``CudaCode`` back, so that a change of compiler is a change of this file.
Nothing here needs a GPU or a driver: NVVM writes the PTX and nvJitLink assembles it, and the report
of registers, spills and shared memory comes from the assembler. That is what lets a test machine
without a GPU hold generated kernels to budgets.

The packages are an optional extra and take a third of a second to import, so they are imported
inside functions only.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import linecache
import re
import sys
from dataclasses import dataclass
from types import CodeType
from typing import Any

from staticgraph.errors import MissingExtraError, StaticGraphError

PACKAGES = ("numba-cuda", "cuda-bindings", "nvidia-nvvm", "nvidia-nvjitlink")
"""What decides the generated code; their versions are part of every cache key."""

SCALARS = {
    "bool": "boolean",
    "i8": "int8",
    "i16": "int16",
    "i32": "int32",
    "i64": "int64",
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
    "f16": "float16",
    "f32": "float32",
    "f64": "float64",
}
"""Signature strings and the compiler's type names; ``ptr_`` before one makes it a raw pointer.

``ptr_bool`` points to bytes: a kernel stores a bool as it is and loads one as ``x[i] != 0``.
"""


@dataclass(frozen=True)
class CudaCode:
    """One compiled kernel. ``name`` is its entry point in both the PTX and the cubin."""

    name: str
    ptx: str
    cubin: bytes
    registers: int
    spills: int  # bytes of registers that the assembler had to keep in memory: should be 0
    stack_bytes: int  # local arrays, as in the slow path of sin and cos
    shared_bytes: int  # with the 1 KiB that the system takes from sm_90 on, if there is any
    resources_text: str


class CudaCompileError(StaticGraphError):
    """The CUDA compiler refused a generated kernel: a fault of the generator, not of the user."""


def load_numba_cuda(part: str = "") -> Any:
    """Import ``numba.cuda``, or one module of it: the maintained package, not the one inside Numba.

    The package ``numba-cuda`` takes over the name ``numba.cuda`` through an import hook that a
    ``.pth`` file installs. Python reads those only from real site directories, so an installation
    with ``pip install --target`` would silently get Numba's own deprecated copy: importing the hook
    here makes both installations behave alike.
    """
    try:
        importlib.import_module("_numba_cuda_redirector")
        _restore_row_stack()
        cuda = importlib.import_module("numba.cuda")
    except ModuleNotFoundError as error:
        raise MissingExtraError("cuda", "compiling for CUDA") from error
    if "numba_cuda" not in str(cuda.__file__):
        raise CudaCompileError(
            "numba's own cuda module was imported before numba-cuda could take its place",
            hint="import staticgraph before numba.cuda",
        )
    return importlib.import_module(f"numba.cuda.{part}") if part else cuda


def compile_source(
    source: str,
    name: str,
    signature: tuple[str, ...],
    cc: tuple[int, int] = (9, 0),
    launch_bounds: tuple[int, ...] | None = (256, 3),
) -> CudaCode:
    """Compile the function ``name`` of ``source`` as a kernel for compute capability ``cc``.

    ``signature`` has one string per argument: ``"i64"``, ``"f32"``, ``"ptr_f32"``. Pointers are
    raw; the array descriptors that Numba would pass cost seven parameters and six registers each.
    ``launch_bounds`` is the largest block and the least number of blocks per multiprocessor. Four
    blocks of 256 leave 64 registers a thread, too few for a grid-stride loop that NVVM unrolls by
    four; three leave 80.

    Floating-point results are IEEE (no ``fastmath``, which in this compiler is all or nothing:
    it makes ``x ** 3`` NaN for negative ``x``), except that ``a * b + c`` may become one FMA.
    """
    cuda = load_numba_cuda()
    argument_types = [_argument_type(text) for text in signature]
    function = _execute(source, name)
    types = load_numba_cuda("types")
    try:
        ptx, _ = cuda.compile(
            function,
            types.void(*argument_types),
            device=False,
            abi="numba",
            cc=cc,
            launch_bounds=launch_bounds,
        )
    except Exception as error:
        if type(error).__name__ == "DynamicLibNotFoundError":  # the Python half is installed
            raise MissingExtraError("cuda", "compiling for CUDA") from error
        raise CudaCompileError(f"kernel {name}: {error}\n{_numbered(source)}") from error
    ptx = _tidy(ptx, name)
    cubin, log = _assemble(ptx, name, cc)
    return CudaCode(
        name=name,
        ptx=ptx,
        cubin=cubin,
        registers=_figure(r"Used (\d+) registers", log),
        spills=_figure(r"(\d+) bytes spill stores", log) + _figure(r"(\d+) bytes spill loads", log),
        stack_bytes=_figure(r"(\d+) bytes (?:cumulative )?stack", log),
        shared_bytes=_figure(r"(\d+) bytes smem", log),
        resources_text=log,
    )


def compiler_version() -> str:
    """The versions that the generated code depends on, as one line of a cache key."""
    if importlib.util.find_spec("numba_cuda") is None:
        raise MissingExtraError("cuda", "compiling for CUDA")
    return " ".join(f"{name}=={_version(name)}" for name in PACKAGES)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unpackaged"  # a library of a CUDA toolkit that pip knows nothing of


def _restore_row_stack() -> None:
    """Give NumPy 2.5 back the alias ``row_stack``, which numba-cuda 0.30 still looks up."""
    import numpy as np

    if not hasattr(np, "row_stack"):
        np.row_stack = np.vstack


def _argument_type(text: str) -> Any:
    types = load_numba_cuda("types")
    base = text.removeprefix("ptr_")
    if base not in SCALARS:
        raise ValueError(f"unknown argument type {text!r} in a kernel signature")
    if base == text:
        return getattr(types, SCALARS[base])
    pointee = "uint8" if base == "bool" else SCALARS[base]  # numba cannot store through boolean*
    return types.CPointer(getattr(types, pointee))


def _execute(source: str, name: str) -> Any:
    """Run the source and return its function; tracebacks through it show the generated lines."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    filename = f"<cuda kernel {name} {digest}>"
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    code: CodeType = compile(source, filename, "exec")
    namespace: dict[str, Any] = {"__name__": f"staticgraph_cuda_{digest}"}
    exec(code, namespace)
    return namespace[name]


def _tidy(ptx: str, name: str) -> str:
    """Call the entry point ``name`` instead of its mangled self; drop declarations of no use."""
    found = re.search(r"\.entry\s+([\w$.]+)", ptx)
    if found is None:
        raise CudaCompileError(f"kernel {name}: the compiler wrote no entry point")
    ptx = re.sub(rf"(?<![\w$]){re.escape(found[1])}", name, ptx)
    # Slots for the globals of interpreted code, one per function; kernels never use them.
    for slot in re.findall(r"^\.common \.global .* (_ZN08NumbaEnv\w+);\n", ptx, re.M):
        if ptx.count(slot) == 1:
            ptx = re.sub(rf"^\.common .*{slot};\n", "", ptx, flags=re.M)
    return ptx


def _assemble(ptx: str, name: str, cc: tuple[int, int]) -> tuple[bytes, str]:
    """Assemble PTX to machine code; the log carries the resource report."""
    try:
        linker = importlib.import_module("cuda.bindings.nvjitlink")
    except ModuleNotFoundError as error:
        raise MissingExtraError("cuda", "compiling for CUDA") from error
    options = [f"-arch=sm_{cc[0]}{cc[1]}", "-O3", "-verbose", "-Xptxas=-v"]
    text = ptx.encode()
    handle = linker.create(len(options), options)
    try:
        try:
            linker.add_data(handle, linker.InputType.PTX, text, len(text), f"{name}.ptx")
            linker.complete(handle)
        except linker.nvJitLinkError as error:
            reason = _log(linker.get_error_log_size, linker.get_error_log, handle)
            hint = None
            if "nsupported .version" in reason:  # nvidia-nvvm is newer than nvidia-nvjitlink
                hint = "the CUDA packages differ in version: pip install staticgraph[cuda]"
            raise CudaCompileError(f"kernel {name}: {error}\n{reason}", hint=hint) from error
        log = _log(linker.get_info_log_size, linker.get_info_log, handle)
        cubin = bytearray(linker.get_linked_cubin_size(handle))
        linker.get_linked_cubin(handle, cubin)
    finally:
        linker.destroy(handle)
    return bytes(cubin), log


def _log(size: Any, read: Any, handle: Any) -> str:
    buffer = bytearray(size(handle))
    if buffer:
        read(handle, buffer)
    return buffer.decode(errors="replace").rstrip("\0\n")


def _figure(pattern: str, log: str) -> int:
    """A number of the resource report; the assembler leaves out those that are zero."""
    return max((int(value) for value in re.findall(pattern, log)), default=0)


def _numbered(source: str) -> str:
    return "\n".join(f"{i:4} {line}" for i, line in enumerate(source.splitlines(), 1))


def is_loaded() -> bool:
    """Whether the CUDA compiler has been imported; a start-up test asserts that it has not."""
    return "numba.cuda" in sys.modules
