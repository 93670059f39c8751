"""The pipeline: stopping after any stage, observing, and verifying after every pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from staticgraph.errors import VerificationError
from staticgraph.ir.function import Function
from staticgraph.ir.program import Program
from staticgraph.passes import pipeline
from staticgraph.passes.fusion import Fused
from staticgraph.passes.pipeline import STAGES, run_pipeline
from tests.passes.programs import function

F = function(
    """%x: f32[n, 4] feed, %b: f32[4] variable | sizes n = size(%x, 0)
    %unused: f32[n, 4] = Neg %x
    %y: f32[n, 4] = Add %x, %b
    %z: f32[n, 4] = Softmax %y
    return %z; state b <- %b"""
)


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("stage", STAGES)
def test_any_stage_can_be_the_last(stage: str, optimize: bool) -> None:
    out = run_pipeline(F, optimize, stop_after=stage, verify=True)
    at = STAGES.index(stage)
    assert STAGES.index(out.stage) <= at
    assert (out.fused is not None) == (at >= STAGES.index("fuse"))
    assert (out.program is not None) == (stage == "lower")
    assert str(out) == str(out.ir) != ""
    assert ("Neg" in str(out.function)) == (stage == "close")
    assert out.closed is F


def test_the_stage_that_is_asked_for_is_the_last_that_runs() -> None:
    for stage in STAGES:
        assert run_pipeline(F, stop_after=stage).stage == stage


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="no stage 'fusion'; one of close, prune"):
        run_pipeline(F, stop_after="fusion")


def test_every_pass_is_observed_with_what_it_made() -> None:
    seen: list[tuple[str, type]] = []
    out = run_pipeline(F, observe=lambda name, ir, seconds: seen.append((name, type(ir))))
    assert [n for n, _ in seen] == ["close", *(p.name for p in pipeline.OPTIMIZED), "fuse", "lower"]
    assert [t for _, t in seen[-3:]] == [Function, Fused, Program]
    assert set(out.seconds) == {n for n, _ in seen}
    assert all(s >= 0 for s in out.seconds.values())


class _Forgets:
    """A pass that drops the nodes its results need."""

    name = "simplify"

    def __call__(self, f: Function) -> Function:
        return replace(f, nodes=f.nodes[1:])


def test_a_broken_pass_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    passes = tuple(_Forgets() if p.name == "simplify" else p for p in pipeline.OPTIMIZED)
    monkeypatch.setattr(pipeline, "OPTIMIZED", passes)
    with pytest.raises(VerificationError, match=r"after 'simplify': f: .*nothing defines it") as e:
        run_pipeline(F, verify=True)
    assert "> " in str(e.value)


@pytest.mark.parametrize(("value", "on"), [("1", True), ("0", False), ("", False), (None, False)])
def test_the_environment_switches_verification(
    value: str | None, on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is None:
        monkeypatch.delenv(pipeline.VERIFY_VARIABLE)
    else:
        monkeypatch.setenv(pipeline.VERIFY_VARIABLE, value)
    seen: list[str] = []
    monkeypatch.setattr(pipeline, "verify_ir", lambda ir: seen.append(type(ir).__name__))
    run_pipeline(F)
    assert bool(seen) == on
    assert not on or seen[-1] == "Program"
