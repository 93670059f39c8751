"""Layout and rendering of DOT text by Graphviz.

The ``dot`` program is used where it is on the path, else the Graphviz inside the ``pygraphviz``
wheel, so that no system package is needed.  Both run in a process of their own with a time limit:
neither a crash nor an endless layout reaches the caller.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

from staticgraph.errors import RunError
from staticgraph.ir.files import write_atomically

SECONDS = 120.0  # a picture that takes longer is better folded
DPI = 110
LARGEST = 90  # inches a side in a bitmap; vector formats have no limit

_IN_WHEEL = """
import sys, pygraphviz
text = sys.stdin.buffer.read().decode("utf-8")
out = pygraphviz.AGraph(string=text).draw(format=sys.argv[1], prog="dot")
sys.stdout.buffer.write(out)
"""


def render(dot: str, format: str) -> bytes:
    """Lay out and render DOT text as ``"svg"`` or ``"png"``.

    Raises:
      RunError: there is no Graphviz, it failed, or it took too long.
    """
    if format == "png":
        dot = dot.replace("{", f'{{\n\tgraph [dpi={DPI} size="{LARGEST},{LARGEST}"]', 1)
    try:
        done = subprocess.run(
            _command(format), input=dot.encode(), capture_output=True, timeout=SECONDS, check=False,
            env=_environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RunError(
            f"the picture could not be laid out within {SECONDS:g} seconds",
            hint='fold more scopes with depth="auto" or a smaller depth, or draw one scope',
        ) from None
    if done.returncode or not done.stdout:
        lines = [
            x for x in done.stderr.decode("utf-8", "replace").splitlines() if "ontconfig" not in x
        ]
        raise RunError(
            f"graphviz could not draw the picture: {'; '.join(lines[-3:]) or 'no output'}"
        )
    return done.stdout


def _command(format: str) -> list[str]:
    dot = shutil.which("dot")
    if dot:
        return [dot, f"-T{format}"]
    if importlib.util.find_spec("pygraphviz") is None:
        raise RunError(
            "a picture cannot be rendered: there is no Graphviz",
            hint="install the package pygraphviz, or put a `dot` program on the path",
        )
    return [sys.executable, "-c", _IN_WHEEL, format]


# ---------------------------------------------------------------- fonts
_FONT_PLACES = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts")


def _environment() -> Mapping[str, str]:
    """The environment of the renderer; where a system has no fonts, matplotlib's are lent to it."""
    if os.name != "posix" or sys.platform == "darwin" or "FONTCONFIG_FILE" in os.environ:
        return os.environ
    if any(any(Path(p).expanduser().rglob("*.[to]tf")) for p in _FONT_PLACES):
        return os.environ
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or not spec.submodule_search_locations:
        return os.environ
    fonts = Path(spec.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"
    config = Path(tempfile.gettempdir()) / f"staticgraph-fonts-{os.getuid()}.conf"
    if not config.exists():
        write_atomically(
            config,
            f'<?xml version="1.0"?><fontconfig><dir>{escape(str(fonts))}</dir>'
            f'<cachedir prefix="xdg">fontconfig</cachedir></fontconfig>'.encode(),
        )
    return {**os.environ, "FONTCONFIG_FILE": str(config)}


# ---------------------------------------------------------------- svg
_TITLED = re.compile(
    r'<title>[^<]*</title>\n<g id="a_[^"]*"><a xlink:title="([^"]*)">(.*?)</a>\n</g>', re.DOTALL
)
_TITLE = re.compile(r'(<g id="(?:edge|graph)\d+" class="\w+"[^>]*>\n)<title>[^<]*</title>')


def with_titles(svg: str) -> str:
    """Make tooltips ``<title>`` elements, which every viewer shows on hovering."""
    svg = svg[svg.index("<svg") :] if "<svg" in svg else svg
    svg = _TITLED.sub(lambda m: f"<title>{m[1].strip()}</title>\n{m[2]}", svg)
    return _TITLE.sub(r"\1", svg)


__all__ = ["render", "with_titles"]
