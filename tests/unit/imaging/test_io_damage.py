from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from tifffile import TiffFile

from kiosk_tasks.errors import ImageTooLarge, KioskError, UnreadableImage
from kiosk_tasks.imaging.limits import ImageLimits
from tests.unit.imaging.files import COLOUR, PLANE, jpeg, load, png, save, tiff


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
        load(tmp_path, BAD[case], limits=ImageLimits(2**40, max_bytes=2**50))
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
        load(tmp_path, content, limits=ImageLimits(48 * 64 - 1))
    assert load(tmp_path, content, limits=ImageLimits(48 * 64)).size["Y"] == 48


def test_limit_outranks_damage(tmp_path: Path) -> None:
    with pytest.raises(ImageTooLarge, match="100000 × 100000"):
        load(tmp_path, giant_tiff(1), limits=ImageLimits(1 << 24))


def ome_of_frames(count: int, data: str) -> bytes:
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="64" SizeY="48" '
        f'SizeC="1" SizeZ="1" SizeT="{count}">{data}</Pixels></Image></OME>'
    )
    return tiff(PLANE, description=xml, metadata=None, compression="zlib")


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
