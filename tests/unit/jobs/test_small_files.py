"""Which files of an archive are small enough to be done many at a time: by their headers."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from kiosk_tasks.archive_jobs.small import SMALL_BYTES, is_small
from tests.fakes import png_bytes, tiff_bytes


def plane(*shape: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.zeros(shape, np.uint8)


def jpeg(*shape: int) -> bytes:
    file = BytesIO()
    Pillow.fromarray(plane(*shape)).save(file, "jpeg")
    return file.getvalue()


def stack(compression: str | None) -> bytes:
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for _ in range(3):
            writer.write(plane(64, 64), compression=compression, contiguous=False)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "small"),
    [
        (tiff_bytes(plane(64, 64)), True),
        (tiff_bytes(plane(64, 64), byteorder=">"), True),
        (tiff_bytes(plane(64, 64), compression="deflate"), True),
        (tiff_bytes(plane(3, 64, 64), photometric="minisblack"), True),
        (tiff_bytes(plane(362, 362)), True),
        (tiff_bytes(plane(363, 363)), False),
        (tiff_bytes(plane(4096, 4096), compression="deflate"), False),
        (stack(None), True),
        (stack("deflate"), False),
        (tiff_bytes(plane(64, 64), bigtiff=True), False),
        (png_bytes(plane(64, 64)), True),
        (png_bytes(plane(4096, 4096)), False),
        (jpeg(64, 64, 3), True),
        (jpeg(1024, 1024), False),
        (b"", False),
        (b"these are only words", False),
        (b"II*\0 and no more", False),
        (b"\x89PNG\r\n\x1a\n", False),
        (b"\xff\xd8\xff", False),
        (tiff_bytes(plane(64, 64)) + bytes(SMALL_BYTES), False),
    ],
)
def test_small_is_what_says_so(data: bytes, small: bool) -> None:
    assert is_small(data) is small


def test_many_packed_samples_of_a_pixel_are_not_small() -> None:
    def many(**how: Any) -> bytes:
        file = BytesIO()
        tifffile.imwrite(
            file, plane(64, 64, 200), photometric="minisblack", planarconfig="contig", **how
        )
        return file.getvalue()

    assert is_small(many())
    assert not is_small(many(compression="zlib"))


@given(st.sampled_from([b"II*\0", b"MM\0*", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"]), st.binary())
def test_no_bytes_break_it(start: bytes, rest: bytes) -> None:
    assert is_small(start + struct.pack("<I", 8) + rest) in (True, False)
