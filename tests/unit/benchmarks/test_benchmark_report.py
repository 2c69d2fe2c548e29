"""What is told of measurements: goals, ratios, tables, and the page that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import document, report
from benchmarks.accounting import ModelLog, busy_seconds, minus
from benchmarks.figures import Figure, Result, Table
from benchmarks.measuring import merged, read, write
from benchmarks.rows import ROWS
from benchmarks.runs import Effort


def kept(**rows: Any) -> dict[str, Any]:
    about = {"processor": "P", "cores": 2, "memory_gb": 4, "system": "Linux", "python": "3.11"}
    about |= {"versions": {"celery": "5"}, "commit": "abc", "changed": False}
    about |= {"at": "2026-01-01T10:00:00+00:00", "load": 0.1}
    return {"format": 1, "quick": False, "machine": about, "rows": rows}


def row(*figures: Figure, error: str = "", **result: Any) -> dict[str, Any]:
    about = {"title": "a job", "old": "9 s", "seconds": 1, "load": 0.2, "error": error}
    return {**about, **Result(figures, **result).to_json()}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3, "3"),
        (0.12345, "0.123"),
        (1.2345, "1.23"),
        (12.345, "12.3"),
        (8192, "8,192"),
        (1234.5, "1,234"),
        (0.00012, "0.0001"),
        (0.0000123, "1.2e-05"),
        ("words", "words"),
    ],
)
def test_numbers_are_short(value: float | str, text: str) -> None:
    assert report.number(value) == text


def test_the_median_is_held_against_the_goal() -> None:
    assert Figure("wall", "s", (1.0, 9.0, 2.0), 2.0).reached is True
    assert Figure("wall", "s", (1.0, 9.0, 2.1), 2.0).reached is False
    assert Figure("rate", "1/s", (140.0, 160.0, 150.0), 150.0, at_least=True).reached is True
    assert Figure("rate", "1/s", (140.0, 160.0, 149.0), 150.0, at_least=True).reached is False
    assert Figure("wall", "s", (1.0,)).reached is None


def test_goals_are_told_as_reached_or_missed() -> None:
    fast, slow = Figure("wall", "s", 5 * (0.5,), 1.0), Figure("worker CPU", "s", (3.0, 3.0), 2.0)
    few = Figure("rate", "1/s", 5 * (100.0,), 150.0, at_least=True)
    run = kept(one=row(fast, slow, Figure("other", "s", (1.0,))), two=row(few), bad=row(error="E"))
    lines = report.goals(run).splitlines()
    assert lines[2] == "| a job | wall | 9 s | ≤ 1 s | 0.5 s | reached |"
    assert lines[3] == "| a job | worker CPU | 9 s | ≤ 2 s | 3 s (2 runs) | **missed**, 1.5 of it |"
    assert lines[4] == "| a job | rate | 9 s | ≥ 150 1/s | 100 1/s | **missed**, 0.667 of it |"
    assert lines[5] == "| a job |  | 9 s |  |  | failed: E |"
    assert report.missed(run) == ["bad: E", "one: worker CPU", "two: rate"]
    assert not report.missed(kept(one=row(fast)))


def test_slow_runs_are_fewer() -> None:
    assert list(Effort().runs()) == [0, 1, 2, 3, 4]
    assert list(Effort().runs(3)) == [0, 1, 2]
    assert list(Effort(quick=True).runs(3)) == [0, 1]
    assert list(Effort().runs(budget_s=-1.0)) == [0]


def test_ratios_to_an_older_run() -> None:
    old = kept(one=row(Figure("wall", "s", (2.0,))), gone=row(Figure("wall", "s", (1.0,))))
    new = kept(one=row(Figure("wall", "s", (0.5,)), Figure("new", "s", (1.0,))), two=row())
    assert report.compared(new, old).splitlines()[2:] == ["| one | wall, s | 2 | 0.5 | 0.25 |"]


def test_costs_of_jobs_are_in_tables() -> None:
    figures = [Figure("wall", "s", (1.0,)), Figure("CPU of child", "s", (0.7,))]
    facts = {"stages_s": {"split": 0.3, "upload": 0.2, "download": 0.1}, "bytes": {"broker": 9000}}
    cpu, _peaks, stages, moved = report.jobs(kept(one=row(*figures, facts=facts)))
    assert "| a job | 1 |  | 0.7 |" in cpu
    assert "| job | download | upload | split | model server |" in stages
    assert "| a job | 0.1 | 0.2 | 0.3 |  |" in stages
    assert "| a job | 9 | 0 | 0 |" in moved


def test_cases_of_a_row_are_jobs_of_their_own() -> None:
    figures = [Figure("wall, a", "s", (1.0,)), Figure("wall, b", "s", (2.0,))]
    facts = {"cases": {case: {"stages_s": {}, "bytes": {}} for case in "ab"}}
    cpu, *_ = report.jobs(kept(one=row(*figures, facts=facts)))
    assert "| a job, a | 1 |" in cpu
    assert "| a job, b | 2 |" in cpu


def test_overlapping_runs_of_the_model_count_once(tmp_path: Path) -> None:
    assert busy_seconds([(1.0, 3.0, 8), (2.0, 4.0, 8), (6.0, 7.0, 1)]) == 4.0
    assert busy_seconds([(1.0, 9.0, 8), (2.0, 3.0, 1), (4.0, 5.0, 1)]) == 8.0
    assert busy_seconds([]) == 0
    log = tmp_path / "log"
    log.write_text("time=2026-01-01 10:00:00,000 level=INFO event=run model=M items=1 seconds=9\n")
    since = ModelLog(log)
    line = "time=2026-01-01 10:00:05,250 level=INFO event=run model=M version=1 requests=2"
    with log.open("a") as more:
        more.write(f"other words\n{line} items=8 seconds=0.2500\n")
    ((begin, end, items),) = since.runs()
    assert (end - begin, items) == (pytest.approx(0.25), 8)
    assert since.runs() == []


def test_differences_count_new_roles_from_zero() -> None:
    assert minus({"a": 3.0, "b": 1.0}, {"a": 1.0}) == {"a": 2.0, "b": 1.0}


def test_rows_measured_again_take_their_places(tmp_path: Path) -> None:
    first, second = list(ROWS)[:2]
    old = kept(**{second: {"load": 1}, first: {"load": 1}})
    both = merged(kept(**{second: {"load": 2}}), old)
    assert list(both["rows"].items()) == [(first, {"load": 1}), (second, {"load": 2})]
    write(both, tmp_path / "run.json")
    assert read(tmp_path / "run.json") == both
    (tmp_path / "run.json").write_text('{"format": 0}')
    with pytest.raises(ValueError, match="another format"):
        read(tmp_path / "run.json")


def test_raw_runs_are_kept_with_four_digits() -> None:
    figure = Figure("wall", "s", (1.23456789, 2.0, 0.000123456), 2.0)
    assert figure.to_json() == {
        **{"name": "wall", "unit": "s", "median": 1.235, "values": [1.235, 2.0, 0.0001235]},
        **{"goal": 2.0, "at_least": False, "reached": True},
    }


def test_rows_of_quick_and_other_runs_are_named() -> None:
    told = report.conditions(kept(one=row()))
    assert "commit" not in told.replace("Commit abc", "")
    assert "Quick" not in told
    told = report.conditions(kept(one=row(), two={**row(), "quick": True, "commit": "def"}))
    assert "Some rows are of commit def." in told
    assert "no measurements: two." in told


def test_tables_stand_between_their_marks() -> None:
    run = kept(links=row(tables=(Table("t", ("a", "b"), ((1, 0.5),)),)))
    page = "before\n<!-- bench:links -->\nold\n<!-- /bench:links -->\nafter\n"
    filled = document.filled(page, run)
    assert filled.startswith("before\n<!-- bench:links -->\n\n| a | b |\n|---|---|\n| 1 | 0.5 |\n")
    assert filled.endswith("\n<!-- /bench:links -->\nafter\n")
    assert document.filled(filled, run) == filled
    with pytest.raises(KeyError, match="nonsense"):
        document.filled(page.replace("links", "nonsense"), run)


def test_the_page_holds_what_was_measured() -> None:
    """`python -m benchmarks.document` writes the tables anew."""
    page = document.PAGE.read_text(encoding="utf-8")
    run = read(document.RESULTS)
    assert document.filled(page, run) == page
    for name in document.parts(run):
        assert f"<!-- bench:{name} -->" in page
    assert document.RESULTS.stat().st_size < 200_000


def test_the_kept_rows_are_those_that_there_are() -> None:
    """Rows that were not measured are named on the page."""
    run, page = read(document.RESULTS), document.PAGE.read_text(encoding="utf-8")
    assert list(run["rows"]) == [name for name in ROWS if name in run["rows"]]
    missing = ", ".join(name for name in ROWS if name not in run["rows"])
    assert (f"Not measured: {missing}." in page) == bool(missing)
    for name, one in run["rows"].items():
        assert not one["error"], name
        assert (one["title"], one["old"]) == (ROWS[name].title, ROWS[name].old)
