"""The job `predict` in this process: drawn nuclei in, the same nuclei out."""

from __future__ import annotations

import csv
import json
import zipfile
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk_tasks.errors import (
    MissingChannel,
    MissingObject,
    ModelMismatch,
    UnknownModel,
    UnusableImage,
)
from kiosk_tasks.job import Limits, new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.ports import Signature
from kiosk_tasks.run.local import MemoryReporter, run_local
from tests.fakes import FakeModelServer, fake_adapters, labels_of, png_bytes, tiff_bytes
from tests.synthetic import draw_nuclei


class Result:
    """What a local run left: the files, the facts, and what the model server saw."""

    def __init__(self, data: bytes, fields: dict[str, Any], folder: Path, **outside: Any) -> None:
        self.models = outside.pop("models", None) or FakeModelServer()
        name = fields.pop("original_name", "nuclei.tif")
        adapters = fake_adapters(models=self.models, **outside, key=data)
        self.report = MemoryReporter()
        job = new_job(find("predict"), {"input_file_name": "key", "original_name": name, **fields})
        answer = run_local(job, given=adapters, report=self.report)
        with zipfile.ZipFile(BytesIO(adapters.storage.get(answer["output_file_name"]))) as archive:
            self.files = {one: archive.read(one) for one in archive.namelist()}
        (labels,) = (name for name in self.files if name.endswith("_labels.ome.tif"))
        self.labels = labels_of(self.files[labels], folder)

    @property
    def notes(self) -> dict[str, Any]:
        return dict(self.report.notes())


def disc(shape: tuple[int, int], step: int, radius: float) -> NDArray[np.uint16]:
    """A grid of equal discs."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    half = step // 2
    near = np.hypot(rows % step - half, columns % step - half) <= radius
    return np.where(near, 3000, 200).astype(np.uint16)


@pytest.fixture
def nuclei() -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
    return draw_nuclei((200, 260), count=25, seed=4)


def test_drawn_nuclei_are_found(
    nuclei: tuple[NDArray[np.uint16], NDArray[np.int32]], tmp_path: Path
) -> None:
    image, truth = nuclei
    result = Result(tiff_bytes(image), {}, tmp_path)
    assert result.labels.shape == image.shape
    assert result.labels.max() == truth.max()
    overlap = ((result.labels > 0) & (truth > 0)).sum() / ((result.labels > 0) | (truth > 0)).sum()
    assert overlap > 0.85
    assert result.notes["cells"] == truth.max()
    assert set(result.files) == {
        "nuclei_labels.ome.tif",
        "nuclei_overlay.png",
        "nuclei_cells.csv",
        "nuclei_cells.geojson",
        "nuclei_rois.zip",
        "nuclei_job.json",
    }
    rows = list(csv.reader(StringIO(result.files["nuclei_cells.csv"].decode())))
    assert len(rows) == truth.max() + 1
    record = json.loads(result.files["nuclei_job.json"])
    assert record["model"] == {"name": "NuclearSegmentation", "version": 1}
    assert record["input"]["name"] == "nuclei.tif"
    assert set(record["outputs"]) == set(result.files) - {"nuclei_job.json"}


def test_known_pixel_size_rescales(tmp_path: Path) -> None:
    result = Result(tiff_bytes(disc((240, 240), 60, 20)), {"mpp": 0.325}, tmp_path)
    assert result.notes["scale"] == 0.5
    assert {shape[1] for shape in result.models.shapes} == {128}  # 120 px, up to whole 64s
    assert result.labels.shape == (240, 240)
    assert result.labels.max() == 16


def test_given_diameter_rescales(tmp_path: Path) -> None:
    result = Result(tiff_bytes(disc((240, 240), 60, 20)), {"diameter": 40}, tmp_path)
    assert result.notes["scale"] == pytest.approx(24 / 40)
    assert len(result.models.shapes) == 1


def test_unusual_nuclei_of_unknown_size_are_predicted_again(tmp_path: Path) -> None:
    result = Result(tiff_bytes(disc((480, 480), 120, 40)), {}, tmp_path)
    assert result.notes["diameter"] == pytest.approx(80, rel=0.05)
    assert result.notes["scale"] == pytest.approx(24 / 80, rel=0.05)
    assert {shape[1] for shape in result.models.shapes} == {512, 256, 128, 64, 192}
    assert result.labels.max() == 16
    assert result.labels.shape == (480, 480)


def test_usual_nuclei_need_one_coarser_view_to_be_sure(tmp_path: Path) -> None:
    result = Result(tiff_bytes(disc((240, 240), 60, 10)), {}, tmp_path)
    assert [shape[1] for shape in result.models.shapes] == [256, 128]
    assert result.notes["scale"] == 1
    assert result.labels.max() == 16


def test_nothing_seen_at_any_scale_is_no_error(tmp_path: Path) -> None:
    dim = FakeModelServer(
        answer=lambda images: dict.fromkeys(
            ("inner_distance", "outer_distance", "foreground"), np.zeros_like(images)
        )
    )
    result = Result(tiff_bytes(disc((240, 240), 60, 10)), {}, tmp_path, models=dim)
    assert [shape[1] for shape in dim.shapes] == [256, 128, 64, 64]
    assert result.notes["diameter"] is None
    assert result.labels.max() == 0
    assert result.notes["cells"] == 0


def test_tiles_are_batched(tmp_path: Path) -> None:
    image = disc((1100, 1300), 50, 10)
    result = Result(tiff_bytes(image), {"mpp": 0.65}, tmp_path, limits=Limits(max_batch=4))
    assert all(shape[0] <= 4 and shape[1:] == (512, 512, 1) for shape in result.models.shapes)
    assert sum(shape[0] for shape in result.models.shapes) == 12
    assert result.labels.max() == 22 * 26


def test_tile_that_the_model_insists_on(tmp_path: Path) -> None:
    models = FakeModelServer(tile=256)
    Result(tiff_bytes(disc((100, 120), 40, 9)), {"mpp": 0.65}, tmp_path, models=models)
    assert models.shapes == [(1, 256, 256, 1)]


def test_small_objects_are_removed(tmp_path: Path) -> None:
    image = disc((240, 240), 60, 12)
    image[56:64, 56:64] = 3000
    data = tiff_bytes(image)
    assert Result(data, {"mpp": 0.65}, tmp_path).labels.max() == 17
    assert Result(data, {"mpp": 0.65, "min_size": 100}, tmp_path).labels.max() == 16


def test_numbers_have_no_gaps_after_small_ones_are_removed(tmp_path: Path) -> None:
    image = disc((240, 240), 60, 12)
    image[56:64, 56:64] = 3000
    labels = Result(tiff_bytes(image), {"mpp": 0.65, "min_size": 100}, tmp_path).labels
    assert set(np.unique(labels)) == set(range(17))


def test_channel_is_picked(tmp_path: Path) -> None:
    stack = np.stack([np.zeros((240, 240), np.uint16), disc((240, 240), 60, 10)])
    stack[0, 0, 0] = 1
    data = tiff_bytes(stack)
    result = Result(data, {"axes": "CYX", "channel": 1}, tmp_path)
    assert result.labels.max() == 16
    assert result.notes["channel"] == 1
    with pytest.raises(MissingChannel, match="channels 0 to 1"):
        Result(data, {"axes": "CYX", "channel": 2}, tmp_path)


def test_colours_are_one_plane(tmp_path: Path) -> None:
    plane = (disc((240, 240), 60, 10) // 16).astype(np.uint8)
    colours = np.stack([plane, plane // 2, np.zeros_like(plane)], axis=-1)
    result = Result(png_bytes(colours), {"original_name": "photo.png"}, tmp_path)
    assert result.labels.max() == 16
    assert "brightest" in result.notes["channel"]
    assert Result(png_bytes(colours), {"channel": 0}, tmp_path).notes["channel"] == 0


def test_image_in_which_nothing_can_be_found(tmp_path: Path) -> None:
    with pytest.raises(UnusableImage, match=r"nuclei\.tif"):
        Result(tiff_bytes(np.full((64, 64), 7, np.uint16)), {}, tmp_path)
    with pytest.raises(UnusableImage, match="NaN"):
        Result(tiff_bytes(np.full((64, 64), np.nan, np.float32)), {}, tmp_path)


def test_model_without_a_head(tmp_path: Path) -> None:
    models = FakeModelServer(outputs=("inner_distance", "foreground"))
    with pytest.raises(ModelMismatch, match=r"'outer_distance'.*foreground .*inner_distance"):
        Result(tiff_bytes(disc((64, 64), 32, 8)), {}, tmp_path, models=models)


@pytest.mark.parametrize("fields", [{"model_name": "Other"}, {"model_version": 9}])
def test_unknown_model_is_told_before_the_download(fields: dict[str, Any]) -> None:
    job = new_job(find("predict"), {"input_file_name": "gone", **fields})
    with pytest.raises(UnknownModel):
        run_local(job, given=fake_adapters())


def test_missing_input() -> None:
    job = new_job(find("predict"), {"input_file_name": "gone"})
    with pytest.raises(MissingObject, match="gone"):
        run_local(job, given=fake_adapters())


def test_model_that_the_job_names_is_used(tmp_path: Path) -> None:
    models = FakeModelServer(versions={"NuclearSegmentation": (1,), "Mine": (2, 5)})
    data = tiff_bytes(disc((128, 128), 64, 10))
    assert Result(data, {"model_name": "Mine"}, tmp_path, models=models).notes["model"] == {
        "name": "Mine",
        "version": 5,
    }
    assert {name for name, _ in models.asked} == {"Mine"}


@pytest.mark.parametrize(
    "name", ["C:\\lab\\image.tif", "µ" * 240 + ".tif", "..", "a b/ü%20.ome.tif", "x.tif\n"]
)
def test_any_name_of_a_file_gives_an_output(name: str, tmp_path: Path) -> None:
    result = Result(tiff_bytes(disc((128, 128), 64, 10)), {"original_name": name}, tmp_path)
    assert all("\\" not in one and "/" not in one for one in result.files)


def test_progress_and_status_are_told() -> None:
    told: list[tuple[str, int]] = []
    job = new_job(find("predict"), {"input_file_name": "key"})
    data = tiff_bytes(disc((600, 600), 60, 10))
    report = MemoryReporter(lambda status, percent: told.append((status, percent)))
    given = fake_adapters(limits=Limits(max_batch=1), key=data)
    run_local(job, given=given, report=report)
    words = list(dict.fromkeys(status for status, _ in told))
    expected = ["started", "pre-processing", "predicting", "post-processing", "saving-results"]
    assert words == expected
    percents = [percent for status, percent in told if status == "predicting"]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert len(set(percents)) == 5
    assert set(report.seconds) == {"download", "preprocess", "predict", "postprocess", "upload"}


def test_the_record_names_the_version_that_predicted(tmp_path: Path) -> None:
    class Renewed(FakeModelServer):
        """Gets a newer version while the job is under way."""

        def signature(self, name: str, version: int | None = None) -> Signature:
            found = super().signature(name, version)
            self.versions = {"NuclearSegmentation": (1, 2)}
            return found

    result = Result(tiff_bytes(disc((240, 240), 60, 10)), {}, tmp_path, models=Renewed())
    assert result.notes["model"] == {"name": "NuclearSegmentation", "version": 2}
