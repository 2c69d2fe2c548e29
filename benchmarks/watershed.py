"""Deep watershed of a crowded plane, against scikit-image's functions put together plainly.

`python -m benchmarks.watershed` draws the heads of 2048 × 2048 px with some 2,000 cells, labels
them on one thread, and prints medians in seconds; labels have to be equal. "plain" with the
parameters "nuclear" is what the published toolbox does: h-maxima over a disk of radius 10 px.
Goal: 2.5 s median for each set of parameters, of CPU time, which other work on the machine does not
lengthen. Exit status 1 if that is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from kiosk_tasks.imaging.labels import WatershedParams, deep_watershed
from tests.plain_watershed import draw_heads, plain_deep_watershed

GOAL_S = 2.5  #: median CPU time
PARAMS = {
    "bundled model": WatershedParams(),
    "nuclear": WatershedParams.nuclear(),
    "mesmer": WatershedParams.mesmer("whole-cell"),
}


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Deep watershed against the plain composition.")
    parser.add_argument("--side", type=int, default=2048, help="rows and columns, px")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each row, at least 5")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    inner, outer, foreground, count = draw_heads(options.side, seed=options.seed)
    runs = max(options.runs, 5)
    print(f"{options.side} × {options.side} px, {count} cells, seed {options.seed}; {runs} runs")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; one thread; median s (fastest)")
    print(f"{'parameters':<15}{'cells':>6}{'wall':>16}{'CPU':>16}{'plain wall':>16}{'CPU':>16}")
    missed = False
    with threadpool_limits(1):
        for name, params in PARAMS.items():
            maxima = 0.5 * (inner + outer) if params.flood == "maxima" else inner
            found, *ours = _measure(deep_watershed, maxima, foreground, params, runs)
            plain, *theirs = _measure(plain_deep_watershed, maxima, foreground, params, runs)
            np.testing.assert_array_equal(found, plain)
            times = "".join(
                f"{statistics.median(t):>9.2f} ({min(t):.2f})" for t in (*ours, *theirs)
            )
            print(f"{name:<15}{found.max():>6}{times}", flush=True)
            missed |= statistics.median(ours[1]) > GOAL_S
    print("labels equal in every row")
    return int(missed)


def _measure(
    method: Callable[..., Any], maxima: Any, interior: Any, params: WatershedParams, runs: int
) -> tuple[Any, list[float], list[float]]:
    """Return the labels, and the wall and CPU seconds of each run."""
    walls, cpus, labels = [], [], None
    for _run in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        labels = method(maxima, interior, params=params)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return labels, walls, cpus


if __name__ == "__main__":
    sys.exit(main())
