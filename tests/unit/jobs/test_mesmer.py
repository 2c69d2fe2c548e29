"""`mesmer`: whole cells and nuclei of two channels, by our model's heads and by DeepCell's."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk_tasks.choices import Choices
from kiosk_tasks.errors import (
    InvalidAxes,
    InvalidParameter,
    MissingChannel,
    ModelMismatch,
    UnknownModel,
    UnusableImage,
)
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.job import new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.ports import Signature, TensorSpec
from kiosk_tasks.run.local import MemoryReporter, run_local
from kiosk_tasks.segmenting.multiplex import nuclei_in_cells, pick_channels, prepare
from tests.fakes import FakeModelServer, fake_adapters, labels_of, tiff_bytes
from tests.synthetic import perfect_heads

OURS = {
    "whole_cell_inner_distance": 1,
    "whole_cell_pixelwise": 3,
    "nuclear_inner_distance": 1,
    "nuclear_pixelwise": 3,
}
DEEPCELL = {"semantic_0": 1, "semantic_1": 3, "semantic_2": 1, "semantic_3": 3}
STEP = 32  # px between two drawn cells


@dataclass
class TissueServer(FakeModelServer):
    """Answers as a perfect network would for `tissue`: each channel above a half is a cell."""

    versions: dict[str, tuple[int, ...]] = field(
        default_factory=lambda: {"MultiplexSegmentation": (1,), "Mine": (3,)}
    )
    heads: dict[str, int] = field(default_factory=lambda: OURS)
    channels: int = 2

    def signature(self, name: str, version: int | None = None) -> Signature:
        known = super().signature(name, version)
        image = TensorSpec("image", np.dtype(np.float32), (-1, self.tile, self.tile, self.channels))
        outputs = {
            head: TensorSpec(head, np.dtype(np.float32), (-1, self.tile, self.tile, count))
            for head, count in self.heads.items()
        }
        return Signature(name, known.version, {"image": image}, outputs)

    def predict(self, _signature: Any, batches: Any, **_: Any) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        for batch in batches:
            images = batch["image"]
            assert images.dtype == np.float32
            assert images.min() >= 0
            assert images.max() <= 1
            self.shapes.append(images.shape)
            replies = [self._heads(image) for image in images]
            yield {name: np.stack([reply[name] for reply in replies]) for name in self.heads}

    def _heads(self, image: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
        from scipy import ndimage

        answers: list[NDArray[np.float32]] = []
        for channel in (1, 0):  # whole cells, then nuclei
            labels, _count = ndimage.label(image[..., channel] > 0.5)
            inner, _outer, inside = perfect_heads(labels.astype(np.int32))
            interior = ndimage.binary_erosion(inside).astype(np.float32)
            answers.append(inner[..., np.newaxis])
            answers.append(np.stack([1 - inside, interior, inside - interior], axis=-1))
        return dict(zip(self.heads, answers, strict=False))


class Result:
    """What a local run left."""

    def __init__(self, data: bytes, folder: Path, **fields: Any) -> None:
        self.models = fields.pop("models", None) or TissueServer()
        name = fields.pop("original_name", "tissue.tif")
        adapters = fake_adapters(models=self.models, key=data)
        adapters = replace(adapters, choices=fields.pop("choices", Choices()))
        self.report = MemoryReporter()
        job = new_job(find("mesmer"), {"input_file_name": "key", "original_name": name, **fields})
        answer = run_local(job, given=adapters, report=self.report)
        with zipfile.ZipFile(BytesIO(adapters.storage.get(answer["output_file_name"]))) as archive:
            self.files = {one: archive.read(one) for one in archive.namelist()}
        self.labels = {
            part: labels_of(self.files[f"tissue_{part}_labels.ome.tif"], folder)
            for part in ("whole-cell", "nuclear")
            if f"tissue_{part}_labels.ome.tif" in self.files
        }

    @property
    def notes(self) -> dict[str, Any]:
        return dict(self.report.notes())


def tissue(shape: tuple[int, int] = (160, 192)) -> NDArray[np.uint16]:
    """Cells in a grid, 24 px wide, with a nucleus of 12 px each: (C, Y, X)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    away = np.hypot(rows % STEP - STEP // 2, columns % STEP - STEP // 2)
    nuclear = np.where(away <= 6, 3000, 100)
    membrane = np.where(away <= 12, 2000, 50)
    return np.stack([nuclear, membrane]).astype(np.uint16)


def stored(pixels: NDArray[Any], axes: str = "CYX") -> bytes:
    return tiff_bytes(pixels, photometric="minisblack", metadata={"axes": axes})


CELLS = (160 // STEP) * (192 // STEP)


@pytest.mark.parametrize("heads", [OURS, DEEPCELL], ids=["ours", "DeepCell's"])
def test_whole_cells_are_found(heads: dict[str, int], tmp_path: Path) -> None:
    result = Result(stored(tissue()), tmp_path, axes="CYX", models=TissueServer(heads=heads))
    (cells,) = result.labels.values()
    assert set(result.labels) == {"whole-cell"}
    assert cells.max() == result.notes["cells"] == CELLS
    truth = tissue()[1] > 1000
    assert ((cells > 0) & truth).sum() / ((cells > 0) | truth).sum() > 0.8
    assert result.notes["model"] == {"name": "MultiplexSegmentation", "version": 1}
    assert result.notes["channels"] == [0, 1]
    assert set(result.files) == {
        "tissue_whole-cell_labels.ome.tif",
        "tissue_whole-cell_overlay.png",
        "tissue_whole-cell_cells.csv",
        "tissue_whole-cell_cells.geojson",
        "tissue_whole-cell_rois.zip",
        "tissue_job.json",
    }


@pytest.mark.parametrize("heads", [OURS, DEEPCELL], ids=["ours", "DeepCell's"])
def test_nuclei_are_found(heads: dict[str, int], tmp_path: Path) -> None:
    result = Result(
        stored(tissue()),
        tmp_path,
        axes="CYX",
        compartment="nuclear",
        models=TissueServer(heads=heads),
    )
    assert set(result.labels) == {"nuclear"}
    nuclei = result.labels["nuclear"]
    truth = tissue()[0] > 1000
    assert nuclei.max() == CELLS
    assert ((nuclei > 0) & truth).sum() / ((nuclei > 0) | truth).sum() > 0.6


def test_both_come_with_a_table_of_which_nucleus_lies_in_which_cell(tmp_path: Path) -> None:
    pixels = tissue()
    pixels[1, :STEP, :STEP] = 50  # the first nucleus has no cell
    pixels[0, -STEP:, -STEP:] = 100  # the last cell has no nucleus
    result = Result(stored(pixels), tmp_path, axes="CYX", compartment="both")
    assert result.notes["cells"] == result.labels["whole-cell"].max() == CELLS - 1
    assert result.notes["nuclei"] == result.labels["nuclear"].max() == CELLS - 1
    text = result.files["tissue_nuclei_in_cells.csv"].decode()
    rows = [list(map(int, row)) for row in list(csv.reader(StringIO(text)))[1:]]
    assert text.startswith("nucleus,cell,shared_px\n")
    assert len(rows) == CELLS - 1
    assert rows[0][:2] == [1, 0]
    assert [row[1] for row in rows[1:]] == list(range(1, CELLS - 1))
    middle = result.labels["nuclear"][STEP // 2, STEP + STEP // 2]
    assert rows[middle - 1][1] == result.labels["whole-cell"][STEP // 2, STEP + STEP // 2]


def test_nuclei_in_cells_by_hand() -> None:
    nuclei = np.array([[1, 1, 1, 0, 2, 2], [3, 3, 0, 0, 4, 4]], np.int32)
    cells = np.array([[5, 5, 0, 0, 0, 0], [2, 3, 0, 1, 4, 4]], np.int32)
    expected = [[1, 5, 2], [2, 0, 2], [3, 2, 1], [4, 4, 2]]
    assert nuclei_in_cells(nuclei, cells).tolist() == expected
    nothing = np.zeros_like(nuclei)
    assert nuclei_in_cells(nothing, cells).tolist() == []
    assert nuclei_in_cells(nuclei, nothing).tolist() == [[1, 0, 3], [2, 0, 2], [3, 0, 2], [4, 0, 2]]


def test_the_operator_chooses_model_and_compartment(tmp_path: Path) -> None:
    choices = Choices(mesmer_model="Mine:3", mesmer_compartment="nuclear")
    result = Result(stored(tissue()), tmp_path, axes="CYX", choices=choices)
    assert set(result.labels) == {"nuclear"}
    assert result.notes["model"] == {"name": "Mine", "version": 3}
    asked = Result(
        stored(tissue()), tmp_path, axes="CYX", choices=choices, compartment="whole-cell"
    )
    assert set(asked.labels) == {"whole-cell"}


def test_channels_are_picked(tmp_path: Path) -> None:
    nuclear, membrane = tissue()
    other = np.full_like(nuclear, 7)
    data = stored(np.stack([membrane, other, nuclear]))
    result = Result(data, tmp_path, axes="CYX", channels="2,0", compartment="both")
    assert result.notes["channels"] == [2, 0]
    areas = {part: int((labels > 0).sum()) for part, labels in result.labels.items()}
    assert areas["whole-cell"] > 2 * areas["nuclear"]


def test_tables_tell_the_brightness_of_the_channel_that_shows_the_part(tmp_path: Path) -> None:
    result = Result(stored(tissue()), tmp_path, axes="CYX", compartment="both")

    def brightness(part: str) -> float:
        rows = csv.DictReader(StringIO(result.files[f"tissue_{part}_cells.csv"].decode()))
        return float(next(rows)["mean_intensity"])

    assert brightness("whole-cell") == pytest.approx(2000, rel=0.2)
    assert brightness("nuclear") == pytest.approx(3000, rel=0.2)


def test_known_pixel_size_rescales_and_labels_come_back(tmp_path: Path) -> None:
    result = Result(stored(tissue((512, 512))), tmp_path, axes="CYX", mpp=0.25)
    assert result.notes["scale"] == 0.5
    assert {shape[1:] for shape in result.models.shapes} == {(256, 256, 2)}
    assert result.labels["whole-cell"].shape == (512, 512)
    assert result.labels["whole-cell"].max() == 256
    scaled = Result(stored(tissue((512, 512))), tmp_path, axes="CYX", scale=0.5)
    np.testing.assert_array_equal(scaled.labels["whole-cell"], result.labels["whole-cell"])


def test_unknown_pixel_size_is_told_in_the_record(tmp_path: Path) -> None:
    unknown = Result(stored(tissue()), tmp_path, axes="CYX").notes
    known = Result(stored(tissue()), tmp_path, axes="CYX", mpp=0.5).notes
    assert (unknown["scale"], unknown["pixel_size_known"]) == (1, False)
    assert (known["scale"], known["pixel_size_known"]) == (1, True)


def test_tiles_overlap_by_a_quarter(tmp_path: Path) -> None:
    result = Result(stored(tissue((448, 256))), tmp_path, axes="CYX")
    assert sum(shape[0] for shape in result.models.shapes) == 2
    assert {shape[1:] for shape in result.models.shapes} == {(256, 256, 2)}
    assert result.labels["whole-cell"].max() == 14 * 8


def test_the_models_own_tile_is_minded(tmp_path: Path) -> None:
    result = Result(stored(tissue()), tmp_path, axes="CYX", models=TissueServer(tile=256))
    assert result.models.shapes == [(1, 256, 256, 2)]
    assert result.labels["whole-cell"].max() == CELLS


@pytest.mark.parametrize(
    ("pixels", "axes", "fields", "said"),
    [
        (tissue()[0], "YX", {}, r"tissue\.tif .*1 channel, 0; .*nuclei in channel 0 and the memb"),
        (tissue()[:1], "CYX", {}, r"1 channel, 0; .*membranes in channel 1\. Send both"),
        (tissue(), "ZYX", {}, r"membranes in channel 1\. .*channels lie along Z, .*axes=\"CYX\""),
        (tissue(), "CYX", {"channels": "1,4"}, r"2 channels, 0 to 1; .*channel 1 .*channel 4"),
    ],
)
def test_missing_channel_says_what_is_expected_where(
    pixels: NDArray[Any], axes: str, fields: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(MissingChannel, match=said):
        Result(stored(pixels, axes), tmp_path, axes=axes, **fields)


@pytest.mark.parametrize(
    "channels", ["0", "0,1,2", "a,b", "0,", ",1", "-1,0", pytest.param("9" * 5000 + ",0", id="9…")]
)
def test_channels_that_name_no_two(channels: str) -> None:
    with pytest.raises(InvalidParameter, match=r"'channels'.* nuclear one first, then the memb"):
        new_job(find("mesmer"), {"input_file_name": "key", "channels": channels})


@pytest.mark.parametrize(("empty", "said"), [(0, r"nuclear channel \(0\)"), (1, "membrane")])
def test_a_channel_without_signal_is_named(empty: int, said: str, tmp_path: Path) -> None:
    pixels = tissue()
    pixels[empty] = 9
    with pytest.raises(UnusableImage, match=said):
        Result(stored(pixels), tmp_path, axes="CYX")


def test_movie_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidAxes, match=r'"TCYX" with 2 along T; this job takes "YXC"'):
        Result(stored(np.stack([tissue()] * 2), "TCYX"), tmp_path, axes="TCYX")


def test_tissue_without_cells_is_no_error(tmp_path: Path) -> None:
    class Blind(TissueServer):
        """Sees nothing."""

        def _heads(self, image: NDArray[Any]) -> dict[str, NDArray[np.float32]]:
            heads = {n: np.zeros((*image.shape[:2], k), np.float32) for n, k in self.heads.items()}
            for name, head in heads.items():
                head[..., 0] = name.endswith("pixelwise")
            return heads

    result = Result(stored(tissue()), tmp_path, axes="CYX", compartment="both", models=Blind())
    assert (result.notes["cells"], result.notes["nuclei"]) == (0, 0)
    assert result.files["tissue_nuclei_in_cells.csv"] == b"nucleus,cell,shared_px\n"


def test_a_model_of_one_channel_is_refused_before_the_download() -> None:
    job = new_job(find("mesmer"), {"input_file_name": "gone"})
    with pytest.raises(ModelMismatch, match=r"MultiplexSegmentation .*two channels, nuclear"):
        run_local(job, given=fake_adapters(models=TissueServer(channels=1)))


def test_a_model_that_is_not_served_is_told_before_the_download() -> None:
    job = new_job(find("mesmer"), {"input_file_name": "gone", "model_name": "Other"})
    with pytest.raises(UnknownModel):
        run_local(job, given=fake_adapters(models=TissueServer()))


def test_missing_heads_are_named(tmp_path: Path) -> None:
    models = TissueServer(heads={"semantic_0": 1, "semantic_1": 3})
    assert Result(stored(tissue()), tmp_path, axes="CYX", models=models).notes["cells"] == CELLS
    with pytest.raises(ModelMismatch, match=r"nuclear inner distance and nuclear pixelwise"):
        Result(stored(tissue()), tmp_path, axes="CYX", models=models, compartment="nuclear")


def test_prepare_clips_outliers_and_evens_contrast(rng: np.random.Generator) -> None:
    plane = rng.gamma(4, 25, (256, 256))
    plane[:, 128:] *= 0.2  # one half is dim
    hot = plane.copy()
    hot[0, 0] = 1e6
    planes = prepare(np.stack([plane, hot, np.full_like(plane, 3)], axis=-1))
    assert planes.dtype == np.float32
    assert planes.shape == (256, 256, 3)
    assert (planes[..., 2] == 0).all()
    np.testing.assert_allclose(planes[1:, 1:, 1], planes[1:, 1:, 0], atol=0.02)

    def contrast(image: NDArray[Any]) -> float:
        return float(image[:, 192:].std() / image[:, :64].std())

    assert contrast(planes[..., 0]) > 1.25 * contrast(plane)


def test_channels_of_any_axes() -> None:
    planes = tissue()
    for axes, pixels in (("CYX", planes), ("YXC", np.moveaxis(planes, 0, -1))):
        picked = pick_channels(Image(pixels, axes, 0.5), (1, 0), "x.tif")
        assert (picked.axes, picked.mpp) == ("YXC", 0.5)
        np.testing.assert_array_equal(picked.data[..., 0], planes[1])
        np.testing.assert_array_equal(picked.data[..., 1], planes[0])
