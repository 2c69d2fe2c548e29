"""Each postprocessing of `predict` on a crowded plane: `python -m benchmarks.postprocessing`.

Draws the heads of 2048 × 2048 px with some 2,000 cells, as the network of each postprocessing would
give them without an error, labels them on one thread, and prints median seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from threadpoolctl import threadpool_limits

from kiosk_tasks.imaging.boxes import Detections
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.values import Heads, Scale
from kiosk_tasks.segmenting.labelling import POSTPROCESSING, label_cells
from tests.plain_watershed import draw_heads

_MASK = 28  # px; side of a mask of RetinaMask


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Seconds of each postprocessing.")
    parser.add_argument("--side", type=int, default=2048, help="rows and columns, px")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each")
    options = parser.parse_args()
    heads, count = _heads(options.side)
    print(f"{options.side} × {options.side} px, {count} cells; {options.runs} runs, one thread")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; median s (fastest)")
    print(f"{'postprocess':<20}{'cells':>6}{'wall':>16}{'CPU':>16}")
    with threadpool_limits(1):
        for name in POSTPROCESSING:
            walls, cpus, cells = [], [], 0
            for _run in range(options.runs):
                wall, cpu = time.perf_counter(), time.process_time()
                cells = int(label_cells(heads, name).max())
                walls.append(time.perf_counter() - wall)
                cpus.append(time.process_time() - cpu)
            times = "".join(f"{statistics.median(t):>9.2f} ({min(t):.2f})" for t in (walls, cpus))
            print(f"{name:<20}{cells:>6}{times}", flush=True)
    return 0


def _heads(side: int) -> tuple[Heads, int]:
    """Return heads that fit every postprocessing."""
    inner, outer, foreground, count = draw_heads(side, seed=0)
    truth, _ = ndimage.label(foreground > 0.5)
    core = ndimage.binary_erosion(foreground > 0.5)
    classes = [(foreground > 0.5) & ~core, core, foreground <= 0.5]
    planes = {
        "semantic_0": inner[..., np.newaxis],
        "semantic_1": outer[..., np.newaxis],
        "semantic_2": np.stack(classes, axis=-1).astype(np.float32),
    }
    image = Image(np.zeros((side, side), np.uint8), "YX")
    return Heads(planes, Scale(1.0, measured=True), image, _boxes(truth)), count


def _boxes(truth: NDArray[np.int32]) -> Detections:
    """One sure detection of each connected part, with its mask, and a less sure one beside it."""
    found = [box for box in ndimage.find_objects(truth) if box is not None]
    corners = np.array([[y.start, x.start, y.stop, x.stop] for y, x in found], np.float32)
    y, x = np.mgrid[:_MASK, :_MASK] - (_MASK - 1) / 2
    disc = (np.hypot(y, x) < _MASK / 2).astype(np.float32)
    scores = np.full(len(found), 0.9, np.float32)
    return Detections(
        np.concatenate([corners, corners + 1]),
        np.concatenate([scores, scores - 0.1]),
        np.repeat(disc[np.newaxis], 2 * len(found), axis=0),
    )


if __name__ == "__main__":
    sys.exit(main())
