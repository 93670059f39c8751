"""The implementations that works may have, and what has to be installed for each."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """An implementation.

    Attributes:
      modules: what is imported, apart from the time of building.
      packages: whose versions are recorded.
      cached: it keeps compiled code on disk, so that a first process is unlike a second one.
    """

    name: str
    label: str
    modules: tuple[str, ...]
    packages: tuple[str, ...]
    cached: bool = False
    needs_compiler: bool = False


OURS = "staticgraph"
FLOOR = "floor"
PEERS: dict[str, Peer] = {
    p.name: p
    for p in (
        Peer(OURS, "staticgraph", ("staticgraph",),
             ("staticgraph", "numba", "llvmlite", "scipy", "numpy"), cached=True),
        Peer(FLOOR, "floor", ("numba", "numpy"), ("numba", "numpy")),
        Peer("torch", "torch eager", ("torch",), ("torch",)),
        Peer("torch_layer", "torch.nn layer", ("torch",), ("torch",)),
        Peer("torch_compile", "torch.compile", ("torch",), ("torch",),
             cached=True, needs_compiler=True),
        Peer("jax", "JAX jit", ("jax", "jax.numpy"), ("jax", "jaxlib")),
        Peer("tf1", "TF1 Session", ("tensorflow.compat.v1",), ("tensorflow-cpu",)),
        Peer("pytensor", "PyTensor", ("pytensor", "pytensor.tensor"),
             ("pytensor", "numba"), cached=True),
    )
}  # fmt: skip

_PROBE = """
import importlib.metadata, importlib.util, json, shutil, sys
modules, packages, compiler = json.loads(sys.argv[1])
missing = [m for m in dict.fromkeys(m.partition(".")[0] for m in modules)
           if importlib.util.find_spec(m) is None]
if compiler and not any(map(shutil.which, ("g++", "c++", "clang++"))):
    missing.append("a C++ compiler")
versions = {"python": sys.version.split()[0]}
for p in packages:
    try:
        versions[p] = importlib.metadata.version(p)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps([missing, versions]))
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What an interpreter has for a peer."""

    missing: tuple[str, ...]
    versions: Mapping[str, str]


def probe(peer: Peer, python: str, env: Mapping[str, str] | None = None) -> Found:
    """Look for what a peer needs, without importing it."""
    question = json.dumps([peer.modules, peer.packages, peer.needs_compiler])
    try:
        done = subprocess.run(
            [python, "-c", _PROBE, question], capture_output=True, text=True, check=True, env=env
        )
    except (OSError, subprocess.CalledProcessError) as e:
        return Found((f"an interpreter that runs ({e})",), {})
    missing, versions = json.loads(done.stdout)
    return Found(tuple(missing), versions)


def interpreters(given: list[str]) -> dict[str, str]:
    """Read ``peer=path`` pairs.

    Raises:
      ValueError: a pair has no path, or names no peer.
    """
    out = dict.fromkeys(PEERS, sys.executable)
    for pair in given:
        name, sign, path = pair.partition("=")
        if not sign or name not in PEERS:
            raise ValueError(f"{pair!r} is not PEER=PATH with one of {', '.join(PEERS)}")
        out[name] = path
    return out
