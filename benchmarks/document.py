"""The tables of `docs/performance.md`: `python -m benchmarks.document` writes them anew.

They stand between marks, `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`, and come from the run
that is kept in `benchmarks/results/`.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import prediction, report
from benchmarks.measuring import read
from benchmarks.rows import ROWS

__all__ = ["PAGE", "RESULTS", "fill", "filled", "parts"]

_ROOT = Path(__file__).resolve().parents[1]
PAGE = _ROOT / "docs" / "performance.md"
RESULTS = _ROOT / "benchmarks" / "results" / "performance.json"
_MARK = re.compile(r"(<!-- bench:(\S+) -->\n).*?(<!-- /bench:\2 -->)", re.DOTALL)


def parts(kept: report.Kept) -> dict[str, str]:
    """Return the texts by the name of their marks."""
    cpu, peaks, stages, moved = report.jobs(kept)
    missing = [name for name in ROWS if name not in kept["rows"]]
    end = f" Not measured: {', '.join(missing)}." if missing else ""
    return {
        "conditions": report.conditions(kept) + end,
        "goals": report.goals(kept),
        "cpu": cpu,
        "memory": peaks,
        "stages": stages,
        "bytes": moved,
        **dict(report.others(kept)),
        **dict(report.said(kept)),
        **prediction.parts(kept),
    }


def filled(page: str, kept: report.Kept) -> str:
    """Return the page with what was measured between its marks. Raises KeyError for an unknown one.

    What was not measured is said so.
    """
    known = parts(kept)
    names = {*known, "links", "sizes", "ledger", *prediction.NAMES}

    def text(mark: re.Match[str]) -> str:
        name = mark[2]
        if name not in names:
            raise KeyError(f"there is no table {name!r}")
        return f"{mark[1]}\n{known.get(name, 'Not measured in this run.')}\n\n{mark[3]}"

    return _MARK.sub(text, page)


def fill() -> None:
    """Write the tables of the kept run into the page."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(filled(page, read(RESULTS)), encoding="utf-8")


if __name__ == "__main__":
    fill()
