"""How well `mesmer` finds cells of simulated tissue, from file to label image.

`python -m benchmarks.tissue` draws fields of seeds that no training and no tuning has drawn,
segments them by `kiosk run mesmer` (Valkey, worker, model server over gRPC, the bundled model), and
prints F1 at an intersection over union of 0.5 for each. Pictures stay in the folder it names.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from kiosk_tasks.imaging import io
from models.multiplex.tissue import Tissue, draw_tissue
from models.nuclear.scoring import Counts, count_matches

FIRST_SEED = (
    770_000_000  # far from those of training (2026…), of tuning (990…) and of evaluate (880…)
)
SIZE = 512  # px, side of a field: 256 µm
PARTS = ("whole-cell", "nuclear")


def main() -> int:
    """Draw, segment, score, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10, help="fields")
    parser.add_argument("--out", type=Path, help="folder for images and results")
    options = parser.parse_args()
    out = options.out or Path(tempfile.mkdtemp(prefix="tissue-"))
    seeds = range(FIRST_SEED, FIRST_SEED + options.count)
    fields = {seed: draw_tissue(np.random.default_rng(seed), size=SIZE) for seed in seeds}
    files = [_write(field.image, out / f"{seed}.ome.tif") for seed, field in fields.items()]
    command = [sys.executable, "-m", "kiosk_tasks", "run", "mesmer", *map(str, files)]
    command += ["--compartment", "both", "-o", str(out / "results"), "--json"]
    started = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    taken = time.monotonic() - started
    print("| seed | cells | F1@0.5, whole cells | nuclei | F1@0.5, nuclei | s in the worker |")
    print("|---|---|---|---|---|---|")
    total = dict.fromkeys(PARTS, Counts())
    for seed, field in fields.items():
        counts = {part: _score(field, part, out / "results" / f"{seed}") for part in PARTS}
        total = {part: total[part] + counts[part] for part in PARTS}
        record = json.loads((out / "results" / f"{seed}_job.json").read_text())
        _print_row(str(seed), counts, f"{sum(record['seconds'].values()):.1f}")
    _print_row("**all**", total, f"{taken:.0f} with the start")
    print("mean F1 over IoU 0.5 to 0.9:", {p: round(c.mean_f1, 3) for p, c in total.items()})
    print(f"pictures: {out / 'results'}")
    return done.returncode


def _write(image: NDArray[np.uint16], path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    units = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    channels = np.moveaxis(image, -1, 0)
    tifffile.imwrite(
        path, channels, photometric="minisblack", metadata={"axes": "CYX", **size, **units}
    )
    return path


def _score(field: Tissue, part: str, stem: Path) -> Counts:
    path = stem.with_name(f"{stem.name}_{part}_labels.ome.tif")
    truth = field.whole_cell if part == "whole-cell" else field.nuclear
    return count_matches(truth, io.read(path, name=path.name).data)


def _print_row(name: str, counts: dict[str, Counts], seconds: str) -> None:
    cells, nuclei = (counts[part] for part in PARTS)
    print(
        f"| {name} | {cells.true} | {cells.f1[0]:.3f} | {nuclei.true} | {nuclei.f1[0]:.3f} "
        f"| {seconds} |",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
