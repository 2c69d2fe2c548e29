"""Folders and archives of images: interrupted, gone on with, each result when it is there."""

from __future__ import annotations

import csv
import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.acceptance.conftest import SAMPLES, Shell
from tests.conftest import wait_for
from tests.unit.imaging.zips import zipped

COUNT = 18
PIXELS = tifffile.imread(SAMPLES / "nuclei_512.tif")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small images, no two alike."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(COUNT):
        row, column = divmod(number, 6)
        part = PIXELS[64 * row : 64 * row + 128, 64 * column : 64 * column + 128]
        tifffile.imwrite(folder / f"{number:02d}.tif", part)
    return folder


def results(folder: Path) -> dict[str, int]:
    """When each result was written, ns."""
    return {file.name: file.stat().st_mtime_ns for file in folder.glob("*_job.json")}


def test_an_interrupted_folder_is_gone_on_with(up: Shell, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("run", "predict", str(images), "-o", str(out))
    with up.start(*command, log=tmp_path / "log") as process:
        wait_for(lambda: len(results(out)) >= 3, limit_s=90, what="results come one by one")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    before = results(out)
    assert 3 <= len(before) < COUNT
    said = " ".join((tmp_path / "log").read_text().split())
    counts = [int(words[0]) for words in re.findall(rf"(\d+) of {COUNT} (results are in)", said)]
    assert counts in ([len(before)], [len(before) - 1])  # while one was being written
    assert "Traceback" not in said
    jobs = json.loads(up.run("jobs", "-n", str(COUNT), "--json").stdout)
    assert {job["status"] for job in jobs} == {"done", "cancelled"}
    uploads = up.home / "bucket" / "uploads"
    assert not [path for path in uploads.rglob("*.tif") if path.name[:2].isdigit()]

    done = up.run(*command)
    assert done.returncode == 0, done.stderr
    assert f"{len(before)} of {COUNT} images have their results in" in done.stderr
    after = results(out)
    assert len(after) == COUNT
    assert {name: after[name] for name in before} == before  # not written again

    code, outcomes = up.outcomes("predict", images, "-o", out)
    assert code == 0
    assert all(outcome["there"] and outcome["status"] == "done" for outcome in outcomes)
    assert [Path(o["image"]).name for o in outcomes] == [f"{n:02d}.tif" for n in range(COUNT)]
    assert results(out) == after

    code, (outcome,) = up.outcomes("predict", images / "00.tif", "-o", out, "--again")
    assert (code, outcome["there"]) == (0, False)
    assert results(out)["00_job.json"] > after["00_job.json"]


def test_an_archive_from_the_command_line(up: Shell, images: Path, tmp_path: Path) -> None:
    archive = tmp_path / "plate 1.zip"
    files = {f"well {n % 2}/{n // 2}.tif": (images / f"{n:02d}.tif").read_bytes() for n in range(6)}
    archive.write_bytes(zipped({**files, "well 0/cut.tif": files["well 0/0.tif"][:200]}))
    out = tmp_path / "out"
    code, (outcome,) = up.outcomes("predict", archive, "-o", out)
    assert (code, outcome["status"]) == (0, "done")
    assert outcome["reason"] == "1 of its 7 files failed, see failures.csv."
    place = out / "plate 1"
    labels = {str(path.relative_to(place)) for path in place.rglob("*_labels.ome.tif")}
    assert labels == {f"well {n % 2}/{n // 2}_labels.ome.tif" for n in range(6)}
    rows = list(csv.DictReader((place / "summary.csv").read_text().splitlines()))
    assert [row["file"] for row in rows if row["result"] == "failed"] == ["well 0/cut.tif"]
    cells = [int(row["cells"]) for row in rows if row["result"] == "done"]
    shown = [int(np.max(tifffile.imread(place / name))) for name in sorted(labels)]
    assert sorted(cells) == sorted(shown)
    assert outcome["counts"]["cells"] == sum(cells) > 0

    code, (again,) = up.outcomes("predict", archive, "-o", out)
    assert (code, again["there"]) == (0, True)
    left = [path.name for path in (up.home / "bucket").rglob("*") if path.is_file()]
    assert not [name for name in left if name.startswith(("plate", "0000"))]


def test_a_zip_of_zips_is_one_sentence(up: Shell, tmp_path: Path) -> None:
    archive = tmp_path / "outer.zip"
    archive.write_bytes(zipped({"inner.zip": zipped({"a.tif": b"x"})}))
    code, (outcome,) = up.outcomes("predict", archive, "-o", tmp_path / "out")
    assert (code, outcome["status"]) == (1, "failed")
    assert outcome["reason"] == (
        "the one file in outer.zip could not be used: inner.zip in outer.zip is an archive itself; "
        "send its files instead."
    )
