from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tifffile import TiffFile, imread

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging import _tiff_write
from kiosk_tasks.imaging.io import is_image_file, read, write_labels
from kiosk_tasks.imaging.labels import LabelImage
from tests.unit.imaging.files import COLOUR, PLANE, RNG, jpeg, load, png, save, tiff

DTYPES = ["bool", "u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4", "f8", ">u2", ">f4"]


@pytest.mark.parametrize(
    ("dtype", "compression"),
    [
        (dtype, compression)
        for dtype in DTYPES
        for compression in (None, "lzw", "zlib", "zstd", "packbits")
        if (dtype, compression) != ("bool", "packbits")  # tifffile does not write it
    ],
)
def test_tiff_of_every_dtype_and_compression_comes_back(
    tmp_path: Path, dtype: str, compression: str | None
) -> None:
    kind = np.dtype(dtype)
    plane = PLANE > 2000 if kind == np.bool_ else (PLANE % 120).astype(kind)
    order = ">" if dtype.startswith(">") else "<"
    image = load(tmp_path, tiff(plane, compression=compression, byteorder=order))
    assert image.axes == "YX"
    assert image.mpp is None
    assert image.data.dtype == kind.newbyteorder("=")
    assert image.data.dtype.isnative
    assert image.data.flags.c_contiguous
    np.testing.assert_array_equal(image.data, plane)


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (16, 32)},
        {"tile": (16, 16), "compression": "lzw", "predictor": True},
        {"bigtiff": True},
        {"rowsperstrip": 5, "compression": "zlib"},
        {"photometric": "miniswhite"},
    ],
)
def test_tiff_layouts(tmp_path: Path, options: dict[str, Any]) -> None:
    image = load(tmp_path, tiff(PLANE, **options))
    white = options.get("photometric") == "miniswhite"
    np.testing.assert_array_equal(image.data, 65535 - PLANE if white else PLANE)


def test_jpeg_in_tiff(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
    image = load(tmp_path, tiff(smooth, compression="jpeg"))
    assert np.abs(image.data.astype(int) - smooth).max() < 8


def test_ome_says_axes_and_pixel_size(tmp_path: Path) -> None:
    stack = RNG.integers(0, 9, (2, 3, 16, 20)).astype(np.uint8)
    metadata = {"axes": "TCYX", "PhysicalSizeX": 325.0, "PhysicalSizeXUnit": "nm"}
    image = load(tmp_path, tiff(stack, ome=True, metadata=metadata))
    assert (image.axes, image.mpp) == ("TCYX", 0.325)
    np.testing.assert_array_equal(image.data, stack)


@pytest.mark.parametrize(
    ("attributes", "mpp"),
    [
        ('PhysicalSizeX="0.5" PhysicalSizeXUnit="&#181;m"', 0.5),
        ('PhysicalSizeX="0.5"', 0.5),
        ('PhysicalSizeX="0.0005" PhysicalSizeXUnit="mm"', 0.5),
        ('PhysicalSizeX="1.0" PhysicalSizeXUnit="pixel"', None),
        ('PhysicalSizeX="zero"', None),
        ('PhysicalSizeX="0"', None),
        ("", None),
    ],
)
def test_ome_units(tmp_path: Path, attributes: str, mpp: float | None) -> None:
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="64" SizeY="48" '
        f'SizeC="1" SizeZ="1" SizeT="1" {attributes}><TiffData IFD="0" PlaneCount="1"/></Pixels>'
        "</Image></OME>"
    )
    assert load(tmp_path, tiff(PLANE, description=xml, metadata=None)).mpp == mpp


@pytest.mark.parametrize("unit", ["micron", "um", "µm", r"\u00B5m"])
def test_imagej_says_axes_and_pixel_size(tmp_path: Path, unit: str) -> None:
    stack = RNG.integers(0, 9, (2, 3, 16, 20)).astype(np.uint8)
    options: dict[str, Any] = {"imagej": True, "resolution": (2.5, 2.5)}
    metadata = {"axes": "TCYX", "unit": r"\u00B5m" if unit == "µm" else unit}
    image = load(tmp_path, tiff(stack, metadata=metadata, **options))
    assert (image.axes, image.mpp) == ("TCYX", 0.4)
    np.testing.assert_array_equal(image.data, stack)


@pytest.mark.parametrize(
    ("density", "unit", "mpp"),
    [
        (20000, "CENTIMETER", 0.5),
        (25400, "INCH", 1.0),
        (72, "INCH", None),
        (96, "INCH", None),
        (300, "INCH", None),
        (28.35, "CENTIMETER", None),
        (2, "NONE", None),
        (0, "INCH", None),
    ],
)
def test_resolution_tags_count_where_plausible(
    tmp_path: Path, density: float, unit: str, mpp: float | None
) -> None:
    content = tiff(PLANE, resolution=(density, density), resolutionunit=unit)
    assert load(tmp_path, content).mpp == mpp


def test_what_the_person_says_wins(tmp_path: Path) -> None:
    stack = np.stack([PLANE] * 5)
    image = load(tmp_path, tiff(stack, photometric="minisblack"), axes="ZYX", mpp=0.2)
    assert (image.axes, image.mpp) == ("ZYX", 0.2)
    with pytest.raises(InvalidAxes, match="letter"):
        load(tmp_path, tiff(PLANE), axes="CYX")


@pytest.mark.parametrize("shape", [(5, 48, 64), (2, 48, 64), (2, 2, 3, 16, 16)])
def test_axes_are_never_guessed(tmp_path: Path, shape: tuple[int, ...]) -> None:
    content = tiff(np.zeros(shape, np.uint16), photometric="minisblack")
    with pytest.raises(InvalidAxes, match=r'axes="') as caught:
        load(tmp_path, content)
    assert " × ".join(map(str, shape)) in str(caught.value)


def test_single_dimensions_of_unknown_axes_go(tmp_path: Path) -> None:
    image = load(tmp_path, tiff(PLANE[None, None], photometric="minisblack"))
    assert image.axes == "YX"


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_tiff(tmp_path: Path, planar: str) -> None:
    colour = COLOUR if planar == "contig" else np.moveaxis(COLOUR, -1, 0)
    image = load(tmp_path, tiff(colour, photometric="rgb", planarconfig=planar))
    np.testing.assert_array_equal(image.to("YXC").data, COLOUR)
    grey = np.stack([PLANE] * 3, axis=-1 if planar == "contig" else 0)
    image = load(tmp_path, tiff(grey, photometric="rgb", planarconfig=planar))
    assert image.axes == "YX"
    np.testing.assert_array_equal(image.data, PLANE)
    image = load(tmp_path, tiff(grey, photometric="rgb", planarconfig=planar), axes="YX")
    assert image.axes == "YX"


def test_alpha_is_dropped(tmp_path: Path) -> None:
    alpha = np.dstack([COLOUR, np.full(COLOUR.shape[:2], 255, np.uint8)])
    for content in (tiff(alpha, photometric="rgb"), png(alpha)):
        image = load(tmp_path, content)
        assert image.axes == "YXC"
        np.testing.assert_array_equal(image.data, COLOUR)
    grey = np.dstack([COLOUR[..., 0], alpha[..., 3]])
    np.testing.assert_array_equal(load(tmp_path, png(grey)).data, COLOUR[..., 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_grey_and_colour(tmp_path: Path, dtype: type[np.generic]) -> None:
    grey, colour = PLANE.astype(dtype), COLOUR.astype(dtype)
    image = load(tmp_path, png(grey))
    assert image.axes == "YX"
    np.testing.assert_array_equal(image.data, grey)
    image = load(tmp_path, png(colour))
    assert image.axes == "YXC"
    np.testing.assert_array_equal(image.data, colour)
    assert load(tmp_path, png(np.dstack([grey] * 3))).axes == "YX"


@pytest.mark.parametrize(("per_metre", "mpp"), [(2_000_000, 0.5), (2835, None), (0, None)])
def test_png_density(tmp_path: Path, per_metre: int, mpp: float | None) -> None:
    content = png(PLANE)
    chunk = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    chunk = struct.pack(">I", 9) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert load(tmp_path, content[:33] + chunk + content[33:]).mpp == mpp


def test_jpeg(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
    image = load(tmp_path, jpeg(smooth, level=95))
    assert image.axes == "YX"
    assert image.mpp is None
    assert np.abs(image.data.astype(int) - smooth).max() < 8
    assert load(tmp_path, jpeg(COLOUR)).axes == "YXC"


def test_content_counts_not_the_extension(tmp_path: Path) -> None:
    for content in (png(PLANE), tiff(PLANE)):
        path = save(tmp_path, content, "cells.jpg")
        assert is_image_file(path)
        np.testing.assert_array_equal(read(path, name="cells.jpg").data, PLANE)
    assert not is_image_file(save(tmp_path, b"label,y,x\n1,2,3\n", "cells.png"))


def test_a_second_axis_of_channels(tmp_path: Path) -> None:
    stack = np.stack([COLOUR] * 2)
    options: dict[str, Any] = {"photometric": "rgb", "metadata": {"axes": "TYXS"}}
    image = load(tmp_path, tiff(stack, ome=True, **options))
    assert image.axes == "TYXC"
    options["metadata"] = {"axes": "CYXS"}
    with pytest.raises(InvalidAxes, match="3"):
        load(tmp_path, tiff(stack, ome=True, **options))


def test_density_in_jpeg(tmp_path: Path) -> None:
    content = jpeg(COLOUR)
    at = content.index(b"JFIF\0") + 7
    content = content[:at] + struct.pack(">BHH", 2, 20_000, 20_000) + content[at + 5 :]
    assert load(tmp_path, content).mpp == 0.5
    padded = content[:2] + b"\xff" + content[2:]
    assert load(tmp_path, padded).size["X"] == 64


@pytest.mark.parametrize("mpp", [None, 0.5, 0.108333, 1.0])
@pytest.mark.parametrize("shape", [(40, 50), (2100, 100), (3, 30, 20)])
def test_labels_come_back(tmp_path: Path, shape: tuple[int, ...], mpp: float | None) -> None:
    axes = "YX" if len(shape) == 2 else "TYX"
    labels = LabelImage(RNG.integers(0, 1 << 30, shape).astype(np.int32), mpp, axes)
    content = write_labels(labels)
    image = load(tmp_path, content)
    assert (image.axes, image.mpp) == (axes, mpp)
    assert image.data.dtype == np.int32
    np.testing.assert_array_equal(image.data, labels.data)
    np.testing.assert_array_equal(imread(io.BytesIO(content)), labels.data)
    assert content == write_labels(labels)
    with TiffFile(io.BytesIO(content)) as file:
        assert file.is_ome
        page = file.pages.first
        assert page.is_tiled == (max(shape) >= 2048)
        assert not {"DateTime", "Artist"} & {tag.name for tag in page.tags}


@pytest.mark.parametrize("mpp", [None, 0.5, 0.108333])
@pytest.mark.parametrize("shape", [(1, 1), (64, 64), (40, 51), (1, 2047), (2048, 1), (256, 256)])
def test_small_labels_are_what_tifffile_writes(shape: tuple[int, int], mpp: float | None) -> None:
    for labels in (RNG.integers(0, 9, shape), np.zeros(shape), np.ones(shape)):
        image = LabelImage(labels.astype(np.int32), mpp)
        whole = _tiff_write._encode(image.data, mpp, _tiff_write._labels_xml(image), quick=True)
        assert write_labels(image) == whole


def test_labels_that_are_no_plane_are_refused() -> None:
    with pytest.raises(InvalidAxes):
        LabelImage(np.zeros((2, 3, 4), np.int32))
