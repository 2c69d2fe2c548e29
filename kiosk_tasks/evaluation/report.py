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
"""Name of the row that pools all images."""

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Report:
    """What came out.

    rows: figures by image, and for all under `ALL`; None where there is nothing to judge by.
    shown: heading in the printed table of each figure that is in it.
    problems: a sentence for each image that could not be scored.
    """

    rows: Mapping[str, Figures]
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
        for name, figures in report.rows.items():
            writer.writerow([name, *("" if v is None else f"{v:.6g}" for v in figures.values())])
    content = {
        "images": {name: figures for name, figures in report.rows.items() if name != ALL},
        "all": report.rows[ALL],
        "curves": {
            "x": {"meaning": report.chart.x_label, "values": report.chart.x},
            **{name: [_plain(y) for y in line] for name, line in report.chart.lines.items()},
        },
        "problems": list(report.problems),
    }
    record.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [table, record]


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
