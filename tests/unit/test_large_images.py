"""Large images, block by block: the same results as in one piece."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.errors import (
    ImageTooLarge,
    InvalidParameter,
    MissingChannel,
    PartFailed,
    UnusableImage,
)
from kiosk_tasks.imaging.blocks import Box
from kiosk_tasks.imaging.intensity import equalise_adaptively, percentiles
from kiosk_tasks.imaging.regions import RegionImage, open_regions
from kiosk_tasks.imaging.scale import resize
from kiosk_tasks.job import Limits, new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.ports import Signature, TensorSpec
from kiosk_tasks.run.local import MemoryReporter, run_local
from kiosk_tasks.segmenting import large_plan
from kiosk_tasks.segmenting.large_pixels import _equalised, seen_window
from kiosk_tasks.segmenting.large_survey import exact_percentiles, seen_percentiles, survey
from kiosk_tasks.segmenting.multiplex import nuclei_in_cells
from kiosk_tasks.wiring import Adapters
from tests.fakes import FakeModelServer, fake_adapters, png_bytes
from tests.synthetic import draw_nuclei

TILE, SHAPE = 128, (420, 500)
LOW = Limits(max_whole_pixels=2**14)


def heads(images: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What `tests.nuclei_model` gives, nearly: a threshold and averages."""

    def blur(planes: NDArray[Any], side: int) -> NDArray[Any]:
        return ndimage.uniform_filter(planes, (1, side, side, 1), mode="constant")

    foreground = 1 / (1 + np.exp(-20 * (blur(images, 3) - 0.35)))
    outer = blur(foreground, 9)
    planes = {"inner_distance": blur(outer, 5), "outer_distance": outer, "foreground": foreground}
    return {name: plane.astype(np.float32) for name, plane in planes.items()}


def tiff(pixels: NDArray[Any], **more: Any) -> bytes:
    file = io.BytesIO()
    given = {"tile": (TILE, TILE), "photometric": "minisblack", **more}
    tifffile.imwrite(file, pixels, **given)
    return file.getvalue()


@pytest.fixture(scope="module")
def drawn() -> NDArray[np.uint16]:
    return draw_nuclei(SHAPE, count=160, seed=5)[0]


def ran(
    data: bytes, *, limits: Limits, kind: str = "predict", name: str = "x.tif", **params: Any
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Run a job in this process; return its files and what it has noted."""
    models = FakeModelServer(tile=TILE, answer=heads)
    adapters = fake_adapters(models=models, limits=limits, **_bucket(data, name))
    return finished(adapters, kind=kind, input_file_name=name, **params)


def _bucket(data: bytes, name: str = "x.tif") -> Any:
    return {name: data}


def finished(
    adapters: Adapters, *, kind: str = "predict", **fields: Any
) -> tuple[dict[str, bytes], dict[str, Any]]:
    report = MemoryReporter()
    before = set(adapters.storage.list())
    output = run_local(new_job(find(kind), fields), given=adapters, report=report)
    key = output["output_file_name"]
    assert set(adapters.storage.list()) == before | {key}
    with zipfile.ZipFile(io.BytesIO(adapters.storage.get(key))) as packed:
        return {one: packed.read(one) for one in packed.namelist()}, report.notes()


def labels_in(files: Mapping[str, bytes], name: str = "x_labels.ome.tif") -> NDArray[np.int32]:
    return np.asarray(tifffile.imread(io.BytesIO(files[name]), level=0), np.int32)


def matched(blocks: NDArray[np.int32], whole: NDArray[np.int32]) -> NDArray[np.int64]:
    """Check that both have the same cells; return the numbers of `whole` by those of `blocks`."""
    assert blocks.max() == whole.max()
    count = int(whole.max()) + 1
    one, other = np.divmod(np.unique(blocks * np.int64(count) + whole), count)
    assert np.array_equal(one, np.arange(count))
    assert np.array_equal(np.sort(other), np.arange(count))
    assert other[0] == 0
    return other


def test_files_are_those_of_the_image_in_one_piece(drawn: NDArray[np.uint16]) -> None:
    data = tiff(drawn, resolution=(1e4 / 0.65, 1e4 / 0.65), resolutionunit="CENTIMETER")
    whole, _ = ran(data, limits=Limits())
    blocks, notes = ran(data, limits=LOW)
    assert notes["blocks"]["blocks"] > 9
    assert notes["blocks"]["jobs"] > 3
    assert set(blocks) == set(whole)
    number = matched(labels_in(blocks), labels_in(whole))
    assert len(number) > 100
    assert notes["cells"] == len(number) - 1
    rows = [text["x_cells.csv"].decode().splitlines() for text in (whole, blocks)]
    assert rows[0][0] == rows[1][0]
    of_whole = {int(row.split(",")[0]): row.partition(",")[2] for row in rows[0][1:]}
    of_blocks = {int(row.split(",")[0]): row.partition(",")[2] for row in rows[1][1:]}
    assert list(of_blocks) == list(range(1, len(number)))
    assert all(of_whole[number[label]] == row for label, row in of_blocks.items())
    shapes = [json.loads(text["x_cells.geojson"])["features"] for text in (whole, blocks)]
    outlines = {int(one["properties"]["name"]): one["geometry"] for one in shapes[0]}
    assert len(shapes[1]) == len(outlines)
    assert all(
        outlines[number[int(one["properties"]["name"])]] == one["geometry"] for one in shapes[1]
    )
    with zipfile.ZipFile(io.BytesIO(blocks["x_rois.zip"])) as rois:
        assert len(rois.namelist()) == len(outlines)


def hills(shape: tuple[int, int], seed: int) -> NDArray[np.uint16]:
    """Draw wide hills that run into each other: a strip of one does not say which it belongs to."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    field = np.zeros(shape)
    for y in range(25, shape[0], 50):
        for x in range(25, shape[1], 50):
            top_y, top_x = y + rng.uniform(-8, 8), x + rng.uniform(-8, 8)
            far = (rows - top_y) ** 2 + (columns - top_x) ** 2
            field = np.maximum(field, rng.uniform(0.8, 1) * np.exp(-far / (2 * 16**2)))
    return (60_000 * field).astype(np.uint16)


def test_cells_at_borders_need_the_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiff(hills(SHAPE, seed=3), resolution=(1e4 / 0.65, 1e4 / 0.65), resolutionunit=3)

    def as_they_are(images: NDArray[Any]) -> dict[str, NDArray[Any]]:
        head = images.astype(np.float32)
        return {"inner_distance": head, "outer_distance": head, "foreground": head + 0.4}

    def labels(limits: Limits) -> NDArray[np.int32]:
        models = FakeModelServer(tile=TILE, answer=as_they_are)
        adapters = fake_adapters(models=models, limits=limits, **_bucket(data))
        return labels_in(finished(adapters, input_file_name="x.tif")[0])

    whole = labels(Limits())
    assert len(matched(labels(LOW), whole)) > 60
    monkeypatch.setattr(large_plan, "MARGIN", 3)
    with pytest.raises(AssertionError):
        matched(labels(LOW), whole)


def test_labels_have_smaller_views_and_the_pixel_size(tmp_path: Path) -> None:
    image, _ = draw_nuclei((1300, 400), count=40, seed=2)
    limits = Limits(max_whole_pixels=2**17)
    files, notes = ran(tiff(image), limits=limits, mpp=0.65, labels_only=True)
    assert notes["blocks"]["blocks"] > 9
    assert notes["blocks"]["jobs"] > 3
    assert notes["cells"] > 30
    assert sorted(files) == ["x_job.json", "x_labels.ome.tif"]
    path = tmp_path / "labels.ome.tif"
    path.write_bytes(files["x_labels.ome.tif"])
    with tifffile.TiffFile(path) as file:
        (series,) = file.series
        assert [level.shape for level in series.levels] == [(1300, 400), (650, 200)]
        full, half = (level.asarray() for level in series.levels)
        assert np.array_equal(half, full[1::2, 1::2])
        assert 'PhysicalSizeX="0.65"' in (file.ome_metadata or "")


def zarr_zip(pixels: NDArray[Any], folder: Path) -> bytes:
    group = zarr.open_group(folder / "image.zarr", mode="w", zarr_format=2)
    array = group.create_array("0", shape=pixels.shape, dtype=pixels.dtype, chunks=(64, 96))
    array[...] = pixels
    scale = {"type": "scale", "scale": [0.65, 0.65]}
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    attributes: Any = group.attrs
    attributes["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as packed:
        for path in sorted((folder / "image.zarr").rglob("*")):
            if path.is_file():
                packed.write(path, path.relative_to(folder / "image.zarr").as_posix())
    return target.getvalue()


def test_an_ome_zarr_gives_an_ome_zarr(drawn: NDArray[np.uint16], tmp_path: Path) -> None:
    data = zarr_zip(drawn, tmp_path)
    files, _ = ran(data, limits=LOW, name="x.ome.zarr.zip")
    whole, _ = ran(tiff(drawn), limits=Limits(), mpp=0.65)
    for name, content in files.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_bytes(content)
    (root,) = (tmp_path / "out").glob("*_labels.ome.zarr")
    group = zarr.open_group(root, mode="r")
    attributes: Any = group.attrs
    (image,) = attributes["multiscales"]
    assert [axis["name"] for axis in image["axes"]] == ["y", "x"]
    assert attributes["image-label"] == {"version": "0.4"}
    found: Any = group["0"]
    matched(np.asarray(found[...]), labels_in(whole))


@pytest.mark.parametrize("factor", [0.5, 1.7])
def test_another_scale_finds_the_same_cells(drawn: NDArray[np.uint16], factor: float) -> None:
    """Positions between pixels are rounded, so a pixel in thousands may be another's."""
    whole, _ = ran(tiff(drawn), limits=Limits(), scale=factor)
    blocks, notes = ran(tiff(drawn), limits=LOW, scale=factor)
    one, other = labels_in(blocks), labels_in(whole)
    assert notes["blocks"]["blocks"] > 1
    assert np.count_nonzero((one > 0) != (other > 0)) < 1e-3 * one.size
    base = int(other.max()) + 1
    pairs, pixels = np.unique(one.astype(np.int64) * base + other, return_counts=True)
    large = pairs[(pixels > 10) & (pairs // base > 0) & (pairs % base > 0)]
    assert len(large) == one.max() == other.max()


def test_channels_are_segmented_each(drawn: NDArray[np.uint16]) -> None:
    data = tiff(np.stack([drawn, np.rot90(drawn, 2)]), metadata={"axes": "CYX"})
    versions: dict[str, tuple[int, ...]] = {
        "NuclearSegmentation": (1,),
        "CytoplasmSegmentation": (1,),
    }
    given: dict[str, Any] = {
        "input_file_name": "x.tif",
        "axes": "CYX",
        "channels": "1,0",
        "mpp": 0.65,
    }

    def files_of(limits: Limits) -> dict[str, bytes]:
        models = FakeModelServer(tile=TILE, answer=heads, versions=versions)
        return finished(fake_adapters(models=models, limits=limits, **_bucket(data)), **given)[0]

    blocks, whole = files_of(LOW), files_of(Limits())
    assert {"x_channel_1_labels.ome.tif", "x_channel_0_labels.ome.tif"} <= set(blocks)
    assert set(blocks) == set(whole)
    matched(*(labels_in(one, "x_channel_1_labels.ome.tif") for one in (blocks, whole)))


def tissue_heads(images: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What a model of tissue gives, of which each channel shows one compartment."""
    found = {}
    for index, name in enumerate(("nuclear", "whole_cell")):
        planes = heads(images[..., index : index + 1])
        inside = planes["foreground"]
        classes = [1 - inside, inside, np.zeros_like(inside)]
        found[f"{name}_inner_distance"] = planes["inner_distance"]
        found[f"{name}_pixelwise"] = np.concatenate(classes, axis=-1)
    return found


class TissueServer(FakeModelServer):
    """A `ModelServer` of two channels."""

    def signature(self, name: str, version: int | None = None) -> Signature:
        one = super().signature(name, version)
        spec = TensorSpec("image", np.dtype(np.float32), (-1, self.tile, self.tile, 2))
        return replace(one, inputs={"image": spec})


def test_tissue_has_the_cells_and_nuclei_of_one_piece(drawn: NDArray[np.uint16]) -> None:
    data = tiff(np.stack([drawn, np.roll(drawn, 2, axis=0)]), metadata={"axes": "CYX"})
    given: dict[str, Any] = {"input_file_name": "x.tif", "axes": "CYX", "mpp": 0.5}

    def files_of(limits: Limits) -> dict[str, bytes]:
        models = TissueServer(
            tile=TILE,
            answer=tissue_heads,
            versions={"MultiplexSegmentation": (1,)},
            outputs=tuple(tissue_heads(np.zeros((1, 8, 8, 2), np.float32))),
        )
        adapters = fake_adapters(models=models, limits=limits, **_bucket(data))
        return finished(adapters, kind="mesmer", compartment="both", **given)[0]

    blocks, whole = files_of(LOW), files_of(Limits())
    assert set(blocks) == set(whole)
    for part in ("nuclear", "whole-cell"):
        one, other = (labels_in(files, f"x_{part}_labels.ome.tif") for files in (blocks, whole))
        assert np.count_nonzero((one > 0) != (other > 0)) < 0.01 * one.size
        assert abs(int(one.max()) - int(other.max())) <= 0.02 * other.max()
    cells, nuclei = (
        labels_in(blocks, f"x_{part}_labels.ome.tif") for part in ("whole-cell", "nuclear")
    )
    rows = blocks["x_nuclei_in_cells.csv"].decode().splitlines()[1:]
    expected = [",".join(map(str, row)) for row in nuclei_in_cells(nuclei, cells)]
    assert rows == expected


def test_an_unknown_pixel_size_is_found_in_windows(drawn: NDArray[np.uint16]) -> None:
    small = resize(drawn, 0.35).astype(np.uint16)
    data = tiff(np.tile(small, (3, 3)))
    _files, notes = ran(data, limits=Limits(max_whole_pixels=2**17), labels_only=True)
    _files, whole = ran(data, limits=Limits(), labels_only=True)
    assert notes["blocks"]["blocks"] > 9
    assert notes["scale"] == pytest.approx(whole["scale"], rel=0.15)


def test_empty_parts_cost_one_tile_a_row(drawn: NDArray[np.uint16]) -> None:
    padded = np.full((1200, 1600), 200, np.uint16)
    padded[100:520, 100:600] = drawn

    def files_of(limits: Limits) -> tuple[dict[str, bytes], int]:
        models = FakeModelServer(tile=TILE, answer=heads)
        adapters = fake_adapters(models=models, limits=limits, **_bucket(tiff(padded)))
        files, _ = finished(adapters, input_file_name="x.tif", mpp=0.65)
        return files, sum(shape[0] for shape in models.shapes)

    blocks, sent = files_of(Limits(max_whole_pixels=2**20))
    whole, every = files_of(Limits())
    assert sent < every / 2
    matched(labels_in(blocks), labels_in(whole))


@pytest.mark.parametrize(
    ("pixels", "error"),
    [
        (np.full(SHAPE, 7, np.uint16), UnusableImage),
        (np.where(np.eye(500)[: SHAPE[0]] > 0, np.nan, 1).astype(np.float32), UnusableImage),
    ],
)
def test_pixels_without_anything_are_refused(pixels: NDArray[Any], error: type[Exception]) -> None:
    for limits in (LOW, Limits()):
        with pytest.raises(error) as caught:
            ran(tiff(pixels), limits=limits)
        said = str(caught.value)
        assert "has the value 7" in said or "420 pixels that are NaN" in said


def test_refusals_say_what_to_do(drawn: NDArray[np.uint16]) -> None:
    with pytest.raises(MissingChannel, match="channel 3 was asked for"):
        ran(tiff(drawn), limits=LOW, channel=3)
    with pytest.raises(ImageTooLarge, match="KIOSK_MAX_LARGE_PIXELS"):
        ran(tiff(drawn), limits=replace(LOW, max_large_pixels=100_000))
    picture = png_bytes((drawn >> 4).astype(np.uint8))
    with pytest.raises(ImageTooLarge, match="Saved as a tiled TIFF or as OME-Zarr"):
        ran(picture, name="x.png", limits=replace(LOW, max_pixels=100_000))
    with pytest.raises(ImageTooLarge, match="KIOSK_MAX_PIXELS"):
        ran(tiff(drawn), limits=replace(LOW, max_pixels=100_000), postprocess="none")


def test_a_part_that_fails_is_named(drawn: NDArray[np.uint16]) -> None:
    def broken(_: NDArray[Any]) -> dict[str, NDArray[Any]]:
        raise InvalidParameter("the model has had enough.")

    models = FakeModelServer(tile=TILE, answer=broken)
    adapters = fake_adapters(models=models, limits=LOW, **_bucket(tiff(drawn)))
    with pytest.raises(PartFailed, match=r"x_part_1_of_\d+ \(and \d+ more\): the model has had"):
        finished(adapters, input_file_name="x.tif", mpp=0.65)


class _Plane:
    """A `RegionReader` over an array."""

    def __init__(self, pixels: NDArray[Any]) -> None:
        self.pixels = pixels

    def read(self, rows: slice, columns: slice, *, channel: int = 0) -> NDArray[Any]:
        assert channel == 0
        return self.pixels[rows, columns]


@given(
    dtype=st.sampled_from(["uint8", "int16", "uint16", "float32", "float64", "uint32"]),
    seed=st.integers(0, 2**32 - 1),
    low=st.floats(0, 50),
    high=st.floats(50, 100),
)
def test_percentiles_are_exact(dtype: str, seed: int, low: float, high: float) -> None:
    rng = np.random.default_rng(seed)
    pixels = (rng.normal(0, 1, (60, 70)) ** 3 * 50).clip(-100, 100)
    plane = (pixels if dtype.startswith(("f", "i")) else np.abs(pixels)).astype(dtype)
    image = RegionImage("k", "n", "YX", plane.shape, dtype, None, (16, 16), "YX")
    (seen,) = survey(_Plane(plane), image, [(0,)], lambda: None)
    expected = percentiles(plane.astype(np.float32), low, high)
    halves = [plane[:31].astype(np.float32), plane[31:].astype(np.float32)]
    assert seen_percentiles(lambda: iter(halves), low, high) == expected
    assert (seen.counts is None) == (dtype not in ("uint8", "int16", "uint16"))
    if seen.counts is not None:
        assert exact_percentiles(seen, low, high) == expected


@pytest.fixture(scope="module")
def contrast() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A plane in 0..1, and as it is with its contrast equalised in one piece."""
    image = draw_nuclei((640, 700), count=200, seed=3)[0].astype(np.float32)
    image = (image - image.min()) / np.ptp(image)
    return image, equalise_adaptively(image)


@pytest.mark.parametrize(
    "box",
    [Box(0, 384, 0, 384), Box(128, 512, 0, 700), Box(256, 640, 256, 700), Box(0, 640, 320, 700)],
)
def test_contrast_is_equalised_as_in_the_whole_plane(
    contrast: tuple[NDArray[np.float32], NDArray[np.float32]], box: Box
) -> None:
    image, whole = contrast
    window = _equalised(image[box.slices], box, 64, image.shape)
    inner = Box(
        box.top + 64 * (box.top > 0),
        box.bottom - 64 * (box.bottom < 640),
        box.left + 64 * (box.left > 0),
        box.right - 64 * (box.right < 700),
    )
    near = np.abs(window[inner.within(box).slices] - whole[inner.slices])
    assert near.max() < 0.02


@pytest.mark.parametrize("factor", [0.37, 0.5, 1.0, 2.3])
def test_windows_are_those_of_the_whole_plane_resized(factor: float) -> None:
    image = draw_nuclei((300, 420), count=60, seed=3)[0]
    whole = resize(image, factor)
    high, wide = whole.shape
    box = Box(high // 3, high // 2, wide // 4, wide // 2)
    window = seen_window(lambda one: image[one.slices], image.shape, whole.shape, box)
    assert np.abs(window - whole[box.slices]).max() <= (0 if factor == 1 else 2.0)


def test_a_reader_opens_what_was_looked_at(drawn: NDArray[np.uint16]) -> None:
    adapters = fake_adapters(**_bucket(tiff(drawn)))
    image = RegionImage("x.tif", "x.tif", "YX", SHAPE, "uint16", None, (TILE, TILE), "YX")
    with open_regions(image, adapters.storage) as reader:
        assert np.array_equal(reader.read(slice(3, 9), slice(4, 20)), drawn[3:9, 4:20])
