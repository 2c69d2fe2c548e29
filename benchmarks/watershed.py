"""Deep watershed of a crowded plane, against scikit-image's functions put together plainly.

`python -m benchmarks.watershed` draws the heads of 2048 × 2048, 512 × 512 and 64 × 64 px (some
2,000 cells, 130 and 3), labels them on one thread, and prints medians in milliseconds; labels have
to be equal. "plain" with the parameters "nuclear" is what the published toolbox does: h-maxima over
a disk of radius 10 px. Goals are of CPU time, which other work on the machine lengthens least: 450,
800 and 1000 ms at 2048 × 2048 px for the parameters of the bundled model, "nuclear" and "mesmer";
18 ms at 512 × 512 px, 1 ms at 64 × 64 px for those of the bundled model. Exit status 1 if one is
missed. `--side` measures one size.

`--real ARCHIVE` compares labels alone, on real images: the archive has them as `img_<id>`, the
bundled model (TensorFlow is needed) makes heads of them, and each set of parameters labels those,
once as they are and once rounded to 16 bits, where many pixels have one value.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from kiosk_tasks.imaging.labels import WatershedParams, deep_watershed
from kiosk_tasks.segmenting.labelling import NUCLEI
from tests.plain_watershed import draw_heads, plain_deep_watershed

MODEL = Path("kiosk_tasks/serving/models/NuclearSegmentation/1")
PARAMS = {
    "bundled model": NUCLEI,
    "nuclear": WatershedParams.nuclear(),
    "mesmer": WatershedParams.mesmer("whole-cell"),
}
GOALS_MS = {
    2048: {"bundled model": 450, "nuclear": 800, "mesmer": 1000},
    512: {"bundled model": 18},
    64: {"bundled model": 1},
}
"""Median CPU time, by side and parameters."""


def main() -> int:
    """Measure and print the tables, or compare on real images."""
    parser = argparse.ArgumentParser(description="Deep watershed against the plain composition.")
    parser.add_argument("--side", type=int, help="rows and columns, px; all three sizes if left")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each row, at least 5")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=Path, help="archive of img_<id>: compare labels, no times")
    options = parser.parse_args()
    with threadpool_limits(1):
        if options.real:
            return compare(options.real)
        sides = (options.side,) if options.side else tuple(GOALS_MS)
        return int(any([_table(side, options.seed, max(options.runs, 5)) for side in sides]))


def compare(archive: Path) -> int:
    """Label real images both ways, print how many are equal; 1 if any is not."""
    equal, cells, count = dict.fromkeys(PARAMS, 0), dict.fromkeys(PARAMS, 0), 0
    for heads in _real_heads(archive):
        for inner, outer, foreground in (heads, heads.astype(np.float16).astype(np.float32)):
            count += 1
            for name, params in PARAMS.items():
                maxima = (inner + outer) / 2 if params.flood == "maxima" else inner
                interior = outer if name == "nuclear" else foreground
                found = deep_watershed(maxima, interior, params=params)
                plain = plain_deep_watershed(maxima, interior, params=params)
                equal[name] += np.array_equal(found, plain)
                cells[name] += int(found.max())
    print(f"{count // 2} images, heads of 32 bits and rounded to 16 bits")
    for name, hits in equal.items():
        print(f"{name:<15}{hits} of {count} equal, {cells[name]} cells")
    return int(any(hits < count for hits in equal.values()) or not count)


def _real_heads(archive: Path) -> Iterator[NDArray[np.float32]]:
    """Yield inner distance, outer distance and foreground, (3, Y, X), of each image."""
    # Imported here: TensorFlow is there only where somebody compares.
    from models.nuclear.predict import Segmenter

    model = Segmenter(Path(__file__).resolve().parents[1] / MODEL)
    with np.load(archive) as images:
        for name in images.files:
            if name.startswith("img_"):
                heads = model.heads(images[name])
                yield np.stack([heads.inner, heads.outer, heads.foreground])


def _table(side: int, seed: int, runs: int) -> bool:
    """Measure one size; tell whether a goal is missed."""
    inner, outer, foreground, count = draw_heads(side, seed=seed)
    print(f"{side} × {side} px, {count} cells, seed {seed}; {runs} runs")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; one thread; median ms (fastest)")
    print(f"{'parameters':<15}{'cells':>6}{'wall':>18}{'CPU':>18}{'plain wall':>20}{'CPU':>20}")
    missed = False
    for name, params in PARAMS.items():
        maxima = 0.5 * (inner + outer) if params.flood == "maxima" else inner
        found, *ours = _measure(deep_watershed, maxima, foreground, params, runs)
        plain, *theirs = _measure(plain_deep_watershed, maxima, foreground, params, runs)
        np.testing.assert_array_equal(found, plain)
        times = "".join(f"{statistics.median(t):>10.2f} ({min(t):.2f})" for t in (*ours, *theirs))
        print(f"{name:<15}{found.max():>6}{times}", flush=True)
        missed |= statistics.median(ours[1]) > GOALS_MS.get(side, {}).get(name, float("inf"))
    print("labels equal in every row")
    return missed


def _measure(
    method: Callable[..., Any], maxima: Any, interior: Any, params: WatershedParams, runs: int
) -> tuple[Any, list[float], list[float]]:
    """Return the labels, and the wall and CPU milliseconds of each run."""
    walls, cpus, labels = [], [], method(maxima, interior, params=params)
    for _run in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        labels = method(maxima, interior, params=params)
        walls.append(1000 * (time.perf_counter() - wall))
        cpus.append(1000 * (time.process_time() - cpu))
    return labels, walls, cpus


if __name__ == "__main__":
    sys.exit(main())
