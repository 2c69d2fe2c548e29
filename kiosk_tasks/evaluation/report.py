"""What an evaluation found, and the files that say so."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kiosk_tasks.scoring.plots import Chart

__all__ = ["ALL", "Figures", "Report", "write_report"]

ALL = "all"
"""Name of the row that pools all images, or what the names of such rows begin with."""

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Report:
    """What came out.

    rows: figures by image; None where there is nothing to judge by.
    pooled: figures of all images together, under `ALL`; where images have parts, of each part.
    shown: heading in the printed table of each figure that is in it.
    problems: a sentence for each image that could not be scored.
    """

    rows: Mapping[str, Figures]
    pooled: Mapping[str, Figures]
    shown: Mapping[str, str]
    chart: Chart
    problems: Sequence[str] = field(default=())


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write `scores.csv` and `scores.json`; return them."""
    folder.mkdir(parents=True, exist_ok=True)
    table, record = folder / "scores.csv", folder / "scores.json"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *next(iter(report.rows.values()))])
        for name, figures in (*report.rows.items(), *report.pooled.items()):
            writer.writerow([name, *("" if v is None else f"{v:.6g}" for v in figures.values())])
    content = {
        "images": report.rows,
        "pooled": report.pooled,
        "curves": {
            "meaning": [report.chart.x_label, report.chart.y_label],
            "x": report.chart.x,
            "images": _plain(report.chart.lines),
            "pooled": _plain(report.chart.pooled),
        },
        "problems": list(report.problems),
    }
    record.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [table, record]


def _plain(lines: Mapping[str, Sequence[float]]) -> dict[str, list[float | None]]:
    return {
        name: [None if math.isnan(value) else value for value in values]
        for name, values in lines.items()
    }
