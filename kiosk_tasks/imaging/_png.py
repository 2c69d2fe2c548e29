"""Pictures with a palette as PNG, quickly."""

from __future__ import annotations

import struct
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

__all__ = ["palette_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_INDEXED = 3  # the colour type
_NONE, _UP = 0, 2  # what a row is written as: itself, or its difference to the one above
_LEVEL = 1  # of libdeflate: smaller than zlib's 4, four times as fast
_HASTY = 2**16  # px; of such small pictures there are thousands, so zlib-ng: a third of the time


def palette_png(
    picture: NDArray[np.uint8], palette: NDArray[np.uint8], *, enlarged: int = 1
) -> bytes:
    """Encode a picture of indices.

    picture: (Y, X). palette: (n, 3) sRGB, n at most 256.
    enlarged: how many times; where rows resemble those above, it is packed accordingly. The pixels
        are the same either way.
    """
    smooth = enlarged > 1
    height, width = picture.shape
    rows = np.empty((height, width + 1), np.uint8)
    rows[:, 0] = _UP if smooth else _NONE
    if smooth:
        rows[0, 1:] = picture[0]
        np.subtract(picture[1:], picture[:-1], out=rows[1:, 1:])
    else:
        rows[:, 1:] = picture
    hasty = picture.size <= _HASTY
    encode: Any = imagecodecs.zlibng_encode if hasty else imagecodecs.deflate_encode
    header = struct.pack(">IIBBBBB", width, height, 8, _INDEXED, 0, 0, 0)
    return b"".join(
        [
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", palette.tobytes()),
            _chunk(b"IDAT", bytes(encode(rows, level=_LEVEL))),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = imagecodecs.deflate_crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
