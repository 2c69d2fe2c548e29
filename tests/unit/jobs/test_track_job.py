"""The job `track` in this process: drawn movies in, their cells with one number each out."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from roifile import ImagejRoi

from kiosk_tasks.choices import Choices
from kiosk_tasks.errors import (
    InvalidFileType,
    InvalidParameter,
    MissingChannel,
    PartFailed,
    UnknownModel,
    UnreadableArchive,
    UnusableImage,
)
from kiosk_tasks.fan_out import FanOut
from kiosk_tasks.imaging.trk import read_trk
from kiosk_tasks.job import new_job
from kiosk_tasks.jobs import find, track
from kiosk_tasks.ports import Signature, TensorSpec
from kiosk_tasks.run.local import MemoryReporter, run_local
from kiosk_tasks.segmenting import movie_cells
from kiosk_tasks.wiring import Adapters, make_context
from kiosk_tasks.workspace import decode, encode
from tests.fake_models import FakeModels, ours, says
from tests.fakes import FakeModelServer, fake_adapters, png_bytes, threshold_heads, tiff_bytes
from tests.unit.imaging.zips import npy, tarred

Places = Sequence[Sequence[tuple[float, float, float]]]
"""For each frame (y, x, radius) of its discs."""

MOVING: Places = [
    [(20, 20 + 3 * t, 9), (70 - 2 * t, 80, 8), (75, 25, 10)] for t in range(6)
]  # three cells, of which two move


def movie(places: Places, *, shape: tuple[int, int] = (96, 128)) -> NDArray[np.uint16]:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    frames = np.full((len(places), *shape), 200, np.uint16)
    for frame, discs in zip(frames, places, strict=True):
        for y, x, radius in discs:
            frame[np.hypot(rows - y, columns - x) <= radius] = 3000
    return frames


class Result:
    """What a local run left: the files, and the facts."""

    def __init__(self, data: bytes, adapters: Adapters | None = None, **fields: Any) -> None:
        self.adapters = adapters or fake_adapters()
        self.adapters.storage.put("key", data)
        name = fields.pop("original_name", "cells.tif")
        self.report = MemoryReporter()
        job = new_job(find("track"), {"input_file_name": "key", "original_name": name, **fields})
        answer = run_local(job, given=self.adapters, report=self.report)
        packed = self.adapters.storage.get(answer["output_file_name"])
        with zipfile.ZipFile(BytesIO(packed)) as archive:
            self.files = {one: archive.read(one) for one in archive.namelist()}

    @property
    def notes(self) -> dict[str, Any]:
        return dict(self.report.notes())

    def table(self, name: str) -> list[dict[str, str]]:
        return list(csv.DictReader(StringIO(self.files[name].decode())))

    def trk(self, name: str, folder: Path) -> tuple[NDArray[Any], NDArray[Any], dict[str, Any]]:
        path = folder / name
        path.write_bytes(self.files[name])
        found = read_trk(path, name=name)
        return found.raw[..., 0], found.tracked[..., 0], found.lineages[0]


@pytest.fixture
def in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no movie be small, and a batch be two frames."""
    monkeypatch.setattr(track, "SMALL_PIXELS", 0)
    monkeypatch.setattr(movie_cells, "BATCH_FRAMES", 2)


def test_movies_of_more_cells_than_fiji_can_list_have_no_regions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = tiff_bytes(movie(MOVING))
    monkeypatch.setattr("kiosk_tasks.outputs.tracks._MOST_REGIONS", 3 * len(MOVING))
    assert "cells_tracked_rois.zip" in Result(data, mpp=0.65, scale=1.0).files
    monkeypatch.setattr("kiosk_tasks.outputs.tracks._MOST_REGIONS", 3 * len(MOVING) - 1)
    assert "cells_tracked_rois.zip" not in Result(data, mpp=0.65, scale=1.0).files


def centres(labels: NDArray[Any], places: Places, cell: int) -> list[int]:
    """The labels at the places of a cell, frame by frame."""
    return [int(labels[t, round(p[cell][0]), round(p[cell][1])]) for t, p in enumerate(places)]


def test_cells_keep_their_numbers(tmp_path: Path) -> None:
    pixels = movie(MOVING)
    result = Result(tiff_bytes(pixels), mpp=0.65, scale=1.0)
    assert {name.removeprefix("cells_") for name in result.files} == {
        "tracked.ome.tif",
        "tracked_rois.zip",
        "tracks.csv",
        "tracks.gif",
        "divisions.csv",
        "lineage.json",
        "res_track.txt",
        "job.json",
        "cells.trk",
    }
    raw, labels, lineage = result.trk("cells.trk", tmp_path)
    np.testing.assert_array_equal(raw, pixels)
    ids = [centres(labels, MOVING, cell) for cell in range(3)]
    assert sorted(found[0] for found in ids) == [1, 2, 3]
    assert all(len(set(found)) == 1 for found in ids)
    assert result.files["cells_res_track.txt"] == b"1 0 5 0\n2 0 5 0\n3 0 5 0\n"
    assert json.loads(result.files["cells_lineage.json"]) == lineage
    assert lineage["2"]["frames"] == [0, 1, 2, 3, 4, 5]
    rows = [row for row in result.table("cells_tracks.csv") if row["track"] == str(ids[0][0])]
    assert [float(row["x"]) for row in rows] == pytest.approx([20, 23, 26, 29, 32, 35], abs=0.6)
    assert float(rows[0]["y_um"]) == pytest.approx(20 * 0.65, abs=0.4)
    assert float(rows[0]["area_um2"]) == pytest.approx(float(rows[0]["area_px"]) * 0.65**2, 1e-4)
    assert float(rows[0]["mean_intensity"]) == pytest.approx(3000, abs=400)
    assert result.table("cells_divisions.csv") == []
    with zipfile.ZipFile(BytesIO(result.files["cells_tracked_rois.zip"])) as regions:
        rois = [ImagejRoi.frombytes(regions.read(name)) for name in regions.namelist()]
    assert len(rois) == 3 * len(pixels)
    for roi in rois:
        frame = roi.position - 1
        y, x = np.nonzero(labels[frame] == int(roi.name.removesuffix(f"_frame_{frame}")))
        assert (roi.top, roi.left) == (y.min(), x.min())
    facts = {"frames": 6, "cells": 18, "tracks": 3, "divisions": 0}
    assert facts.items() <= result.notes.items()
    provenance = json.loads(result.files["cells_job.json"])
    assert provenance["model"] == {"name": "NuclearSegmentation", "version": 1}
    assert provenance["image"]["axes"] == "TYX"


@pytest.mark.usefixtures("in_batches")
def test_batches_give_what_one_link_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiff_bytes(movie(MOVING[:5]))  # the last batch is a single frame
    models = FakeModelServer()
    batches = Result(data, fake_adapters(models=models))
    assert list(batches.adapters.storage.list("parts/")) == []
    monkeypatch.setattr(track, "SMALL_PIXELS", 2**30)
    once = Result(data)
    assert set(once.files) == set(batches.files)
    for name in set(once.files) - {"cells_job.json"}:
        assert once.files[name] == batches.files[name], name


def context(data: bytes, **fields: Any) -> Any:
    job = new_job(find("track"), {"input_file_name": "key", "original_name": "a.tif", **fields})
    return make_context(job, MemoryReporter(), given=fake_adapters(key=data))


@pytest.mark.usefixtures("in_batches")
def test_children_get_the_model_and_the_scale_of_the_whole_movie() -> None:
    ctx = context(tiff_bytes(movie(MOVING)), min_size=7, postprocess="watershed")
    value = track.split(None, ctx)
    assert isinstance(value, FanOut)
    assert len(value.children) == 3
    for number, child in enumerate(value.children):
        assert child.type_name == "predict"
        key = child.fields["input_file_name"]
        assert key.startswith(f"parts/{ctx.job.id}/")
        assert ctx.storage.exists(key)
        assert child.fields["original_name"] == f"a_frames_{2 * number}.tif"
        expected = {
            "axes": "BYX",
            "labels_only": True,
            "model_name": "NuclearSegmentation",
            "model_version": 1,
            "scale": 1.0,
            "min_size": 7,
            "postprocess": "watershed",
        }
        assert expected.items() <= child.fields.items()
        new_job(find("predict"), child.fields)


def test_a_division(tmp_path: Path) -> None:
    mother = [[(48.0, 60.0 + t, 12.0), (20, 20, 9), (75, 110, 9)] for t in range(5)]
    daughters = [
        [(48.0 - 8 - t, 65.0, 8.5), (48 + 8 + t, 65, 8.5), *mother[0][1:]] for t in range(5)
    ]
    result = Result(tiff_bytes(movie(mother + daughters)), scale=1.0)
    (division,) = result.table("cells_divisions.csv")
    assert division["frame"] == "5"
    assert float(division["y"]) == pytest.approx(48, abs=0.5)
    assert float(division["x"]) == pytest.approx(64, abs=0.5)
    _raw, labels, lineage = result.trk("cells.trk", tmp_path)
    born = {str(labels[9, 48 - 12, 65]), str(labels[9, 48 + 12, 65])}
    assert {division["daughter_1"], division["daughter_2"]} == born
    entry = lineage[division["mother"]]
    assert entry["frame_div"] == 5
    assert entry["capped"]
    assert {str(d) for d in entry["daughters"]} == born
    assert {lineage[d]["parent"] for d in born} == {int(division["mother"])}
    assert result.notes["divisions"] == 1
    rows = [line.split() for line in result.files["cells_res_track.txt"].decode().splitlines()]
    assert sorted(row[0] for row in rows if row[3] == division["mother"]) == sorted(born)
    alone = Result(tiff_bytes(movie(mother + daughters)), scale=1.0, divisions=False)
    assert alone.table("cells_divisions.csv") == []


def test_a_cell_that_is_missed_once(tmp_path: Path) -> None:
    places = [list(discs) for discs in MOVING]
    del places[3][2]
    result = Result(tiff_bytes(movie(places)), scale=1.0)
    _raw, labels, _lineage = result.trk("cells.trk", tmp_path)
    before, after = labels[2, 75, 25], labels[4, 75, 25]
    rows = [line.split() for line in result.files["cells_res_track.txt"].decode().splitlines()]
    assert [str(before), "0", "2", "0"] in rows
    assert [str(after), "4", "5", str(before)] in rows
    seen = {r["frame"]: r for r in result.table("cells_tracks.csv") if r["track"] == str(before)}
    assert set(seen) == {"0", "1", "2", "4", "5"}
    assert seen["5"]["label"] == str(after)
    assert result.notes["tracks"] == 3
    apart = Result(tiff_bytes(movie(places)), scale=1.0, gap_frames=0)
    assert apart.notes["tracks"] == 4


@pytest.mark.parametrize("small", [True, False])
def test_frames_without_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, small: bool
) -> None:
    monkeypatch.setattr(track, "SMALL_PIXELS", 2**30 if small else 0)
    monkeypatch.setattr(movie_cells, "BATCH_FRAMES", 2)
    places = [*MOVING[:2], [], [], *MOVING[4:]]
    result = Result(tiff_bytes(movie(places)), scale=1.0)
    _raw, labels, _lineage = result.trk("cells.trk", tmp_path)
    assert [bool(frame.any()) for frame in labels] == [True, True, False, False, True, True]
    nothing = Result(tiff_bytes(movie([[], []])))
    assert nothing.notes["tracks"] == nothing.notes["cells"] == 0
    assert nothing.files["cells_res_track.txt"] == b""
    assert nothing.table("cells_tracks.csv") == []
    assert json.loads(nothing.files["cells_lineage.json"]) == {}


def drifting() -> Places:
    """Six cells on a stage that moves by 15 px each frame, further than one cell from another."""
    stays = [(20, 20), (20, 46), (46, 20), (46, 46), (72, 25), (70, 50)]
    return [[(y, x + 15 * t, 9) for y, x in stays] for t in range(5)]


def test_drift_is_taken_out() -> None:
    data = tiff_bytes(movie(drifting(), shape=(96, 160)))
    still = Result(data, scale=1.0, correct_drift=True)
    assert still.notes["tracks"] == 6
    assert still.notes["drift"] == pytest.approx([0, 60], abs=3)
    places = [float(r["x"]) for r in still.table("cells_tracks.csv") if r["track"] == "1"]
    assert places[-1] - places[0] == pytest.approx(60, abs=2)  # the table is of the image
    assert Result(data, scale=1.0, reach=0.5).notes["tracks"] > 6


@pytest.mark.parametrize("small", [True, False])
def test_a_movie_is_normalised_as_a_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, small: bool
) -> None:
    monkeypatch.setattr(track, "SMALL_PIXELS", 2**30 if small else 0)
    pixels = movie(MOVING)
    pixels[4:] = np.where(pixels[4:] > 2000, 260, 200)  # so dim that they are not to be seen
    usual = Result(tiff_bytes(pixels), scale=1.0)
    assert usual.notes["cells"] == 18
    whole = Result(tiff_bytes(pixels), scale=1.0, normalise=True)
    assert whole.notes["cells"] == 12
    raw, _labels, _lineage = whole.trk("cells.trk", tmp_path)
    assert raw.dtype == np.float32
    assert raw[0].max() == pytest.approx(1, abs=0.01)
    assert raw[0].min() == pytest.approx(0, abs=0.01)
    assert raw[5].max() < 0.05


def trk(places: Places, **arrays: NDArray[Any]) -> bytes:
    pixels = movie(places)[..., None]
    masks = (pixels > 1000).astype(np.int32)
    files = {
        "raw.npy": npy(arrays.get("raw", pixels)),
        "tracked.npy": npy(arrays.get("tracked", masks)),
    }
    return tarred({**files, "lineage.json": b"{}"})


def test_the_masks_of_a_file_are_tracked_without_any_model(tmp_path: Path) -> None:
    places = [[discs[0]] for discs in MOVING]
    adapters = fake_adapters(models=FakeModelServer(versions={}))
    result = Result(trk(places), adapters, segmentation="given", original_name="a.trk", mpp=0.5)
    raw, labels, _lineage = result.trk("a.trk", tmp_path)
    np.testing.assert_array_equal(raw, movie(places))
    np.testing.assert_array_equal(labels, movie(places) > 1000)
    assert result.table("a_tracks.csv")[0]["y_um"] == "10.000"
    with pytest.raises(InvalidParameter, match="has no cells in it"):
        Result(tiff_bytes(movie(places)), adapters, segmentation="given")


@pytest.mark.parametrize("segmentation", ["model", "given"])
@pytest.mark.parametrize("small", [True, False])
def test_each_movie_of_a_batch_is_tracked(
    monkeypatch: pytest.MonkeyPatch, segmentation: str, *, small: bool
) -> None:
    monkeypatch.setattr(track, "SMALL_PIXELS", 2**30 if small else 0)
    monkeypatch.setattr(movie_cells, "BATCH_FRAMES", 2)
    one, two = movie(MOVING), movie([discs[:1] for discs in MOVING])
    two[4:] = 0  # filled up to the length of the other
    raw = np.stack([one, two])[..., None]
    masks = (raw > 1000).astype(np.int32)
    files = {"raw.npy": npy(raw), "tracked.npy": npy(masks), "lineages.json": b"[{}, {}]"}
    result = Result(
        tarred(files, mode="w:gz"), original_name="b.trks", segmentation=segmentation, scale=1.0
    )
    assert result.notes["movies"] == 2
    assert result.notes["frames"] == 10
    assert len(result.table("b_movie_1_tracks.csv")) == 4
    assert result.files["b_movie_1_res_track.txt"] == b"1 0 3 0\n"
    names = {name for name in result.files if name.startswith("b_movie_0")}
    assert {name.replace("_0", "_1") for name in names} <= set(result.files)
    assert len(result.files) == 2 * len(names) + 1


BROKEN = movie(MOVING).astype(np.float32)
BROKEN[4, 3, 5] = np.nan

BAD: dict[str, tuple[bytes, str, type[Exception], str]] = {
    "a picture": (
        png_bytes(np.zeros((9, 9), np.uint8)),
        "cells.png",
        InvalidFileType,
        r'^Invalid filetype for "track" job\. cells\.png is no movie; send a \.tif',
    ),
    "one frame": (tiff_bytes(movie(MOVING)[0]), "a.tif", UnusableImage, "^a.tif has 1 frame; a"),
    "NaN": (
        tiff_bytes(BROKEN),
        "a.tif",
        UnusableImage,
        "^frame 4 of a.tif has 1 pixel that is NaN",
    ),
    "no masks": (
        tarred({"raw.npy": b""}),
        "a.trk",
        UnreadableArchive,
        "^raw.npy in a.trk is no array",
    ),
    "pickle": (
        trk(MOVING, tracked=np.array([{}], object)),
        "a.trk",
        UnreadableArchive,
        "^tracked.npy in a.trk is no array that can be read: its header describes no array of num",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_movies(case: str) -> None:
    data, name, error, message = BAD[case]
    with pytest.raises(error, match=message) as caught:
        Result(data, original_name=name)
    assert "\n" not in str(caught.value)


def test_bad_parameters() -> None:
    data = tiff_bytes(movie(MOVING))
    with pytest.raises(MissingChannel, match="channel 1 was asked for"):
        Result(data, channel=1)
    with pytest.raises(UnknownModel):
        Result(data, fake_adapters(models=FakeModelServer(versions={})))
    with pytest.raises(InvalidParameter, match="segmentation"):
        Result(data, segmentation="guess")


class FailingServer(FakeModelServer):
    """Knows no answer for frames with a pixel above 1.5."""

    def answer_or_fail(self, images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        if images.max() > 1.5:
            raise UnusableImage("it is too bright.")
        return threshold_heads(images)


@pytest.mark.usefixtures("in_batches")
def test_a_batch_that_fails_is_named() -> None:
    pixels = movie(MOVING)
    pixels[2, 0, :4] = 60_000
    models = FailingServer()
    models.answer = models.answer_or_fail
    with pytest.raises(PartFailed, match=r"no cells .* in cells_frames_2\.tif: it is too bright"):
        Result(tiff_bytes(pixels), fake_adapters(models=models), scale=1.0)


@pytest.mark.usefixtures("in_batches")
def test_values_may_wait_between_two_links(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiff_bytes(movie(MOVING))
    for small in (0, 2**30):
        monkeypatch.setattr(track, "SMALL_PIXELS", small)
        ctx = context(data, scale=1.0)
        value = track.split(None, ctx)
        kept = value.keep if isinstance(value, FanOut) else value
        again = decode(encode(kept))
        assert again.plan == kept.plan
    linked = track.link_cells(again, ctx)
    later = decode(encode(linked))
    assert later.tracks[0].tracks == linked.tracks[0].tracks
    assert track.save(later, ctx)["output_file_name"].endswith("a.zip")


def test_the_operator_chooses_the_model() -> None:
    models = FakeModelServer(versions={"NuclearSegmentation": (1,), "Movies": (2, 3)})
    adapters = replace(
        fake_adapters(models=models), choices=Choices(track_segment_model="Movies:2")
    )
    result = Result(tiff_bytes(movie(MOVING[:2])), adapters, scale=1.0)
    assert result.notes["model"] == {"name": "Movies", "version": 2}


@pytest.mark.parametrize("small", [True, False])
def test_what_frames_show_and_their_scale_may_be_detected(
    monkeypatch: pytest.MonkeyPatch, *, small: bool
) -> None:
    monkeypatch.setattr(track, "SMALL_PIXELS", 2**30 if small else 0)
    models: Any = FakeModels(
        {
            "CytoplasmSegmentation": ours(),
            "NuclearSegmentation": ours(),
            "LabelDetection": says(0.1, 0.7, 0.2),
            "ScaleDetection": says(0.5),
        }
    )
    choices = Choices(detect_label=True, detect_scale=True)
    adapters = replace(fake_adapters(models=models), choices=choices)
    result = Result(tiff_bytes(movie(MOVING)), adapters)
    assert result.notes["model"]["name"] == "CytoplasmSegmentation"
    assert result.notes["scale"] == 0.5
    assert result.notes["tracks"] == 3
    assert models.models["NuclearSegmentation"].seen == []


class LinkingServer(FakeModelServer):
    """Serves an encoder that knows the place of a cell, and a judge to whom near ones are one."""

    inputs: ClassVar = {
        "Encoder": {"appearances": (-1, 32, 32, 1), "centroids": (-1, 2)},
        "Judge": {"embeddings": (-1, 4, 2), "future_embeddings": (-1, 1, 2)},
    }

    def signature(self, name: str, version: int | None = None) -> Signature:
        if name not in self.inputs:
            return super().signature(name, version)
        self.asked.append((name, version))
        float32 = np.dtype(np.float32)
        takes = {one: TensorSpec(one, float32, shape) for one, shape in self.inputs[name].items()}
        return Signature(name, 1, takes, {"embedding": TensorSpec("embedding", float32, (-1, 2))})

    def predict(self, signature: Signature, batches: Any, **options: Any) -> Iterator[Any]:
        if signature.model not in self.inputs:
            yield from super().predict(signature, batches, **options)
            return
        for batch in batches:
            if signature.model == "Encoder":
                yield {"embedding": batch["centroids"]}
                continue
            last, place = batch["embeddings"][:, -1], batch["future_embeddings"][:, 0]
            near = np.linalg.norm(last[:, None] - place[None], axis=-1) < 5
            yield {"likely": np.stack([near, ~near, 0 * near], -1).astype(np.float32)}


@pytest.mark.parametrize("small", [True, False])
def test_the_labs_models_link(monkeypatch: pytest.MonkeyPatch, *, small: bool) -> None:
    monkeypatch.setattr(track, "SMALL_PIXELS", 2**30 if small else 0)
    choices = Choices(track_encoder_model="Encoder", track_inference_model="Judge", track_length=4)
    models = LinkingServer()
    adapters = replace(fake_adapters(models=models), choices=choices)
    result = Result(tiff_bytes(movie(MOVING)), adapters, scale=1.0)
    assert result.notes["linked_by"] == ["Encoder:1", "Judge:1"]
    assert result.files["cells_res_track.txt"] == b"1 0 5 0\n2 0 5 0\n3 0 5 0\n"
    far = Result(tiff_bytes(movie(MOVING)), adapters, scale=2.0)  # 6 px of theirs are too far
    assert far.notes["tracks"] == 6 + 1 + 1  # of these cells one moves so far


def test_linking_models_that_are_not_served_are_told_before_anything_is_read() -> None:
    choices = Choices(track_encoder_model="Encoder", track_inference_model="Judge")
    adapters = replace(fake_adapters(), choices=choices)
    with pytest.raises(UnknownModel, match="Encoder"):
        Result(b"not even a movie", adapters)
