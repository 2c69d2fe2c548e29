from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from tifffile import TiffFile, imread, imwrite

from kiosk_tasks.errors import ImageTooLarge, InvalidAxes, KioskError, UnreadableImage
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.io import is_image_file, read, write_labels
from kiosk_tasks.imaging.labels import LabelImage

RNG = np.random.default_rng(7)
PLANE = RNG.integers(0, 4000, (48, 64)).astype(np.uint16)
COLOUR = RNG.integers(0, 255, (48, 64, 3)).astype(np.uint8)


def tiff(array: NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    imwrite(buffer, array, **options)
    return buffer.getvalue()


def png(array: NDArray[Any]) -> bytes:
    return bytes(imagecodecs.png_encode(array))


def jpeg(array: NDArray[Any], **options: Any) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(array, **options))


def save(tmp_path: Path, content: bytes, name: str = "cells.tif") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def load(tmp_path: Path, content: bytes, **options: Any) -> Image:
    return read(save(tmp_path, content), name="cells.tif", **options)


def damaged(content: bytes, start: int, length: int = 300) -> bytes:
    return content[:start] + b"\xaa" * length + content[start + length :]


def pixels_of(content: bytes) -> int:
    with TiffFile(io.BytesIO(content)) as file:
        return int(file.pages[0].dataoffsets[0])


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = (body, data, b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks
    )


def giant_tiff(compression: int, *, offset: int = 8, count: int = 200) -> bytes:
    entries = {256: 100_000, 257: 100_000, 258: 8, 259: compression, 262: 1, 273: offset}
    entries |= {277: 1, 278: 100_000, 279: count}
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    header = b"II*\0" + struct.pack("<I", 208)
    return header + b"\0" * 200 + struct.pack("<H", len(entries)) + body + b"\0" * 4


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


GOOD = tiff(PLANE)
LZW = tiff(PLANE, compression="lzw")
PNG = png(PLANE)
JPEG = jpeg(COLOUR)
SHORT_STRIPS = tiff(PLANE, compression="zlib", rowsperstrip=8)

BAD = {
    "empty": b"",
    "text": b"hello, these are no pixels",
    "zip": b"PK\x03\x04" + b"\0" * 40,
    "czi": b"ZISRAWFILE" + b"\0" * 40,
    "tiff of 8 bytes": GOOD[:8],
    "tiff magic only": b"II*\0",
    "tiff with a wild directory": b"II*\0" + b"\xff" * 60,
    "tiff cut in the header": GOOD[:100],
    "tiff cut in the pixels": GOOD[:3000],
    "tiff cut at the last byte": GOOD[:-1],
    "lzw cut": LZW[:2000],
    "lzw garbage": damaged(LZW, pixels_of(LZW)),
    "zlib strips cut": SHORT_STRIPS[:-1200],
    "zlib garbage": damaged(SHORT_STRIPS, pixels_of(SHORT_STRIPS)),
    "tiled cut": tiff(PLANE, tile=(16, 16))[:-500],
    "jpeg tiff garbage": b"".join([tiff(COLOUR, compression="jpeg")[:-2500]]),
    "tiff claiming 100000 squared": giant_tiff(1),
    "tiff claiming 100000 squared, deflate": giant_tiff(8),
    "tiff with pixels past its end": giant_tiff(8, offset=10**6),
    "complex tiff": tiff(PLANE.astype(np.complex64)),
    "cmyk tiff": tiff(np.zeros((8, 8, 4), np.uint8), photometric="separated"),
    "png magic only": PNG[:8],
    "png cut": PNG[: len(PNG) // 2],
    "png garbage": damaged(PNG, 60),
    "png of no width": png_header(0, 10),
    "png claiming 100000 squared": png_header(100_000, 100_000),
    "png of unknown colour": PNG[:25] + b"\x07" + PNG[26:],
    "jpeg magic only": JPEG[:3],
    "jpeg cut in the header": JPEG[:100],
    "jpeg cut": JPEG[: len(JPEG) // 2],
    "jpeg without a frame": JPEG[:2] + b"\xff\xda\x00\x02" + b"\xff\xd9",
    "jpeg segment astray": JPEG[:2] + b"\x00\x01\x02\x03" + JPEG[6:],
    "cmyk jpeg": jpeg(np.zeros((16, 16, 4), np.uint8), colorspace="CMYK", outcolorspace="CMYK"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_with_a_way_out(tmp_path: Path, case: str) -> None:
    with pytest.raises(UnreadableImage) as caught:
        load(tmp_path, BAD[case])
    message = str(caught.value)
    assert message.startswith("cells.tif ")
    assert message.endswith(".")
    assert any(way in message for way in ("send", "export", "save", "upload"))
    assert "\n" not in message


def test_nothing_but_kiosk_errors_from_damaged_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    whole = [GOOD, LZW, PNG, JPEG, tiff(PLANE, ome=True), tiff(PLANE, imagej=True), SHORT_STRIPS]
    for content in whole:
        for _attempt in range(25):
            broken = bytearray(content)
            for position in rng.integers(0, min(len(content), 600), 6):
                broken[position] = rng.integers(256)
            try:
                load(tmp_path, bytes(broken))
            except KioskError as error:
                assert str(error)  # noqa: PT017  most of them still are images


@pytest.mark.parametrize("content", [GOOD, PNG, jpeg(PLANE.astype(np.uint8))])
def test_limit_is_checked_before_decoding(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ImageTooLarge, match=r"48 × 64 px; .* 3.071 px\. .*KIOSK_MAX_PIXELS"):
        load(tmp_path, content, max_pixels=48 * 64 - 1)
    assert load(tmp_path, content, max_pixels=48 * 64).size["Y"] == 48


def test_limit_outranks_damage(tmp_path: Path) -> None:
    with pytest.raises(ImageTooLarge, match="100000 × 100000"):
        load(tmp_path, giant_tiff(1), max_pixels=1 << 24)


def ome_of_frames(count: int, data: str) -> bytes:
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="64" SizeY="48" '
        f'SizeC="1" SizeZ="1" SizeT="{count}">{data}</Pixels></Image></OME>'
    )
    return tiff(PLANE, description=xml, metadata=None, compression="zlib")


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


def test_planes_that_are_missing_are_not_taken_for_zeros(tmp_path: Path) -> None:
    content = ome_of_frames(3, '<TiffData IFD="0" PlaneCount="3"/>')
    with pytest.raises(UnreadableImage, match="planes"):
        load(tmp_path, content)


def test_a_file_cannot_make_read_open_another(tmp_path: Path) -> None:
    data = "".join(
        f'<TiffData IFD="0" FirstT="{t}" PlaneCount="1"><UUID FileName="{file}">urn:uuid:{t}'
        "</UUID></TiffData>"
        for t, file in enumerate(("cells.tif", "secret.tif"))
    )
    save(tmp_path, tiff(PLANE + 1), "secret.tif")
    image = load(tmp_path, ome_of_frames(2, data))
    assert image.axes == "YX"
    np.testing.assert_array_equal(image.data, PLANE)


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


def test_labels_that_are_no_plane_are_refused() -> None:
    with pytest.raises(InvalidAxes):
        LabelImage(np.zeros((2, 3, 4), np.int32))
