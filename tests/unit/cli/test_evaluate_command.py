from __future__ import annotations

import csv
import io as bytes_io
import json
import re
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import typer
from click.testing import Result
from numpy.typing import NDArray
from typer.testing import CliRunner

from kiosk_tasks.cli.evaluate import evaluate_command
from kiosk_tasks.cli.options import with_options
from kiosk_tasks.errors import InvalidParameter, UserError
from kiosk_tasks.evaluation.pairs import Kind, base_of
from kiosk_tasks.evaluation.read import read_spots, read_tracks
from kiosk_tasks.evaluation.score import CELLS, SPOTS, TRACKS
from kiosk_tasks.imaging.io import write_labels
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.job import ImageParams, JobType
from tests.synthetic import draw_discs

TOY: Any = JobType("toy", "Toy", "toy", ImageParams, (lambda value, _ctx: value,))
STACK: Any = {"photometric": "minisblack", "metadata": {"axes": "TYX"}}
CTC = [[1, 0, 1, 0], [2, 2, 3, 1], [3, 2, 3, 1]]


def evaluate(kind: Kind, *arguments: str | Path) -> Result:
    app = typer.Typer()
    command: Any = with_options(evaluate_command(TOY, kind), TOY.params, help_text="toy")
    app.command()(command)
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "120"})


class Site:
    """Folders of images, truths and results."""

    def __init__(self, folder: Path) -> None:
        self.images, self.truth, self.results, self.out = (
            folder / name for name in ("images", "truth", "results", "out")
        )
        for made in (self.images, self.truth, self.results):
            made.mkdir()

    def image(self, stem: str, found: NDArray[Any] | None = None, *, part: str = "") -> None:
        tifffile.imwrite(self.images / f"{stem}.tif", np.zeros((8, 8), np.uint8))
        if found is not None:
            axes = "YX" if found.ndim == 2 else "TYX"
            labels = write_labels(LabelImage(found.astype(np.int32), axes=axes))
            (self.results / f"{stem}{part}_labels.ome.tif").write_bytes(labels)

    def score(self, kind: Kind = CELLS, *more: str) -> tuple[Result, dict[str, Any]]:
        arguments = (self.images, self.truth, "-o", self.out, "--results", self.results)
        done = evaluate(kind, *arguments, *more)
        record = self.out / "scores.json"
        return done, json.loads(record.read_text()) if record.exists() else {}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


CELLS_OF_4 = draw_discs((64, 80), count=4, seed=3).labels


def test_table_files_and_picture(site: Site) -> None:
    half = np.where(CELLS_OF_4 > 2, 0, CELLS_OF_4)
    site.image("a", CELLS_OF_4)
    site.image("b", half)
    tifffile.imwrite(site.truth / "a.tif", CELLS_OF_4.astype(np.uint16))
    tifffile.imwrite(site.truth / "b_masks.tif", CELLS_OF_4.astype(np.float32))
    done, scores = site.score()
    assert done.exit_code == 0, done.output
    words = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.split()}
    assert words["a"] == ["4", "4", *["1.000"] * 5]
    assert words["b"] == ["4", "2", "0.667", "0.667", "0.667", "0.500", "0.667"]
    assert words["all"] == ["8", "6", "0.857", "0.857", "0.857", "0.750", "0.857"]
    assert scores["images"]["b"]["recall_50"] == 0.5
    assert scores["pooled"]["all"]["matched"] == 6
    assert scores["curves"]["images"]["b"] == pytest.approx([2 / 3] * 10)
    with (site.out / "scores.csv").open() as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["a", "b", "all"]
    assert float(rows["all"]["mean_f1"]) == pytest.approx(12 / 14, abs=1e-5)
    assert (site.out / "scores.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_all_that_is_printed(site: Site) -> None:
    site.image("a", CELLS_OF_4)
    site.image("lonely", CELLS_OF_4)
    tifffile.imwrite(site.truth / "a_truth.tif", CELLS_OF_4.astype(np.uint8))
    done, scores = site.score(CELLS, "--json")
    assert json.loads(done.stdout) == scores
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("x.tif", "x"),
        ("x.ome.tif", "x"),
        ("x_truth.ome.tif", "x"),
        ("x_cp_masks.png", "x"),
        ("x-labels.tif", "x"),
        ("x_ground_truth.tif", "x"),
        ("x_GT.tif", "x"),
        ("x_nuclear_truth.tif", "x_nuclear"),
        ("x_spots.csv", "x"),
        ("01_GT", "01"),
        ("masks.tif", "masks"),
        ("growth.tif", "growth"),
    ],
)
def test_names_of_truths(name: str, base: str) -> None:
    assert base_of(name) == base


def test_images_and_truths_in_one_folder(site: Site) -> None:
    site.image("a", CELLS_OF_4)
    tifffile.imwrite(site.images / "a_truth.tif", CELLS_OF_4.astype(np.uint8))
    site.truth = site.images
    done, scores = site.score()
    assert done.exit_code == 0, done.output
    assert list(scores["images"]) == ["a"]


def test_the_longest_name_decides(site: Site) -> None:
    empty = np.zeros_like(CELLS_OF_4)
    site.image("a", CELLS_OF_4)
    site.image("a_2", empty)
    tifffile.imwrite(site.truth / "a_truth.tif", CELLS_OF_4.astype(np.uint8))
    tifffile.imwrite(site.truth / "a_2_truth.tif", empty.astype(np.uint8))
    done, scores = site.score()
    assert done.exit_code == 0, done.output
    assert {name: row["truth"] for name, row in scores["images"].items()} == {"a": 4, "a_2": 0}
    assert scores["pooled"]["all"]["f1_50"] == 1


def test_parts_of_an_image(site: Site) -> None:
    site.image("a", CELLS_OF_4, part="_nuclear")
    site.image("a", CELLS_OF_4, part="_whole-cell")
    tifffile.imwrite(site.truth / "a_nuclear_truth.tif", CELLS_OF_4.astype(np.uint8))
    whole = np.where(CELLS_OF_4 == 1, 0, CELLS_OF_4).astype(np.uint8)
    tifffile.imwrite(site.truth / "a_whole-cell_truth.tif", whole)
    done, scores = site.score()
    assert done.exit_code == 0, done.output
    truths = {name: row["truth"] for name, row in scores["images"].items()}
    assert truths == {"a_nuclear": 4, "a_whole-cell": 3}
    assert {name: row["truth"] for name, row in scores["pooled"].items()} == {
        "all nuclear": 4,
        "all whole-cell": 3,
    }
    (site.truth / "a_nuclear_truth.tif").unlink()
    (site.truth / "a_whole-cell_truth.tif").rename(site.truth / "a_truth.tif")
    done, _ = site.score()
    assert "a has results for nuclear, whole-cell and a truth for the image" in done.stderr


def test_stacks_are_scored_plane_by_plane(site: Site) -> None:
    site.image("a", np.stack([CELLS_OF_4, CELLS_OF_4[::-1]]))
    truth = np.stack([CELLS_OF_4, CELLS_OF_4]).astype(np.uint8)
    tifffile.imwrite(site.truth / "a.tif", truth)
    _, scores = site.score()
    assert (scores["pooled"]["all"]["truth"], scores["pooled"]["all"]["found"]) == (8, 8)
    assert scores["pooled"]["all"]["matched"] < 8


def test_unmatched_images_are_named(site: Site) -> None:
    for stem in "abc":
        site.image(stem, CELLS_OF_4)
    tifffile.imwrite(site.truth / "b.tif", CELLS_OF_4.astype(np.uint8))
    done, scores = site.score()
    assert done.exit_code == 0
    assert f"2 images without a truth in {site.truth} are left out: a.tif, c.tif" in done.stderr
    assert list(scores["images"]) == ["b"]


def test_one_image_and_one_truth_whatever_they_are_called(site: Site) -> None:
    site.image("a", CELLS_OF_4)
    tifffile.imwrite(site.truth / "drawn by hand.tif", CELLS_OF_4.astype(np.uint8))
    assert site.score()[0].exit_code == 0


def _truth(name: str, pixels: NDArray[Any], **options: Any) -> Any:
    return lambda site: tifffile.imwrite(site.truth / name, pixels, **options)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (_truth("a.tif", CELLS_OF_4[:60].astype(np.uint8)), "has 60 × 80 px.*has 64 × 80 px"),
        (_truth("a.tif", CELLS_OF_4 + np.float32(0.5)), r"has the value 0\.5"),
        (_truth("a.tif", CELLS_OF_4 * np.float32(np.nan)), "has the value nan"),
        (_truth("a.tif", -CELLS_OF_4.astype(np.int16)), "has the value -"),
        (_truth("a.tif", (CELLS_OF_4 > 0).astype(np.uint8) * 255), "marks 4 separate regions"),
        (
            _truth("a.tif", np.stack([CELLS_OF_4] * 3).astype(np.uint8), **STACK),
            'has axes "TYX".*result has "YX"',
        ),
        (lambda site: (site.truth / "a.tif").write_bytes(b"nonsense"), "is no label image"),
        (lambda site: (site.results / "a_labels.ome.tif").unlink(), "has no a_labels.ome.tif"),
    ],
)
def test_one_bad_pair_does_not_spoil_the_others(site: Site, make: Any, sentence: str) -> None:
    for stem in "ab":
        site.image(stem, CELLS_OF_4)
    tifffile.imwrite(site.truth / "a.tif", CELLS_OF_4.astype(np.uint8))
    tifffile.imwrite(site.truth / "b.tif", CELLS_OF_4.astype(np.uint8))
    make(site)
    done, scores = site.score()
    assert done.exit_code == 1
    assert list(scores["images"]) == ["b"]
    (said,) = done.stderr.strip().splitlines()
    assert said == scores["problems"][0]
    assert re.search(sentence, said), said


def test_nothing_to_score(site: Site) -> None:
    site.image("a", CELLS_OF_4)
    site.image("b", CELLS_OF_4)
    for told, name in (("has no truth", None), ("none of the images", "c.tif")):
        if name:
            tifffile.imwrite(site.truth / name, CELLS_OF_4.astype(np.uint8))
        done, _ = site.score()
        assert isinstance(done.exception, InvalidParameter)
        assert told in str(done.exception)
    tifffile.imwrite(site.truth / "a.tif", CELLS_OF_4 + np.float32(0.5))
    done, _ = site.score()
    assert isinstance(done.exception, InvalidParameter)


def test_two_truths_of_one_image(site: Site) -> None:
    for name in ("a_truth.tif", "a_masks.tif"):
        tifffile.imwrite(site.truth / name, CELLS_OF_4.astype(np.uint8))
    site.image("a", CELLS_OF_4)
    site.image("b", CELLS_OF_4)
    assert "both are a truth of a" in str(site.score()[0].exception)


def test_without_matplotlib_there_is_no_picture(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.image("a", CELLS_OF_4)
    tifffile.imwrite(site.truth / "a.tif", CELLS_OF_4.astype(np.uint8))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done, scores = site.score()
    assert done.exit_code == 0
    assert "kiosk-tasks[evaluate]" in done.stderr
    assert scores["pooled"]["all"]["f1_50"] == 1
    assert not (site.out / "scores.png").exists()


def test_spots(site: Site) -> None:
    site.image("a")
    (site.results / "a_spots.csv").write_text("y,x,y_um,x_um\n10,10,1,1\n20,24,2,2\n40,40,4,4\n")
    (site.truth / "a.csv").write_text("Axis-0, Axis-1\n10.0, 10.5\n20, 20\n5, 5\n6, 50\n")
    done, scores = site.score(SPOTS, "--radius", "2")
    assert done.exit_code == 0, done.output
    row = scores["images"]["a"]
    assert (row["truth"], row["found"], row["matched"]) == (4, 3, 1)
    assert (row["precision"], row["recall"]) == (pytest.approx(1 / 3), 0.25)
    assert row["f1"] == scores["pooled"]["all"]["f1"] == pytest.approx(2 / 7)
    assert row["rmse_px"] == scores["pooled"]["all"]["rmse_px"] == 0.5
    curve = dict(zip(scores["curves"]["x"], scores["curves"]["images"]["a"], strict=True))
    assert curve[4.0] == curve[5.0] == pytest.approx(4 / 7)
    assert "F1@2 px" in done.stdout
    assert site.score(CELLS, "--radius", "2")[0].exit_code == 2


def test_spots_of_a_movie(site: Site) -> None:
    site.image("a")
    (site.results / "a_spots.csv").write_text("frame,y,x\n0,10,10\n1,30,30\n")
    (site.truth / "a.csv").write_text("axis-0,axis-1,axis-2\n0,10,10\n0,30,30\n2,5,5\n")
    row = site.score(SPOTS)[1]["pooled"]["all"]
    assert (row["truth"], row["found"], row["matched"]) == (3, 2, 1)
    (site.truth / "a.csv").write_text("y,x\n10,10\n")
    site.image("b")
    (site.results / "b_spots.csv").write_text("y,x\n")
    (site.truth / "b.csv").write_text("y,x\n")
    done, scores = site.score(SPOTS)
    assert "a_spots.csv says of which frame or plane each spot is, a.csv does not" in done.stderr
    assert scores["images"]["b"]["f1"] == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,b\n1,2\n", "has the columns a, b; spots need y and x"),
        ("", "has the columns of nothing"),
        ("y,x\n1,two\n", "could not convert"),
        ("y,x\n1\n", "is no table of spots"),
        ("frame,y,x\ninf,1,1\n", "is no table of spots"),
    ],
)
def test_tables_that_hold_no_spots(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_spots(tmp_path / "a.csv")


def movie() -> NDArray[np.uint16]:
    """Two frames of a cell, two of its daughters."""
    frames = np.zeros((4, 30, 40), np.uint16)
    frames[:2, 10:18, 10:20] = 1
    frames[2:, 10:14, 10:20] = 2
    frames[2:, 15:19, 10:20] = 3
    return frames


def write_ctc(folder: Path, frames: NDArray[Any], rows: Any = CTC) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        tifffile.imwrite(folder / f"man_track{number:03}.tif", frame)
    np.savetxt(folder / "man_track.txt", rows, fmt="%d")


def write_result(site: Site, stem: str, frames: NDArray[Any], rows: Any = CTC) -> None:
    site.image(stem)
    labels = write_labels(LabelImage(frames.astype(np.int32), axes="TYX"))
    (site.results / f"{stem}_tracked.ome.tif").write_bytes(labels)
    np.savetxt(site.results / f"{stem}_res_track.txt", rows, fmt="%d")


def write_trk(path: Path, frames: NDArray[Any], lineage: Any = None) -> None:
    lineage = lineage or {
        "1": {"label": 1, "frames": [0, 1], "daughters": [2, 3], "parent": None, "frame_div": 2},
        "2": {"label": 2, "frames": [2, 3], "daughters": [], "parent": 1, "frame_div": None},
        "3": {"label": 3, "frames": [2, 3], "daughters": [], "parent": 1, "frame_div": None},
    }
    with tarfile.open(path, "w") as tar:
        for name, array in (("raw.npy", frames), ("tracked.npy", frames)):
            buffer = bytes_io.BytesIO()
            np.save(buffer, array[..., np.newaxis])
            _add(tar, name, buffer.getvalue())
        _add(tar, "lineage.json", json.dumps(lineage).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, bytes_io.BytesIO(content))


def test_tracks(site: Site) -> None:
    write_ctc(site.truth / "01_GT" / "TRA", movie())
    write_ctc(site.truth / "02_GT", movie())
    write_result(site, "01", movie())
    write_result(site, "02", movie(), rows=[[1, 0, 1, 0], [2, 2, 3, 0], [3, 2, 3, 0]])
    done, scores = site.score(TRACKS)
    assert done.exit_code == 0, done.output
    one, two, both = scores["images"]["01"], scores["images"]["02"], scores["pooled"]["all"]
    assert one["tra"] == one["det"] == one["lnk"] == one["seg"] == one["division_f1"] == 1
    assert two["det"] == two["seg"] == 1
    assert two["tra"] < 1
    assert (two["divisions"], two["divisions_found"], two["division_f1"]) == (1, 0, 0)
    assert both["division_f1"] == pytest.approx(2 / 3)
    assert both["tra"] == pytest.approx((1 + two["tra"]) / 2)
    assert "division F1" in done.stdout


def test_truths_of_tracks_in_other_forms(tmp_path: Path) -> None:
    write_ctc(tmp_path / "ctc", movie())
    write_trk(tmp_path / "a.trk", movie())
    tifffile.imwrite(tmp_path / "a_truth.tif", movie(), **STACK)
    np.savetxt(tmp_path / "a_man_track.txt", CTC, fmt="%d")
    tifffile.imwrite(tmp_path / "b.tif", movie(), photometric="minisblack", metadata=None)
    np.savetxt(tmp_path / "b_res_track.txt", CTC, fmt="%d")
    tifffile.imwrite(tmp_path / "c.d.tif", movie(), **STACK)
    np.savetxt(tmp_path / "c.d_man_track.txt", CTC, fmt="%d")
    for path in (tmp_path / name for name in ("ctc", "a.trk", "a_truth.tif", "b.tif", "c.d.tif")):
        tracks = read_tracks(path)
        assert tracks.table.tolist() == CTC
        np.testing.assert_array_equal(np.stack(list(tracks.frames)), movie())


def test_a_cell_that_is_back_after_a_gap_is_the_same_in_all_forms(tmp_path: Path) -> None:
    frames = movie()[[0, 1, 1, 1]]
    frames[1] = 0
    frames[2:] *= 2
    lineage = {
        "1": {"label": 1, "frames": [0], "daughters": [], "parent": None},
        "2": {"label": 2, "frames": [2, 3], "daughters": [], "parent": None, "continues": 1},
    }
    write_trk(tmp_path / "a.trk", frames, lineage)
    assert read_tracks(tmp_path / "a.trk").table.tolist() == [[1, 0, 0, 0], [2, 2, 3, 1]]


def test_tracks_that_cannot_be_read(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", movie(), **STACK)
    with pytest.raises(UserError, match="no table of tracks beside it"):
        read_tracks(tmp_path / "a.tif")
    (tmp_path / "a_man_track.txt").write_text("1 0 1\n")
    with pytest.raises(UserError, match="four whole numbers"):
        read_tracks(tmp_path / "a.tif")
    for text in ("1 0\n1 0\n", "1 0 1 0 2 2 3 1\n", f"1 0 1 {2**70}\n"):
        (tmp_path / "a_man_track.txt").write_text(text)
        with pytest.raises(UserError, match="four whole numbers"):
            read_tracks(tmp_path / "a.tif")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "man_track.txt").write_text("1 0 1 0\n")
    with pytest.raises(UserError, match="no frames"):
        read_tracks(tmp_path / "bare")
    write_trk(tmp_path / "a.trk", movie(), lineage={"1": {"label": 1}})
    with pytest.raises(UserError, match="lineage"):
        read_tracks(tmp_path / "a.trk")
