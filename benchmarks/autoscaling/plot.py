"""Pictures of two days: what was open, and how many workers each rule had."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from benchmarks.autoscaling.cluster import Outcome

__all__ = ["draw"]

_COLOURS = {"list length": "#b35806", "old ratio": "#998ec3", "CPU": "#7f7f7f", "ours": "#1b7837"}


def draw(
    path: Path, title: str, outcomes: Mapping[str, Outcome], hours: tuple[float, float]
) -> None:
    """Write a PNG: the predicted work that is open under ours above, workers of each rule below.

    hours: from when to when of the day.
    """
    figure = Figure(figsize=(9, 5.2), dpi=110, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    for name, outcome in outcomes.items():
        times, still_open = _open_seconds(outcome)
        colour = _COLOURS[name]
        above.step(times / 3600, still_open, where="post", color=colour, label=name, lw=1.2)
        times, pods = _pods(outcome)
        below.step(times / 3600, pods, where="post", color=colour, label=name, lw=1.4)
    above.set_ylabel("open work, s")
    above.set_yscale("symlog", linthresh=10)
    above.set_title(title, loc="left", fontsize=11)
    below.set_ylabel("worker pods, all queues")
    below.set_xlabel("hour of the day")
    below.set_xlim(*hours)
    below.set_ylim(bottom=0)
    below.legend(frameon=False, ncols=4, loc="upper left", bbox_to_anchor=(0, 1.14))
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def _open_seconds(outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
    """Return when the true seconds of open jobs change, and to what."""
    steps = [(0.0, 0.0)]
    for job in outcome.jobs:
        seconds = job.spec.cpu_s + job.spec.model_s
        steps.append((job.arrived_s, seconds))
        if job.ended_s is not None:
            steps.append((job.ended_s, -seconds))
    return _summed(steps)


def _pods(outcome: Outcome) -> tuple[np.ndarray, np.ndarray]:
    """Return when the number of worker pods changes, and to what."""
    steps = []
    for workers in outcome.workers.values():
        before = 0
        for at_s, count in workers.deployment.timeline:
            steps.append((at_s, float(count - before)))
            before = count
    return _summed(steps)


def _summed(steps: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    times, changes = np.array(sorted(steps)).T
    return times, np.cumsum(changes)
