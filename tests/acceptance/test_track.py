"""Tracking as a person uses it: real broker, worker, model server and bundled model."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from kiosk_tasks.imaging import io as images
from tests.acceptance.conftest import Shell
from tests.simulated_movies import PRESETS, simulate
from tests.unit.imaging.zips import npy


def test_a_movie_is_segmented_in_batches_and_linked(up: Shell, tmp_path: Path) -> None:
    movie = simulate(replace(PRESETS["easy"], frames=17), seed=23)  # more than one link takes
    path = tmp_path / "dividing.tif"
    tifffile.imwrite(path, movie.pixels, imagej=True, metadata={"axes": "TYX"})
    code, (outcome,) = up.outcomes("track", path, "-o", tmp_path / "out")
    assert code == 0, outcome
    out = tmp_path / "out"
    labels = images.read(out / "dividing_tracked.ome.tif", name="tracked").data
    assert labels.shape == movie.labels.shape
    assert kept(movie.labels, labels) > 0.97
    rows = np.loadtxt(out / "dividing_res_track.txt", dtype=int)
    assert set(rows[:, 0]) == set(np.unique(labels)) - {0}
    with tarfile.open(out / "dividing.trk") as trk:
        assert trk.getnames() == ["raw.npy", "tracked.npy", "lineage.json"]
    assert (out / "dividing_tracks.gif").read_bytes().startswith(b"GIF89a")
    assert list((up.home / "bucket" / "parts").rglob("*.tif")) == []


def kept(truth: NDArray[Any], found: NDArray[Any]) -> float:
    """The part of all steps of true cells in which the cell found there has kept its number."""
    steps = []
    for number in range(len(truth) - 1):
        now, later = (most_within(truth[i], found[i]) for i in (number, number + 1))
        steps += [now[cell] == later[cell] != 0 for cell in now.keys() & later.keys()]
    return float(np.mean(steps))


def most_within(truth: NDArray[Any], found: NDArray[Any]) -> dict[int, int]:
    """What most pixels of each true cell are found to be."""
    cells = (int(cell) for cell in np.unique(truth[truth > 0]))
    return {cell: int(np.bincount(found[truth == cell]).argmax()) for cell in cells}


def no_masks() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("raw.npy")
        raw = npy(np.zeros((3, 8, 8, 1), np.float32))
        member.size = len(raw)
        tar.addfile(member, io.BytesIO(raw))
    return buffer.getvalue()


def test_bad_movies_fail_and_the_worker_lives(up: Shell, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "single.tif", np.eye(32, dtype=np.uint16))
    (tmp_path / "masks.trk").write_bytes(no_masks())
    (tmp_path / "notes.txt").write_text("no movie")
    nothing = tmp_path / "nothing.tif"
    tifffile.imwrite(nothing, np.zeros((5, 32, 32), np.uint16))
    names = ("single.tif", "masks.trk", "notes.txt", "nothing.tif")
    paths = [tmp_path / name for name in names]
    code, outcomes = up.outcomes("track", *paths, "-o", tmp_path / "out")
    assert code == 1
    reasons = {outcome["image"]: outcome["reason"] for outcome in outcomes}
    assert reasons["single.tif"].startswith("single.tif has 1 frame; a movie needs 2 or more.")
    assert "masks.trk is no movie with tracks: it has no tracked.npy" in reasons["masks.trk"]
    assert reasons["notes.txt"].startswith('Invalid filetype for "track" job.')
    assert [o["status"] for o in outcomes if o["image"] == "nothing.tif"] == ["done"]
    assert (tmp_path / "out" / "nothing_res_track.txt").read_text() == ""
