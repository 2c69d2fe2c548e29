"""The files of a tracked movie say the same of it, whatever happens in it."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from kiosk_tasks.errors import UnusableImage
from kiosk_tasks.imaging.trk import read_trk
from kiosk_tasks.job import new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.run.local import run_local
from tests.fakes import fake_adapters, tiff_bytes
from tests.unit.imaging.zips import npy, tarred

Disc = tuple[float, float, float]
STILL: Disc = (20, 20, 9)
MOTHER: list[Disc] = [(60, 80, 12), STILL]


def sisters(t: int) -> list[Disc]:
    return [(60, 68 - t, 8), (60, 92 + t, 8), STILL]


DIVISION = [MOTHER] * 4 + [sisters(t) for t in range(4)]
MOVIES = {
    "division": DIVISION,
    "division in the last frame": DIVISION[:5],
    "two frames": DIVISION[3:5],
    "three daughters": [[MOTHER[0]]] * 4 + [[*sisters(t)[:2], (74 + t, 80, 8)] for t in range(4)],
    "mother missed once": [*DIVISION[:2], [STILL], *DIVISION[3:]],
    "nothing in between": [*DIVISION[:3], [], *DIVISION[3:]],
    "nothing at either end": [[], *DIVISION, []],
    "nothing": [[]] * 3,
}


def drawn(places: Sequence[Sequence[Disc]]) -> NDArray[np.int32]:
    rows, columns = np.mgrid[:120, :160]
    labels = np.zeros((len(places), 120, 160), np.int32)
    for frame, discs in zip(labels, places, strict=True):
        for number, (y, x, radius) in enumerate(discs, 1):
            frame[np.hypot(rows - y, columns - x) <= radius] = 3 * number
    return labels


def tracked(data: bytes, name: str, **fields: str) -> dict[str, bytes]:
    adapters = fake_adapters(key=data)
    job = new_job(find("track"), {"input_file_name": "key", "original_name": name, **fields})
    packed = adapters.storage.get(run_local(job, given=adapters)["output_file_name"])
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return {member: archive.read(member) for member in archive.namelist()}


@pytest.mark.parametrize("name", MOVIES)
def test_files_agree(name: str, tmp_path: Path) -> None:
    labels = drawn(MOVIES[name])
    pixels = np.where(labels, np.uint16(500), np.uint16(3))
    arrays = {"raw.npy": npy(pixels[..., None]), "tracked.npy": npy(labels[..., None])}
    files = tracked(tarred({**arrays, "lineage.json": b"{}"}), "x.trk", segmentation="given")
    stack = tifffile.imread(io.BytesIO(files["x_tracked.ome.tif"]))
    lineage = json.loads(files["x_lineage.json"])
    (tmp_path / "x.trk").write_bytes(files["x.trk"])
    movie = read_trk(tmp_path / "x.trk", name="x.trk")
    np.testing.assert_array_equal(movie.tracked[..., 0], stack)
    np.testing.assert_array_equal(stack > 0, labels > 0)
    assert movie.lineages == (lineage,)

    rows = [list(map(int, row.split())) for row in files["x_res_track.txt"].splitlines()]
    assert {str(row[0]) for row in rows} == set(lineage)
    assert {row[0] for row in rows} == set(np.unique(stack[stack > 0]).tolist())
    for label, first, last, parent in rows:
        seen = np.flatnonzero((stack == label).any(axis=(1, 2))).tolist()
        entry = lineage[str(label)]
        assert seen == entry["frames"] == list(range(first, last + 1))
        assert parent == (entry["parent"] or entry.get("continues") or 0)
        assert not parent or lineage[str(parent)]["frames"][-1] < first
        daughters = [lineage[str(daughter)] for daughter in entry["daughters"]]
        assert len(daughters) in (0, 2)
        assert all(daughter["parent"] == label for daughter in daughters)
        assert entry["frame_div"] == min((d["frames"][0] for d in daughters), default=None)

    cells = list(csv.DictReader(io.StringIO(files["x_tracks.csv"].decode())))
    assert len(cells) == sum(len(np.unique(frame[frame > 0])) for frame in stack)
    for cell in cells:
        inside = stack[int(cell["frame"])] == int(cell["label"])
        assert inside.sum() == int(cell["area_px"])
        assert np.argwhere(inside).mean(0) == pytest.approx(
            [float(cell["y"]), float(cell["x"])], abs=0.01
        )
    divisions = list(csv.DictReader(io.StringIO(files["x_divisions.csv"].decode())))
    assert len(divisions) == sum(bool(entry["daughters"]) for entry in lineage.values())
    assert len(divisions) == (name != "nothing")


def test_pixels_that_no_model_can_take() -> None:
    pixels = np.where(drawn(DIVISION), 1e300, 0.0)
    with pytest.raises(UnusableImage, match=r"frame 0 of x.tif has pixels from 0 to 1e\+300"):
        tracked(tiff_bytes(pixels, photometric="minisblack"), "x.tif")
