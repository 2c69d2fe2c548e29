"""How well the nuclei's diameter is found where the pixel size is unknown, and what that gains.

`python -m benchmarks.diameter --real ARCHIVE` zooms ten validation images of the nuclear model,
runs the stages of `predict` on each in this process with the bundled model, and prints how far the
diameter is from the truth, and F1@0.5 against that without any rescaling.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.labels import relabel, resize_labels
from kiosk_tasks.imaging.scale import median_diameter, resize
from kiosk_tasks.job import Context, new_job
from kiosk_tasks.jobs.predict import job_type
from kiosk_tasks.run.local import MemoryReporter
from kiosk_tasks.serving.client import TensorFlowServing
from kiosk_tasks.serving.launch import ModelServerProcess
from kiosk_tasks.settings import Settings
from kiosk_tasks.stages import run_stages
from kiosk_tasks.storage.memory import MemoryStorage
from kiosk_tasks.wiring import model_folders

ZOOMS = (0.4, 0.7, 1.0, 1.6, 2.5, 4.0, 6.0)
IMAGES = 10
LONGEST = 1700  # px; larger zoomed images are left out
IDS = Path(__file__).resolve().parents[1] / "models" / "nuclear" / "validation_ids.txt"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Diameters of zoomed validation images.")
    parser.add_argument("--real", required=True, type=Path, help="archive of img_<id>, lab_<id>")
    archive = np.load(parser.parse_args().real)
    ids = [line for line in IDS.read_text().split("\n") if line and not line.startswith("#")]
    chosen = np.random.default_rng(0).permutation(ids)[:IMAGES]
    rows = []
    with ModelServerProcess(model_folders(Settings.load())) as server:
        client = TensorFlowServing(server.target)
        for name in chosen:
            pixels, truth = archive[f"img_{name}"], relabel(archive[f"lab_{name}"])
            for zoom in (z for z in ZOOMS if z * max(pixels.shape) <= LONGEST):
                rows.append(_measure(client, resize(pixels, zoom), truth, zoom))
        client.close()
    _print(rows)
    return 0


def _measure(
    client: TensorFlowServing, pixels: NDArray[Any], truth: NDArray[np.int32], zoom: float
) -> tuple[float, float, float, float]:
    """Return zoom, estimated over true diameter, F1 as the product does it, F1 unscaled."""
    found, notes = _run(client, pixels, {})
    plain, _ = _run(client, pixels, {"mpp": 0.65})
    true = (median_diameter(truth) or math.nan) * zoom
    return zoom, (notes["diameter"] or math.nan) / true, _f1(truth, found), _f1(truth, plain)


def _run(
    client: TensorFlowServing, pixels: NDArray[Any], params: dict[str, Any]
) -> tuple[NDArray[np.int32], dict[str, Any]]:
    job = new_job(job_type, {"input_file_name": "x", **params})
    report = MemoryReporter()
    ctx = Context(job, job.params, MemoryStorage(), client, report)
    image = Image(pixels, "YX", job.params.model_dump()["mpp"])
    result = run_stages(job_type.steps[1:4], image, ctx)
    return result.labels.data, dict(report.notes())


def _f1(truth: NDArray[np.int32], found: NDArray[np.int32]) -> float:
    """F1 at an intersection over union above 0.5, at the size of the truth."""
    found = relabel(resize_labels(found, truth.shape))
    shape = (int(truth.max()) + 1, int(found.max()) + 1)
    shared = np.zeros(shape, np.int64)
    np.add.at(shared, (truth.ravel(), found.ravel()), 1)
    union = shared.sum(1)[:, None] + shared.sum(0)[None, :] - shared
    hits = int((shared[1:, 1:] > 0.5 * union[1:, 1:]).sum())
    return 2 * hits / max(shape[0] + shape[1] - 2, 1)


def _print(rows: list[tuple[float, float, float, float]]) -> None:
    table = np.asarray(rows)
    off = np.abs(np.log(table[:, 1]))
    counts = [int(np.nansum(off < math.log(factor))) for factor in (1.2, 1.35)]
    print(f"{len(rows)} images; diameter within 1.2: {counts[0]}, within 1.35: {counts[1]}")
    print(f"{'zoom':>6}{'images':>8}{'F1':>8}{'unscaled':>10}")
    for zoom in (*ZOOMS, None):
        part = table if zoom is None else table[table[:, 0] == zoom]
        print(
            f"{zoom or 'all':>6}{len(part):>8}{part[:, 2].mean():>8.3f}{part[:, 3].mean():>10.3f}"
        )


if __name__ == "__main__":
    sys.exit(main())
