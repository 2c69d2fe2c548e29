"""How well simulated movies are tracked: from perfect masks, and end to end from their pixels.

`python -m benchmarks.tracking` simulates movies of every preset from seeds that nothing was chosen
on, links their true masks, has their frames segmented by the bundled model through a model server,
links those cells too, and prints scores. Fields are explained in `kiosk_tasks.scoring.tracks`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.linking import link
from kiosk_tasks.imaging.tracks import detect, joined
from kiosk_tasks.job import Context, ImageParams, JobType, new_job
from kiosk_tasks.run.local import MemoryReporter
from kiosk_tasks.scoring.tracks import TrackScores, score_tracks
from kiosk_tasks.segmenting.cells import cell_model, find_scale, segment_planes
from kiosk_tasks.serving.client import TensorFlowServing
from kiosk_tasks.serving.launch import ModelServerProcess
from kiosk_tasks.settings import Settings
from kiosk_tasks.storage.memory import MemoryStorage
from kiosk_tasks.wiring import model_folders
from tests.simulated_movies import PRESETS, Movie, simulate

SEEDS = (9001, 9002, 9003, 9004)  # parameters were chosen on seeds below 100
Row = tuple[float, ...]
COLUMNS = ("TRA", "DET", "SEG", "div F1", "exact", "s/frame")

_SEGMENTING = JobType(
    name="segmenting", title="", queue="none", params=ImageParams, stages=(lambda value, _: value,)
)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Scores of tracking simulated movies.")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--masks-only", action="store_true", help="do not segment")
    asked = parser.parse_args()
    perfect: dict[str, list[Row]] = {name: [] for name in asked.presets}
    pixels: dict[str, list[Row]] = {name: [] for name in asked.presets}
    with ModelServerProcess(model_folders(Settings.load())) as server:
        client = TensorFlowServing(server.target)
        for name in asked.presets:
            for seed in asked.seeds:
                movie = simulate(PRESETS[name], seed=seed)
                _add(perfect[name], movie, movie.labels, 0.0)
                if not asked.masks_only:
                    start = time.perf_counter()
                    cells = _segmented(client, movie.pixels)
                    _add(pixels[name], movie, cells, time.perf_counter() - start)
        client.close()
    _print(f"perfect masks, seeds {asked.seeds}", perfect)
    if not asked.masks_only:
        _print(f"from pixels, seeds {asked.seeds}", pixels)
    return 0


def _segmented(client: TensorFlowServing, pixels: NDArray[np.uint16]) -> list[NDArray[np.int32]]:
    job = new_job(_SEGMENTING, {"input_file_name": "movie"})
    ctx = Context(job, job.params, MemoryStorage(), client, MemoryReporter())
    planes = [Image(frame, "YX") for frame in pixels]
    cells = cell_model(ctx)
    scale = find_scale(planes[0], ctx, cells=cells)
    return list(segment_planes(planes, ctx, cells=cells, scale=scale))


def _add(rows: list[Row], movie: Movie, cells: Iterable[NDArray[np.int32]], seconds: float) -> None:
    """Link the cells and append the scores; seconds: what it took to find them."""
    frames = list(cells)
    start = time.perf_counter()
    shape = (movie.pixels.shape[1], movie.pixels.shape[2])
    pairs = enumerate(zip(frames, movie.pixels, strict=True))
    tracks = link(joined([detect(*pair, frame=t) for t, pair in pairs]), shape=shape)
    seconds += time.perf_counter() - start
    found = (tracks.relabel(labels, t) for t, labels in enumerate(frames))
    scores = score_tracks(movie.labels, movie.table, found, tracks.table())
    rows.append(_row(scores, seconds / len(frames)))


def _row(scores: TrackScores, seconds: float) -> Row:
    f1 = [np.nan if f is None else f for f in (scores.division_f1, scores.division_f1_exact)]
    counts = scores.divisions, scores.divisions_found, scores.divisions_right
    return (scores.tra, scores.det, scores.seg, *f1, seconds, *counts)


def _print(title: str, rows: dict[str, list[Row]]) -> None:
    print(f"\n{title}\n{'preset':>8}" + "".join(f"{name:>9}" for name in COLUMNS), end="")
    print(f"{'true':>7}{'found':>7}{'right':>7}{'least F1':>10}{'least TRA':>11}")
    every = [row for part in rows.values() for row in part]
    for name, part in [*rows.items(), ("all", every)]:
        table = np.array(part)
        line = "".join(f"{value:>9.4f}" for value in _means(table))
        counts = "".join(f"{int(count):>7}" for count in table[:, 6:].sum(0))
        least = f"{table[:, 3].min():>10.3f}{table[:, 0].min():>11.4f}"
        print(f"{name:>8}{line}{counts}{least}", flush=True)


def _means(table: NDArray[np.float64]) -> Sequence[float]:
    means: list[float] = table[:, :6].mean(0).tolist()
    return means


if __name__ == "__main__":
    sys.exit(main())
