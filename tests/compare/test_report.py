"""Results as data, as text, as a report, and as an exit status."""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from staticgraph.cli import main
from staticgraph.compare import (
    QUICK,
    Comparison,
    FormResult,
    PairResult,
    Settings,
    break_even,
    command,
    plots,
    report,
    table,
)
from staticgraph.compare.cold import measure as measure_cold
from staticgraph.compare.pairs import chosen
from staticgraph.errors import ArgumentError

measure_module = importlib.import_module("staticgraph.compare.measure")


def form(name: str, step_s: float, **more: Any) -> FormResult:
    given: dict[str, Any] = {"difference": 0.0, "ops": 30.0, "allocated": 1000.0, **more}
    return FormResult(name, name in ("static", "unrolled"), step_s=step_s, low_s=step_s,
                      high_s=step_s, **given)  # fmt: skip


def comparison(**more: Any) -> Comparison:
    compiled = {"build_s": 0.01, "compile_s": 0.09, "cached_s": 0.01, "kernels": 2.0,
                "calls": 1.0, "executables": 1, "plans": 3}  # fmt: skip
    forms = (
        form("numpy", 2e-4), form("dynamic", 5e-4),
        form("static", 1e-4, **{"difference": 2e-7, **compiled, **more}),
        form("unrolled", 5e-5, **compiled), form("torch", 9e-5),
    )  # fmt: skip
    pair = PairResult(
        "elman_rnn", "a title", "a place", "control flow", True, True, 50, 1e-5, forms
    )
    return Comparison((pair,), {"cores": "2"}, 0.25)


# ---------------------------------------------------------------- data
def test_results_survive_as_json() -> None:
    have = comparison()
    assert Comparison.from_json(have.to_json()) == have
    data = json.loads(have.to_json())
    data["format"] = 0
    with pytest.raises(ArgumentError, match="another version"):
        Comparison.from_json(json.dumps(data))


def test_compiling_pays_from_the_step_where_the_lines_cross() -> None:
    (pair,) = comparison().pairs
    assert pair.break_even() == 250  # 0.1 s at 0.4 ms a step
    assert pair.break_even(cached=True) == 50
    assert pair.break_even("static", "numpy") == 1000
    assert pair.break_even("static", "torch") is None
    assert break_even(0.0, 1.0, 2.0) == 1


def test_losses_that_differ_are_told() -> None:
    good, bad = comparison(), comparison(difference=1e-3)
    undefined = comparison(difference=float("nan"))
    assert good.agrees and not bad.agrees and not undefined.agrees
    assert table.verdict(good) == "all losses agree, over 50 steps of 1 program"
    assert table.verdict(bad) == "losses DIFFER: elman_rnn (static: 1.0e-03, at most 1e-05)"
    assert "1e-03 !" in table.text(bad)


# ---------------------------------------------------------------- text
def test_the_table_is_aligned() -> None:
    lines = table.text(comparison()).splitlines()
    assert lines[0] == "CONTROL FLOW"
    head = next(line for line in lines if " ops " in line)
    rows = lines[lines.index(head) + 2 :][:5]
    assert [r.split()[0] for r in rows] == ["numpy", "dynamic", "static", "unrolled", "torch"]
    end = head.index(" ops") + 4
    assert all(r[:end].endswith(" 30") for r in rows)
    assert [r.split()[-1] for r in rows] == ["1,000", "250", "-", "-", "never"]
    assert "  static: 1 compilation, 3 bindings to sizes" in lines


@pytest.mark.parametrize("width", [200, 80, 60, 30])
def test_a_narrow_terminal_has_fewer_columns(width: int) -> None:
    lines = table.text(comparison(), width).splitlines()
    head = lines[1].split()
    rows = lines[3:8]
    assert [r.split()[0] for r in rows] == ["numpy", "dynamic", "static", "unrolled", "torch"]
    told = " ".join(" ".join(lines).split())
    gone = [t for t in table.FIRST_TO_GO if t.split()[0] not in head]
    assert gone == list(table.FIRST_TO_GO[: len(gone)])  # in that order, and no more than it takes
    told = told.partition("left out, as the terminal is narrow: ")[2]
    assert all(title in told for title in gone) and bool(told) == bool(gone) == (width < 100)
    assert {"ops", "kernels", "step", "pays"} <= set(head)
    if len(gone) < len(table.FIRST_TO_GO):
        assert max(map(len, lines)) <= width


def test_findings_are_told_of_one_program_and_of_several() -> None:
    one = comparison()
    (pair,) = one.pairs
    never = replace(pair, forms=(*pair.forms[:2], form("static", 6e-4), *pair.forms[3:]))
    several = replace(one, pairs=(pair, never, pair))
    assert table.summary(one)[1:3] == [
        "The static form has the shorter step in 1 of 1 program: 5.0 times as fast as "
        "define-by-run.",
        "Step from which compiling has paid, with nothing cached: 250.",
    ]
    assert table.summary(several)[1:3] == [
        "The static form has the shorter step in 2 of 3 programs: 0.8 to 5.0 (median: 5.0) times "
        "as fast as define-by-run.",
        "Step from which compiling has paid, with nothing cached: 250 to never (median: 250).",
    ]


def test_a_busy_machine_is_told_of() -> None:
    for load, told in [("0.3", False), ("1.4", True)]:
        found = replace(comparison(), machine={"cores": "2", "load": load})
        assert any("other work to do (load 1.4" in s for s in table.summary(found)) == told


def test_the_report_is_written_in_both_forms(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    names = {p.name for p in report.write(comparison(), tmp_path)}
    assert names == {p.name for p in tmp_path.iterdir()}
    assert {"report.md", "report.html", "results.json", "break_even.svg", "loops.png"} <= names
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| static | 2e-07 | 30 | 2 | 1 | 1.00 kB | - | 100 µs | 100 ms | 20.0 ms | - |" in text
    for line in text.splitlines():
        if line.startswith("!["):
            assert (tmp_path / line.rpartition("(")[2].rstrip(")")).exists()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == len(plots.PICTURES) and "<img" not in page and "src=" not in page
    assert page.count("<tr") == 6 and 'class="static"' in page
    assert (tmp_path / "times.png").read_bytes().startswith(b"\x89PNG")


def test_pictures_tell_forms_apart_by_more_than_colour() -> None:
    looks = [k for name, k in plots.LOOKS.items() if name != "unrolled"]
    assert len({k.marker for k in looks}) == len(looks) == len({k.color for k in looks})
    unrolled, static = plots.LOOKS["unrolled"], plots.LOOKS["static"]
    assert unrolled.filled != static.filled and unrolled.line != static.line


def test_without_loops_there_is_no_picture_of_them(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (pair,) = comparison().pairs
    plain = replace(comparison(), pairs=(replace(pair, loop=False, forms=pair.forms[:3]),))
    assert "loops" not in plots.draw(plain, tmp_path)
    assert "(loops.svg)" in report.markdown(comparison())
    assert "(loops.svg)" not in report.markdown(plain)


def test_the_same_results_draw_the_same_pictures(tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(plots, "PICTURES", {"times": plots.draw_times})
    monkeypatch.setattr(plots, "FORMATS", ("svg",))
    one, other = (plots.draw(comparison(), tmp_path, n)["times"]["svg"] for n in "ab")
    assert one.read_bytes() == other.read_bytes()


# ---------------------------------------------------------------- the command
def test_a_quick_comparison_from_the_command_line(
    monkeypatch: Any, tmp_path: Path, capsys: Any
) -> None:
    def kept(found: Comparison, folder: Path) -> list[Path]:
        (folder / "results.json").write_text(found.to_json(), encoding="utf-8")
        return []

    pytest.importorskip("matplotlib")
    monkeypatch.setattr(report, "write", kept)  # what it writes is looked at above
    arguments = ["compare", "--quick", "--no-torch", "--steps", "3", "--only", "polynomial_autog"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "All losses agree, over 3 steps of 1 program" in printed.out
    assert printed.err == ""  # no progress where nobody looks
    found = Comparison.from_json((tmp_path / "results.json").read_text(encoding="utf-8"))
    (pair,) = found.pairs
    assert (pair.name, [f.form for f in pair.forms]) == (
        "polynomial_autograd", ["numpy", "dynamic", "static"],
    )  # fmt: skip
    static = pair.of("static")
    assert static.spent > 0 and static.step_s > 0 and found.import_s > 0
    assert (static.calls, static.executables, pair.of("dynamic").ops) == (1, 1, 34)


def test_losses_that_differ_give_exit_status_one(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(command, "measure", lambda *_: comparison(difference=0.5))
    assert main(["compare"]) == 1
    assert "Losses DIFFER" in capsys.readouterr().out
    monkeypatch.setattr(command, "measure", lambda *_: comparison())
    assert main(["compare"]) == 0


def test_what_is_asked_for_reaches_the_measurement(monkeypatch: Any, capsys: Any) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(command, "measure", lambda *a: seen.append(a) or comparison())
    main(["compare", "--only", "newton", "--steps", "7", "--no-torch"])
    pairs, settings, _, quick = seen[0]
    assert [p.name for p in pairs] == ["newton"]
    assert settings == replace(Settings(), steps=7, torch=False) and not quick
    main(["compare", "--quick"])
    assert seen[1][1] == QUICK and seen[1][3]


def test_misuse(monkeypatch: Any, capsys: Any) -> None:
    assert main(["compare", "--only", "nothing"]) == 2
    assert "there is no pair 'nothing'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["compare", "--only", "newton", "--out", "x"]) == 2
    assert "pip install 'staticgraph[compare]'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["compare", "--steps", "0"])


def test_what_cannot_be_written_is_told_of_before_anything_is_measured(
    monkeypatch: Any, tmp_path: Path, capsys: Any
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(command, "measure", lambda *_: pytest.fail("it was measured"))
    (tmp_path / "file").touch()
    assert main(["compare", "--out", str(tmp_path / "file")]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_an_interrupt_leaves_what_was_measured(
    monkeypatch: Any, tmp_path: Path, capsys: Any
) -> None:
    (first,) = comparison().pairs
    done: list[str] = []

    def one_and_no_more(pair: Any, *_: Any) -> PairResult:
        if done:
            raise KeyboardInterrupt
        done.append(pair.name)
        return replace(first, name=pair.name, group=pair.group)

    monkeypatch.setattr(measure_module, "measure_pair", one_and_no_more)
    monkeypatch.setattr(report, "write", lambda found, folder: done.append(found.left_out) or [])
    pytest.importorskip("matplotlib")
    arguments = ["compare", "--no-torch", "--only", "polynomial_n", "--out", str(tmp_path)]
    assert main(arguments) == 130
    assert done == ["polynomial_numpy", ("polynomial_nn",)]
    printed = capsys.readouterr().out
    assert "polynomial_numpy: a title" in printed and "Interrupted: 1 program left out." in printed
    assert main(arguments) == 130  # before anything was done
    assert "interrupted before the first program was done" in capsys.readouterr().err


def test_a_terminal_without_greek(monkeypatch: Any) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    command.show("1 µs × 2")
    out.seek(0)
    assert out.read() == "1 us ? 2\n"


def test_the_list(capsys: Any) -> None:
    assert main(["compare", "--list"]) == 0
    printed = capsys.readouterr().out
    assert printed == command.listing() + "\n"
    assert all(f"  {p.name} " in printed for p in chosen())


def test_progress_is_one_line_on_a_terminal(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "24")
    progress = command.Progress(3)
    progress(1, "newton: compiling static")
    progress(2, "a: b")
    progress.end()
    first, second, *cleared = capsys.readouterr().err.split("\r")[1:]
    assert first.startswith("[1/3]") and first.endswith("newton: c") and len(first) == 23
    assert len(second) == 23  # so that nothing of the first one is left
    assert second.split()[0] == "[2/3]" and second.rstrip().endswith("a: b")
    assert "".join(cleared).strip(" ") == ""


def test_compiling_is_measured_without_touching_the_environment(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("STATICGRAPH_CACHE", "off")
    (pair,) = chosen(["newton"])
    found = measure_cold(pair, "static", str(tmp_path / "cache"))
    assert set(found) == {"build_s", "compile_s"} and found["build_s"] > 0
    assert os.environ["STATICGRAPH_CACHE"] == "off"
