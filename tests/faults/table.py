"""The table of what was broken and what came of it."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

__all__ = ["ROWS", "Row", "markdown"]


@dataclass(frozen=True)
class Row:
    """One scenario.

    faults: how many were injected.
    lost: jobs that never ended. twice: jobs with two visible effects. reruns: runs beyond the
    first of each job, which nobody sees.
    recovered_s: from the last fault until every job had ended, s.
    """

    fault: str
    what: str
    jobs: int
    faults: int
    done: int
    failed: int
    lost: int
    twice: int
    reruns: int
    recovered_s: float


ROWS: list[Row] = []
"""The rows of this run, in the order in which the scenarios ended."""

_HEADINGS = {
    "fault": "#",
    "what": "fault",
    "faults": "faults injected",
    "reruns": "re-runs",
    "recovered_s": "seconds to recover",
}


def markdown(rows: list[Row]) -> str:
    """Return the rows as a Markdown table, its columns aligned for a reader of plain text."""
    names = [_HEADINGS.get(field.name, field.name) for field in fields(Row)]
    cells = [names, *([_text(value) for value in astuple(row)] for row in _in_order(rows))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * width if i < 2 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines = [cells[0], rule, *cells[1:]]
    return "\n".join(f"| {' | '.join(_padded(line, widths))} |" for line in lines)


def _padded(line: list[str], widths: list[int]) -> list[str]:
    left = [cell.ljust(width) for cell, width in zip(line[:2], widths, strict=False)]
    return left + [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]


def _in_order(rows: list[Row]) -> list[Row]:
    def number(row: Row) -> int:
        digits = "".join(letter for letter in row.fault if letter.isdigit())
        return int(digits) if digits else 10_000

    return sorted(rows, key=number)


def _text(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)
