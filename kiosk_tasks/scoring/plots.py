"""Scores as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from kiosk_tasks.errors import MissingExtra

__all__ = ["Chart", "draw"]

_MOST_NAMED = 10  # more lines than that stay grey and have no entry in the legend
_MARKERS = "os^Dvp"  # of pooled lines
_INCHES = (6.4, 4.8)
_DPI = 150


@dataclass(frozen=True)
class Chart:
    """Lines over the same values.

    x: numbers, or names of scores that stand side by side. y_label: of what goes from 0 to 1.
    lines: a value for each of x, nan where there is none, by name. pooled: of several together.
    """

    x_label: str
    x: tuple[float, ...] | tuple[str, ...]
    y_label: str
    lines: Mapping[str, tuple[float, ...]]
    pooled: Mapping[str, tuple[float, ...]]


def draw(chart: Chart, path: Path, *, title: str) -> None:
    """Draw a chart as PNG, 960 × 720 px.

    Raises MissingExtra without matplotlib, which is an extra and takes a second to import; hence
    not at the top.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as exc:
        raise MissingExtra(
            'there is no picture of the scores: run `pip install "kiosk-tasks[evaluate]"` for it.'
        ) from exc
    figure = Figure(_INCHES, _DPI, layout="constrained")
    axes = FigureCanvasAgg(figure).figure.subplots()
    joined = "" if isinstance(chart.x[0], str) else "-"
    named = len(chart.lines) <= _MOST_NAMED
    for name, values in chart.lines.items():
        (line,) = axes.plot(chart.x, values, f"o{joined}", linewidth=1, markersize=4)
        line.set(label=name) if named else line.set(color="0.75")
    if len(chart.lines) > 1:
        for (name, values), marker in zip(chart.pooled.items(), cycle(_MARKERS), strict=False):
            axes.plot(
                chart.x, values, f"{marker}k{joined}", linewidth=2.5, markersize=6, label=name
            )
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label, ylim=(-0.02, 1.02), title=title)
    axes.grid(visible=True, color="0.9")
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, metadata={"Software": None})
