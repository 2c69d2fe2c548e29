"""The job `spot` in this process, without and with a model."""

from __future__ import annotations

import csv
import zipfile
from dataclasses import replace
from io import BytesIO, StringIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from roifile import ImagejRoi

from kiosk_tasks.choices import Choices
from kiosk_tasks.errors import (
    InvalidAxes,
    InvalidParameter,
    MissingChannel,
    ModelMismatch,
    UnknownModel,
    UnusableImage,
)
from kiosk_tasks.imaging.picture import PALETTE
from kiosk_tasks.imaging.spots import find_spots
from kiosk_tasks.job import new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.ports import Signature, TensorSpec
from kiosk_tasks.run.local import MemoryReporter, run_local
from kiosk_tasks.scoring.spots import score_spots
from kiosk_tasks.segmenting.spot_model import SpotHeads, spot_heads
from tests.fakes import FakeModelServer, fake_adapters, tiff_bytes
from tests.simulated_spots import CONDITIONS, Scene, draw_spots


class Result:
    """What a local run left."""

    def __init__(self, pixels: NDArray[Any], *, choices: Choices | None = None, **fields: Any):
        models = fields.pop("models", FakeModelServer())
        given = fake_adapters(models=models, key=tiff_bytes(pixels, photometric="minisblack"))
        given = replace(given, choices=choices or Choices())
        self.report = MemoryReporter()
        fields = {"input_file_name": "key", "original_name": "my spots.tif", **fields}
        answer = run_local(new_job(find("spot"), fields), given=given, report=self.report)
        with zipfile.ZipFile(BytesIO(given.storage.get(answer["output_file_name"]))) as archive:
            self.files = {name: archive.read(name) for name in archive.namelist()}

    @property
    def notes(self) -> dict[str, Any]:
        return dict(self.report.notes())

    def rows(self, name: str = "my spots_spots.csv") -> list[dict[str, str]]:
        return list(csv.DictReader(StringIO(self.files[name].decode())))

    def positions(self) -> NDArray[np.float64]:
        return np.array([[float(r["y"]), float(r["x"])] for r in self.rows()]).reshape(-1, 2)


def image(seed: int = 1, *, spots: int = 300) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    return draw_spots(Scene(spots=spots, snr=10), seed=seed, shape=(160, 200))


# --- without a model


def test_spots_come_as_tables_and_a_picture() -> None:
    pixels, truth = image()
    result = Result(pixels, mpp=0.1)
    assert set(result.files) == {
        "my spots_spots.csv",
        "my spots_spots_napari.csv",
        "my spots_spots.geojson",
        "my spots_spots.roi",
        "my spots_overlay.png",
        "my spots_job.json",
    }
    assert score_spots(truth, result.positions()).f1 > 0.95
    points = np.array(ImagejRoi.frombytes(result.files["my spots_spots.roi"]).coordinates())
    np.testing.assert_allclose(points[:, ::-1], result.positions(), atol=0.001)
    assert result.notes["spots"] == len(result.rows())
    assert result.notes["detector"] == "log"
    first = result.rows()[0]
    assert list(first) == ["y", "x", "y_um", "x_um", "intensity", "signal_to_noise"]
    assert float(first["y_um"]) == pytest.approx(float(first["y"]) * 0.1, abs=1e-3)
    assert all(float(row["intensity"]) > 0 for row in result.rows())
    napari = result.rows("my spots_spots_napari.csv")
    assert list(napari[0]) == ["index", "axis-0", "axis-1"]
    assert (napari[0]["axis-0"], napari[0]["axis-1"]) == (first["y"], first["x"])


def test_rings_leave_the_spots_visible() -> None:
    pixels = np.full((100, 100), 100, np.uint16)
    pixels += np.random.default_rng(0).integers(0, 5, pixels.shape).astype(np.uint16)
    rows, columns = np.mgrid[:100, :100]
    bright = 900 * np.exp(-((rows - 40) ** 2 + (columns - 60) ** 2) / (2 * 1.3**2))
    result = Result(pixels + bright.astype(np.uint16))
    picture = imagecodecs.png_decode(result.files["my spots_overlay.png"]).astype(int)
    assert picture.shape == (800, 800, 3)
    ring = (picture == PALETTE[2]).all(axis=2)
    y, x = np.nonzero(ring)
    assert np.hypot(y - 323.5, x - 483.5) == pytest.approx(30, abs=1.5)  # 1.25 diameters
    assert (picture[315:333, 475:493] > 150).all()  # the spot itself, grey
    assert np.ptp(picture[315:333, 475:493], axis=2).max() == 0


def test_more_sensitive_finds_more() -> None:
    pixels, _truth = draw_spots(CONDITIONS["dim"], seed=1, shape=(160, 200))
    assert Result(pixels, sensitivity=2).notes["spots"] > Result(pixels).notes["spots"] + 5


def test_unknown_pixel_size_leaves_the_micrometres_empty() -> None:
    assert {row["x_um"] for row in Result(image()[0]).rows()} == {""}


def test_channel_is_picked() -> None:
    pixels, truth = image()
    stack = np.stack([np.full_like(pixels, 3), pixels])
    result = Result(stack, axes="CYX", channel=1)
    assert score_spots(truth, result.positions()).f1 > 0.95
    with pytest.raises(MissingChannel, match="channels 0 to 1"):
        Result(stack, axes="CYX", channel=2)


@pytest.mark.parametrize(("axes", "column"), [("TYX", "frame"), ("BYX", "batch")])
def test_planes_of_a_movie_or_a_batch_are_told_apart(axes: str, column: str) -> None:
    planes = [image(seed, spots=count)[0] for seed, count in enumerate((150, 300, 600))]
    planes[1][:] = 7  # an empty frame has no spots, and is no error
    result = Result(np.stack(planes), axes=axes)
    counts = np.bincount([int(row[column]) for row in result.rows()], minlength=3)
    assert counts.tolist() == [len(find_spots(plane)) for plane in planes]
    assert counts[1] == 0
    assert result.notes["planes"] == 3
    assert list(result.rows("my spots_spots_napari.csv")[0]) == [
        *("index", "axis-0", "axis-1", "axis-2")
    ]
    positions = ImagejRoi.frombytes(result.files["my spots_spots.roi"]).counter_positions
    assert positions is not None
    assert np.bincount(positions.astype(int) - 1, minlength=3).tolist() == counts.tolist()
    pictures = [name for name in result.files if name.endswith(".png")]
    assert pictures == [f"my spots_{column}_{n}_overlay.png" for n in range(3)]


def test_a_long_movie_has_few_pictures() -> None:
    movie = np.random.default_rng(0).integers(0, 99, (40, 16, 16)).astype(np.uint8)
    result = Result(movie, axes="TYX")
    pictures = [name for name in result.files if name.endswith(".png")]
    assert len(pictures) == 16
    assert {"my spots_frame_0_overlay.png", "my spots_frame_39_overlay.png"} <= set(pictures)


def test_a_stack_is_projected_only_if_asked() -> None:
    pixels, truth = image()
    stack = np.stack([np.where(np.arange(200) < 100, pixels, 100), pixels])
    with pytest.raises(InvalidAxes, match="Set project"):
        Result(stack, axes="ZYX")
    result = Result(stack, axes="ZYX", project=True)
    assert score_spots(truth, result.positions()).f1 > 0.95


def test_two_axes_of_planes_are_too_many() -> None:
    with pytest.raises(InvalidAxes, match="movie or a batch"):
        Result(np.zeros((2, 2, 9, 9), np.uint8), axes="TBYX")


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (np.full((20, 20), 5, np.uint8), "every pixel of my spots.tif has the value 5"),
        (np.full((20, 20), np.nan, np.float32), "NaN"),
    ],
)
def test_nothing_to_look_at(pixels: NDArray[Any], says: str) -> None:
    with pytest.raises(UnusableImage, match=says):
        Result(pixels)


def test_noise_alone_is_no_error() -> None:
    pixels = np.random.default_rng(3).normal(100, 3, (64, 64)).astype(np.uint16)
    result = Result(pixels)
    assert result.rows() == []
    assert result.notes["spots"] == 0


# --- with a model


class SpotModels(FakeModelServer):
    """Serves `Spots`, which knows the spots' places to the fraction of a pixel.

    channels: of its heads.
    """

    channels: dict[str, int] = {"offset_regression": 2, "classification": 2}  # noqa: RUF012

    def signature(self, name: str, version: int | None = None) -> Signature:
        found = super().signature(name, version)
        heads = {
            head: TensorSpec(head, np.dtype(np.float32), (-1, self.tile, self.tile, count))
            for head, count in self.channels.items()
        }
        return replace(found, outputs=heads)


def spot_models(**more: Any) -> SpotModels:
    return SpotModels(versions={"Spots": (1, 2)}, answer=heads_of, **more)


def heads_of(images: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return probability 1 around each bright pixel, and offsets from there to it, plus 0.25."""
    offsets = np.zeros((*images.shape[:3], 2), np.float32)
    spot = np.zeros(images.shape[:3], np.float32)
    for index, plane in enumerate(images[..., 0]):
        for y, x in np.argwhere(plane > 0.5):
            for i in range(max(0, y - 1), min(plane.shape[0], y + 2)):
                for j in range(max(0, x - 1), min(plane.shape[1], x + 2)):
                    spot[index, i, j] = 1
                    offsets[index, i, j] = (y + 0.25 - i, x - 0.25 - j)
    return {
        "offset_regression": offsets,
        "classification": np.stack([1 - spot, spot], axis=-1),
    }


def points(shape: tuple[int, int], *places: tuple[int, int]) -> NDArray[np.uint16]:
    pixels = np.random.default_rng(0).integers(100, 110, shape).astype(np.uint16)
    for y, x in places:
        pixels[y, x] = 5000
    return pixels


def test_model_finds_spots_at_their_offsets() -> None:
    models = spot_models(tile=64)
    pixels = points((150, 90), (3, 4), (70, 60), (72, 60), (149, 89))
    result = Result(pixels, models=models, choices=Choices(spot_model="Spots"))
    found = result.positions()
    assert found == pytest.approx(
        np.array([[3.25, 3.75], [70.25, 59.75], [72.25, 59.75], [149.25, 88.75]])
    )
    assert result.notes["detector"] == "model"
    assert result.notes["model"] == {"name": "Spots", "version": 2}
    assert {shape[1:] for shape in models.shapes} == {(64, 64, 1)}
    assert sum(shape[0] for shape in models.shapes) > 4


def test_pixel_size_is_the_models() -> None:
    """The model sees an image of 0.2 µm per pixel twice as large, and positions come back."""
    models = spot_models()
    pixels = points((40, 60), (20, 30))
    result = Result(pixels, models=models, model_name="Spots", mpp=0.2)
    assert models.shapes[0][1] == 128  # 120 px, up to whole 64s
    assert len(result.positions())  # the toy sees one for each pixel of the enlarged spot
    assert np.abs(result.positions() - [20, 30]).max() <= 0.5


def test_named_version_and_threshold() -> None:
    models = spot_models()
    pixels = points((40, 60), (20, 30))
    result = Result(pixels, models=models, model_name="Spots", model_version=1, threshold=1.0)
    assert result.notes["model"] == {"name": "Spots", "version": 1}
    assert result.notes["spots"] == 0  # none is above 1


def test_model_of_the_queue_may_be_left_out() -> None:
    models = spot_models()
    choices = Choices(spot_model="Spots")
    result = Result(image()[0], models=models, choices=choices, detector="log")
    assert result.notes["detector"] == "log"
    assert models.asked == []


def test_clipping_brings_dim_spots_out() -> None:
    pixels = points((64, 64), *((10, x) for x in range(10, 60, 10)))
    pixels[30, 30] = 65000  # the model's other spots are below half of that
    dim = Result(pixels, models=spot_models(), choices=Choices(spot_model="Spots"))
    assert dim.positions().round().tolist() == [[30.0, 30.0]]
    clipped = Choices(spot_model="Spots", spot_clip=True)
    found = Result(pixels, models=spot_models(), choices=clipped).positions().round().tolist()
    assert [10.0, 10.0] in found


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(UnknownModel):
        Result(image()[0], models=spot_models(), model_name="Other")
    with pytest.raises(InvalidParameter, match="no spot model is named"):
        Result(image()[0], detector="model")


def test_a_model_that_finds_no_spots_is_refused_before_any_work() -> None:
    models = FakeModelServer()
    with pytest.raises(ModelMismatch, match="does not find spots: it lacks offsets"):
        Result(image()[0], models=models, model_name="NuclearSegmentation")
    assert models.shapes == []


@pytest.mark.parametrize(
    ("channels", "offsets", "probability"),
    [
        ({"offset_regression": 2, "classification": 2}, "offset_regression", "classification"),
        ({"output_0": 2, "output_1": 2}, "output_0", "output_1"),
        ({"output_1": 2, "output_0": 1}, "output_1", "output_0"),
        ({"a": 2, "probability": 1, "b": 3}, "a", "probability"),
        ({"head_10": 2, "head_2": 2}, "head_2", "head_10"),
        ({"offset": -1, "classes": -1}, "offset", "classes"),
    ],
)
def test_heads_are_known_by_name_and_channels(
    channels: dict[str, int], offsets: str, probability: str
) -> None:
    assert spot_heads(channels, "m") == SpotHeads(offsets, probability)


@pytest.mark.parametrize(
    ("channels", "says"),
    [
        ({"offset": 2}, r"lacks the probability of a spot \(1 or 2 channels\). It gives .*offset"),
        ({"classification": 2}, "lacks offsets"),
        ({"inner": 1, "outer": 1}, r"lacks offsets .* and the probability|lacks offsets"),
        ({}, "nothing"),
    ],
)
def test_missing_heads_are_named(channels: dict[str, int], says: str) -> None:
    with pytest.raises(ModelMismatch, match=says):
        spot_heads(channels, "model M version 1")
