"""Machine code for the CPU: Numba source to object code, and object code to an address.

The two halves are separate on purpose.  Compiling needs Numba, which takes a third of a second to
import; loading needs `llvmlite.binding` alone, and mostly not even that (`codegen.loader`).  A
process whose kernels are all on disk never imports Numba, so nothing at the top of this module may
do so.

Numba's own finishing step is left out.  It would optimise each function twice and wrap it for
Python; here its unoptimised module gets one plain entry ``int64 symbol(int64*, int64, int64)``,
one run of LLVM's pipeline, and becomes an object file that holds this one public symbol.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import struct
import sys
import threading
from functools import cache
from typing import Any

import llvmlite.binding as llvm  # type: ignore[import-untyped]  # llvmlite ships no stubs

from staticgraph.codegen.target import settings
from staticgraph.errors import CompileError

# What object code may call: the C library, and what half precision and wide integers become.
ALLOWED_SYMBOLS = frozenset(
    "fma fmaf fmod fmodf memcpy memmove memset bzero __bzero "
    "exp expf exp2 exp2f log logf log2 log2f log10 log10f pow powf sin sinf cos cosf "
    "sqrt sqrtf floor floorf ceil ceilf trunc truncf rint rintf round roundf "
    "roundeven roundevenf copysign copysignf "
    "__extendhfsf2 __truncsfhf2 __truncdfhf2 __gnu_h2f_ieee __gnu_f2h_ieee "
    "__divti3 __modti3 __udivti3 __umodti3 __multi3 "
    "pthread_mutex_lock pthread_mutex_unlock pthread_cond_wait pthread_cond_broadcast "
    "sched_yield".split()  # the last five are for the worker threads of codegen.pool
)
_ELF = b"\x7fELF\x02\x01"  # 64 bits, little-endian

_lock = threading.RLock()
_engine: Any = None
_loaded: dict[str, int] = {}


# ---- target


@cache
def _initialize() -> None:
    with contextlib.suppress(RuntimeError):  # needed before llvmlite 0.45, an error since
        llvm.initialize()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def cpu() -> tuple[str, str, str]:
    """Return the triple, CPU name and features that code is made for."""
    return _cpu(settings())


@cache
def _cpu(chosen: tuple[str, ...]) -> tuple[str, str, str]:
    name, wanted, avx = chosen
    if not name or name == "host":
        name = str(llvm.get_host_cpu_name())
    if wanted or chosen[0]:
        return llvm.get_process_triple(), name, wanted
    try:
        features = llvm.get_host_cpu_features()
    except RuntimeError:  # not known on this platform
        return llvm.get_process_triple(), name, ""
    if avx == "0":
        features.update({k: False for k in features if k.startswith("avx")})
    return llvm.get_process_triple(), name, str(features.flatten())


def target_machine(level: int = 3) -> Any:
    """A fresh LLVM target machine; machines are not shared between threads.

    Args:
      level: how hard to work on the choice of instructions and registers, 0 to 3.
    """
    _initialize()
    triple, name, features = cpu()
    target = llvm.Target.from_triple(triple)
    reloc = "static" if target.name.startswith("x86") else "default"
    return target.create_target_machine(
        cpu=name, features=features, opt=level, reloc=reloc, codemodel="jitdefault", jit=True
    )


# ---- compiling


def compile_kernel(source: str, symbol: str) -> bytes:
    """Compile Numba source that defines ``kernel(args, lo, hi)``.

    Args:
      source: the text; it sees `NUMBA_FUNCTIONS`, `SCALAR_FUNCTIONS` and `np`.
      symbol: the name the object code shall define.

    Returns:
      Relocatable object code; the same bytes for the same arguments on one target.

    Raises:
      CompileError: the source cannot be compiled, or needs a symbol that would not be there.
    """
    try:
        return _compile(source, symbol)
    except (CompileError, MemoryError):
        raise
    except Exception as e:  # Numba raises many types; its texts mean nothing to a user
        raise CompileError("a kernel could not be compiled") from e


def _compile(source: str, symbol: str) -> bytes:
    from numba.core.compiler_lock import global_compiler_lock

    with global_compiler_lock:
        module, body = _numba_module(source)
        entry = llvm.parse_assembly(_ENTRY.format(symbol=symbol, body=body))
        module.link_in(entry)
        return emit(module, symbol)


def compile_ir(text: str, symbol: str, kernel: bool = True) -> bytes:
    """Compile LLVM IR text that defines ``@entry``, renamed to `symbol`.

    Args:
      kernel: as for a kernel's loops, in which the time is spent; else quickly, for code without
        loops over data.  Functions are then inlined where the text asks for it.

    Raises:
      CompileError: the text is not valid, or needs a symbol that would not be there.
    """
    _initialize()
    try:
        module = llvm.parse_assembly(text, llvm.create_context())
        module.get_function("entry").name = symbol
        return emit(module, symbol, kernel)
    except (RuntimeError, NameError) as e:
        raise CompileError(f"a {'kernel' if kernel else 'function'} could not be compiled") from e


_ENTRY = """
declare i32 @"{body}"(ptr, ptr, ptr, i64, i64)
define i64 @"{symbol}"(ptr %args, i64 %lo, i64 %hi) {{
  %result = alloca i64
  %raised = alloca ptr
  store i64 0, ptr %result
  %status = call i32 @"{body}"(ptr %result, ptr %raised, ptr %args, i64 %lo, i64 %hi)
  %value = load i64, ptr %result
  %bad = icmp ne i32 %status, 0
  %out = select i1 %bad, i64 -1, i64 %value
  ret i64 %out
}}
"""


def _numba_module(source: str) -> tuple[Any, str]:
    """Lower source through Numba, up to an LLVM module that nothing has optimised."""
    import numpy as np
    from numba import types

    from staticgraph.codegen.intrinsics import NUMBA_FUNCTIONS
    from staticgraph.codegen.scalar_intrinsics import SCALAR_FUNCTIONS

    namespace: dict[str, Any] = {**NUMBA_FUNCTIONS, **SCALAR_FUNCTIONS, "np": np}
    exec(compile(source, "<kernel>", "exec"), namespace)
    compiler: Any = importlib.import_module("numba.core.compiler")  # its annotations are partial
    target: Any = importlib.import_module("numba.core.registry").cpu_target
    flags = compiler.Flags()
    target.options.parse_as_flags(
        flags, {"nopython": True, "fastmath": {"contract"}, "error_model": "numpy"}
    )
    flags.no_compile = True
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.enable_pyobject = False
    flags.nrt = False
    pointer = types.CPointer(types.int64)  # type: ignore[no-untyped-call]
    signature = (pointer, types.int64, types.int64)
    typing, context = target.typing_context, target.target_context
    library = context.codegen().create_library("kernel")
    library._optimize_functions = lambda module: None  # `emit` does that
    result = compiler.compile_extra(
        typing, context, namespace["kernel"], signature, types.int64, flags, {}, library=library
    )
    module = library._final_module.clone()
    for other in library._linking_libraries:
        module.link_in(other._get_module_for_linking(), preserve=True)
    return module, result.fndesc.llvm_func_name


def emit(module: Any, symbol: str, kernel: bool = True) -> bytes:
    """Optimise a module whose only public function is `symbol`, and emit its object code.

    The module is changed.  Everything but `symbol` becomes private; in a kernel it is inlined.

    Raises:
      CompileError: the code calls something outside `ALLOWED_SYMBOLS`.
    """
    machine = target_machine(3 if kernel else 2)
    module.name = symbol
    module.triple, module.data_layout = machine.triple, str(machine.target_data)
    serial = 0
    for value in [*module.functions, *module.global_variables]:
        if value.is_declaration or value.name == symbol:
            continue
        serial += 1
        value.linkage = "internal"
        value.name = f"part{serial}"
        if value.is_function and kernel:
            value.add_function_attribute("alwaysinline")
    tuning = llvm.create_pipeline_tuning_options(speed_level=3)
    tuning.loop_vectorization = tuning.slp_vectorization = True
    builder = llvm.create_pass_builder(machine, tuning)
    passes = builder.getModulePassManager() if kernel else _quick_passes()
    passes.run(module, builder)
    module.verify()
    code = bytes(machine.emit_object(module))
    foreign = sorted(undefined_symbols(code, module) - ALLOWED_SYMBOLS)
    if foreign:
        raise CompileError(f"a kernel needs symbols from outside: {', '.join(foreign)}")
    return code


def _quick_passes() -> Any:
    """Passes that take a twentieth of the time that all of them take."""
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.add_sroa_pass()
    passes.add_new_gvn_pass()
    passes.add_simplify_cfg_pass()
    return passes


def undefined_symbols(code: bytes, module: Any = None) -> set[str]:
    """The symbols that object code needs from outside.

    For formats other than 64-bit ELF the declarations of the module stand in, without the calls
    that LLVM adds while it lowers intrinsics.
    """
    if code[:6] == _ELF:
        return elf_symbols(code)[1]
    functions = module.functions if module is not None else ()
    return {f.name for f in functions if f.is_declaration and not f.name.startswith("llvm.")}


def elf_symbols(code: bytes) -> tuple[set[str], set[str]]:
    """The symbols that a relocatable 64-bit ELF file defines and those it needs.

    Raises:
      CompileError: it is no such file.
    """
    defined: set[str] = set()
    needed: set[str] = set()
    try:
        (kind,) = struct.unpack_from("<H", code, 0x10)
        (sections,) = struct.unpack_from("<Q", code, 0x28)
        size, count = struct.unpack_from("<HH", code, 0x3A)
        if code[:6] != _ELF or kind != 1 or not count:  # ET_REL
            raise CompileError("object code is not a relocatable file")
        for i in range(count):
            _, kind, _, _, at, length, link, _, _, entry = struct.unpack_from(
                "<IIQQQQIIQQ", code, sections + i * size
            )
            if kind != 2:  # SHT_SYMTAB
                continue
            (strings,) = struct.unpack_from("<Q", code, sections + link * size + 0x18)
            for j in range(1, length // entry):
                name, info, _, section = struct.unpack_from("<IBBH", code, at + j * entry)
                start = strings + name
                if name and info & 15 != 4:  # STT_FILE
                    text = code[start : code.index(b"\0", start)].decode()
                    (defined if section else needed).add(text)
    except (struct.error, ValueError) as e:
        raise CompileError("object code is damaged") from e
    return defined, needed


# ---- loading


def load_object(code: bytes, symbol: str) -> int:
    """Load object code into this process and return the address of `symbol`.

    Loading a symbol again returns the first address: one name stands for one content.  Code stays
    for the life of the process, since plans hold bare addresses.

    Raises:
      CompileError: the code does not load or does not hold the symbol.
    """
    global _engine
    with _lock:
        if symbol in _loaded:
            return _loaded[symbol]
        _initialize()
        if _engine is None:  # first: making it opens the process's own symbols to look-ups
            _engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
        _check_loadable(code, symbol)
        try:
            _engine.add_object_file(llvm.ObjectFileRef.from_data(code))
            _engine.finalize_object()
            address = int(_engine.get_function_address(symbol))
        except RuntimeError as e:
            raise CompileError(f"object code of {symbol} does not load") from e
        if not address:
            raise CompileError(f"object code holds no {symbol}")
        _loaded[symbol] = address
        return address


def _check_loadable(code: bytes, symbol: str) -> None:
    """Find what LLVM would end the process for: it has no other way to report it."""
    if llvm.get_object_format() != "ELF" or sys.maxsize < 2**32:
        return
    defined, needed = elf_symbols(code)
    if symbol not in defined:
        raise CompileError(f"object code holds no {symbol}")
    for name in needed:
        if not llvm.address_of_symbol(name):
            raise CompileError(f"object code of {symbol} needs {name}, which is not there")


def _renew_lock() -> None:
    """Give a forked child a lock of its own: the parent's may be held by a thread it lacks."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
