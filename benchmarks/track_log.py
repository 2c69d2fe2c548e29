"""The job type `track` with a log: when each frame was begun, its CPU seconds and memory.

It is installed as a plugin in three kinds: `track_logged`, and two that differ in what they take
for a small movie, `track_here` (all of them) and `track_apart` (none).
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

__all__ = ["Measured", "ends", "install_plugins", "read_log"]

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = '''
"""The job type track, with a line in a file whenever it asks whether to go on: at each frame."""

import os
import time
from dataclasses import replace

import psutil

from kiosk_tasks.jobs import track

KIND = "{kind}"
LIMIT = {limit}


class Logged:
    def __init__(self, report, stage):
        self._report, self._stage = report, stage
        self._process = psutil.Process()

    def __getattr__(self, name):
        return getattr(self._report, name)

    def check(self):
        rss = self._process.memory_info().rss
        with open(os.environ["TRACK_LOG"], "a") as log:
            log.write(f"{{self._stage}} {{time.time()}} {{time.process_time()}} {{rss}}\\n")
        self._report.check()


def logged(step):
    def run(value, ctx):
        if LIMIT is not None:
            track.SMALL_PIXELS = LIMIT
        return step.run(value, replace(ctx, report=Logged(ctx.report, step.name)))

    return replace(step, run=run)


stages = tuple(map(logged, track.job_type.steps))
job_type = replace(track.job_type, name=f"track_{{KIND}}", aliases=(), stages=stages)
'''
PLUGINS = {"logged": None, "here": 2**40, "apart": 0}


@dataclass(frozen=True)
class Measured:
    """What the logged job has told.

    seconds: by what was done, of each frame. memory: (seconds since the start, MB).
    stages: (seconds since the start, name) of each.
    """

    seconds: dict[str, list[float]]
    memory: list[tuple[float, float]]
    stages: list[tuple[float, str]]


def read_log(log: Path, done: list[tuple[int, float]], batches: int, frames: int) -> Measured:
    """Make times per frame of the times at which the job asked whether to go on."""
    lines = [line.split() for line in log.read_text().splitlines()]
    cpu: dict[str, list[float]] = defaultdict(list)
    began: dict[str, float] = {}
    for stage, when, cpu_s, _rss in lines:
        cpu[stage].append(float(cpu_s))
        began.setdefault(stage, float(when))
    size = -(-frames // batches)
    segmented = [min(s for n, s in done if n >= batch) for batch in range(1, batches + 1)]
    seconds = {
        "cut into batches": _steps(cpu["split"][-batches:], size),
        "segment": _steps(segmented, size),
        "read and measure": _steps(cpu["link_cells"][:frames], 1),
        "write results": _steps(cpu["upload"][:frames], 1),
    }
    start = float(lines[0][1])
    memory = [(float(when) - start, int(rss) / 1e6) for _stage, when, _cpu, rss in lines]
    return Measured(seconds, memory, [(when - start, stage) for stage, when in began.items()])


def _steps(times: Sequence[float], frames: int) -> list[float]:
    return [(b - a) / frames for a, b in pairwise(times) for _frame in range(frames)]


def ends(times: Sequence[float]) -> tuple[Sequence[float], Sequence[float]]:
    """Return the first and the last quarter of some times."""
    quarter = len(times) // 4
    return times[:quarter], times[-quarter:]


def install_plugins(folder: Path) -> None:
    """Make the logged job types an installed package, for this process and the workers."""
    info = folder / "logged_track-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: logged-track\nVersion: 1\n")
    points = ["[kiosk_tasks.job_types]"]
    for kind, limit in PLUGINS.items():
        (folder / f"track_{kind}_job.py").write_text(PLUGIN.format(kind=kind, limit=limit))
        points.append(f"track_{kind} = track_{kind}_job:job_type")
    (info / "entry_points.txt").write_text("\n".join(points) + "\n")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), str(ROOT)])
    sys.path.insert(0, str(folder))
