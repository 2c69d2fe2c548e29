"""CPU time of the files of a segmentation: `python -m benchmarks.outputs [--old FOLDER]`.

Draws crowded nuclei of 64², 512² and 2048² px, makes each file of `predict` of them on one thread,
packs these and uploads the archive to a local bucket, and prints median CPU milliseconds and bytes.
With `--old`, the root of another checkout of this repository (`git worktree add /tmp/old COMMIT`),
the same is measured there in turn with this one, so that both see the machine alike.

Goals of the whole stage: 2.2 ms at 64², 22 ms at 512², 220 ms at 2048²; exit status 1 if missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

GOALS_MS = {64: 2.2, 512: 22.0, 2048: 220.0}
_CALLS = {64: 40, 512: 10, 2048: 3}  # of each in one round: rounds of old and new take turns

_Figures = dict[str, dict[str, float]]
_T = TypeVar("_T")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="CPU time of the files of a segmentation.")
    parser.add_argument("--old", type=Path, help="root of a checkout to compare with")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each, in turn")
    parser.add_argument("--images", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.images:
        print(json.dumps(_measured(options.images)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images.npz"
        planes: dict[str, Any] = _images()
        np.savez(images, **planes)
        roots = [Path(__file__).parents[1], *([options.old] if options.old else [])]
        found: list[list[_Figures]] = [[] for _ in roots]
        for _round in range(options.rounds):
            for root, rounds in zip(roots, found, strict=True):
                rounds.append(_in_process(root, images))
    print(f"{options.rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    return _table([_medians(rounds) for rounds in found])


def _images() -> dict[str, NDArray[Any]]:
    """Draw a plane of 16 bits and its labels, of each size."""
    from kiosk_tasks.imaging.labels import deep_watershed
    from tests.plain_watershed import draw_heads

    rng = np.random.default_rng(0)
    found: dict[str, NDArray[Any]] = {}
    for side in GOALS_MS:
        inner, outer, _, _ = draw_heads(max(side, 256), seed=0)
        labels = deep_watershed(inner[:side, :side], outer[:side, :side])
        bright = np.concatenate([[0.0], rng.uniform(1500, 3500, int(labels.max()))])[labels]
        plane = 200 + ndimage.gaussian_filter(bright, 1.2) + rng.normal(0, 12, labels.shape)
        found[f"{side} plane"] = np.clip(np.rint(plane), 0, 65535).astype(np.uint16)
        found[f"{side} labels"] = labels
    return found


def _in_process(root: Path, images: Path) -> _Figures:
    """Measure a checkout in a process of its own: this file, with that one's package."""
    script = f"import sys; sys.path.insert(0, {str(root)!r}); import runpy; " + (
        f"sys.argv = ['', '--images', {str(images)!r}]; "
        f"runpy.run_path({__file__!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=True,
        cwd=images.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    figures: _Figures = json.loads(done.stdout)
    return figures


def _measured(images: Path) -> _Figures:
    """Return milliseconds and bytes by size and file."""
    from kiosk_tasks import stages
    from kiosk_tasks.imaging.image import Image
    from kiosk_tasks.imaging.labels import LabelImage
    from kiosk_tasks.imaging.values import Segmentation
    from kiosk_tasks.storage.local import LocalStorage

    found: _Figures = {}
    with np.load(images) as planes, tempfile.TemporaryDirectory(dir=images.parent) as place:
        storage = LocalStorage(Path(place) / "bucket")
        for side, calls in _CALLS.items():
            labels = LabelImage(planes[f"{side} labels"], 0.5)
            image = Image(planes[f"{side} plane"], "YX", 0.5)
            result, figures = Segmentation(labels, image), found.setdefault(str(side), {})
            _measure_files(result, calls, figures)
            jobs = iter(range(10**6))

            def whole(result: Segmentation = result, jobs: Any = jobs) -> dict[str, str]:
                return stages.upload(result, _context(next(jobs), storage, Path(place)))

            key = _timed(whole, calls, figures, "upload, all of it")["output_file_name"]
            figures["upload, all of it: bytes"] = storage.size(key)
            for path in (Path(place) / "bucket").rglob("*.zip"):
                path.unlink()
    return found


def _measure_files(result: Any, calls: int, figures: dict[str, float]) -> None:
    from kiosk_tasks.imaging.geojson import cells_geojson
    from kiosk_tasks.imaging.io import write_labels
    from kiosk_tasks.imaging.measure import measure_cells, to_csv
    from kiosk_tasks.imaging.outlines import trace
    from kiosk_tasks.imaging.overlay import overlay_png
    from kiosk_tasks.imaging.rois import cell_rois

    labels, plane = result.labels, result.image.data
    cells = _timed(lambda: measure_cells(labels, plane), calls, figures, "measure")
    outlines: Any = _timed(lambda: _all(trace(labels.data)), calls, figures, "trace")
    files: dict[str, Callable[[], bytes]] = {
        "labels.ome.tif": lambda: write_labels(labels),
        "overlay.png": lambda: overlay_png(plane, labels),
        "cells.csv": lambda: to_csv(cells),
        "cells.geojson": lambda: cells_geojson(outlines, cells),
        "rois.zip": lambda: cell_rois(outlines),
    }
    for name, make in files.items():
        figures[f"{name}: bytes"] = len(_timed(make, calls, figures, name))


def _all(outlines: Any) -> Any:
    """Trace to the end where outlines come one by one."""
    return outlines if hasattr(outlines, "__len__") else list(outlines)


def _timed(make: Callable[[], _T], calls: int, figures: dict[str, float], name: str) -> _T:
    made, times = make(), []
    for _call in range(calls):
        begun = time.process_time()
        made = make()
        times.append(1000 * (time.process_time() - begun))
    figures[name] = statistics.median(times)
    return made


def _context(number: int, storage: Any, scratch: Path) -> Any:
    """Return what the stage needs of a job's context."""
    params = SimpleNamespace(model_dump=lambda mode: {"mpp": 0.5, "mode": mode})
    source = SimpleNamespace(name="nuclei.tif")
    job = SimpleNamespace(
        id=str(number), type_name="predict", created_at="", source=source, params=params
    )
    limits = SimpleNamespace(scratch=scratch / "scratch")
    report = SimpleNamespace(notes=lambda: {"image": {"axes": "YX", "shape": [1, 1]}})
    return SimpleNamespace(job=job, storage=storage, limits=limits, report=report, link=None)


def _medians(rounds: list[_Figures]) -> _Figures:
    return {
        side: {name: statistics.median(one[side][name] for one in rounds) for name in figures}
        for side, figures in rounds[0].items()
    }


def _table(found: list[_Figures]) -> int:
    new, old = found[0], found[1] if found[1:] else None
    missed = 0
    for side, figures in new.items():
        print(
            f"\n{side} × {side} px{'ms':>22}{'bytes':>12}" + ("   old ms   old bytes" * bool(old))
        )
        for name in (name for name in figures if not name.endswith(": bytes")):
            columns = [_row(one[side], name) for one in (new, old) if one]
            print(f"  {name:<20}{'  '.join(columns)}")
        goal, reached = GOALS_MS[int(side)], figures["upload, all of it"]
        missed |= reached > goal
        print(f"  goal {goal:g} ms: {'reached' if reached <= goal else 'missed'}")
    return int(missed)


def _row(figures: dict[str, float], name: str) -> str:
    size = figures.get(f"{name}: bytes")
    return f"{figures[name]:>9.2f}" + (f"{size:>12.0f}" if size is not None else " " * 12)


if __name__ == "__main__":
    sys.exit(main())
