"""The documentation tells the truth: its pages are generated or run, and their links hold."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from pathlib import Path

import pytest

import staticgraph as tf
from staticgraph.ir import op

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
RUN = ("architecture.md", "data.md", "dynamic.md", "profiling.md", "semantics.md", "recurrent.md")
FENCE = r"```python\n(.*?)```\n\n```text\n(.*?)```"
PROGRAMS = [
    pytest.param(program, printed, id=f"{name}-{i}")
    for name in RUN
    for i, (program, printed) in enumerate(
        re.findall(FENCE, (DOCS / name).read_text(encoding="utf-8"), re.DOTALL)
    )
]


def test_the_pipeline_page_is_what_the_compiler_prints() -> None:
    spec = importlib.util.spec_from_file_location("make_pipeline", DOCS / "make_pipeline.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    have = (DOCS / "pipeline.md").read_text(encoding="utf-8")
    assert module.page() == have, "write it anew with: python docs/make_pipeline.py"


@pytest.mark.parametrize(("program", "printed"), PROGRAMS)
def test_programs_print_what_is_shown(program: str, printed: str) -> None:
    out, before = io.StringIO(), dict(op._REGISTRY)
    try:
        with tf.Graph().as_default(), contextlib.redirect_stdout(out):
            exec(compile(program, "example.py", "exec"), {"__name__": "example"})
    finally:  # a page may define an op
        op._REGISTRY.clear()
        op._REGISTRY.update(before)
    lines = [line.rstrip() for line in out.getvalue().rstrip().splitlines()]
    assert lines == [line.rstrip() for line in printed.rstrip().splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    missing = [p.name for p in PAGES if p.name != "README.md" and f"({p.name})" not in index]
    assert not missing
