"""Strips and tiles of a TIFF file: what each may decode to, checked before it is decoded.

tifffile gives most codecs a buffer of the right length; those of images take what they claim.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tifffile import COMPRESSION

from kiosk_tasks.imaging._jpeg import jpeg2000_frame, jpeg_frame

__all__ = ["CODECS", "STREAMS", "at_best", "check_chunk", "check_stream"]

_JPEG = frozenset({COMPRESSION.JPEG})
_JPEG_2000 = frozenset({COMPRESSION.JPEG2000, COMPRESSION.APERIO_JP2000_YCBC})
_JPEG_2000 |= {COMPRESSION.APERIO_JP2000_RGB}
_FAX = {COMPRESSION.CCITTRLE, COMPRESSION.CCITTFAX3, COMPRESSION.CCITTFAX4}
_LZW = {COMPRESSION.LZW}
_DEFLATE = {COMPRESSION.DEFLATE, COMPRESSION.ADOBE_DEFLATE}
_OTHERS = {COMPRESSION.NONE, COMPRESSION.PACKBITS, COMPRESSION.LZMA, COMPRESSION.ZSTD}

CODECS = frozenset(_JPEG | _JPEG_2000 | _FAX | _LZW | _DEFLATE | _OTHERS)
"""Those whose output is bounded, by its buffer or by `check_stream`."""

STREAMS = _JPEG | _JPEG_2000
"""Those whose strips and tiles say themselves how large they are."""

_LARGE_CHUNK = 2**22  # px; writers make tiles of up to 4 million pixels for any image
_PADDING = 16  # px: blocks of JPEG are as large as that


def at_best(compression: int) -> int:
    """Return how many bytes of pixels a codec makes of one byte; a bit may become a byte."""
    if compression == COMPRESSION.NONE:
        return 8
    if compression in _DEFLATE:
        return 8 * 1100
    return 8 * 3000 if compression in _LZW else 40_000  # zstd does that with a constant image


def check_chunk(page: Any) -> str:
    """Return what is wrong with how a page is cut into strips or tiles; "" if nothing is.

    page: tifffile's TiffPage or TiffFrame.
    """
    keyframe = page.keyframe
    height, width = _size(keyframe)
    depth = keyframe.tiledepth if keyframe.is_tiled else 1
    image = keyframe.imagedepth * keyframe.imagelength * keyframe.imagewidth
    if depth * height * width > max(_LARGE_CHUNK, 4 * image):
        return f"it has pieces of {height} × {width} px, larger than the image"
    return ""


def check_stream(keyframe: Any, stream: Callable[[], bytes]) -> str:
    """Return what is wrong with what a strip or tile says of itself; "" if nothing is.

    stream: reads it, if it is of a codec that says anything.
    """
    if keyframe.compression not in STREAMS:
        return ""
    read_frame = jpeg_frame if keyframe.compression in _JPEG else jpeg2000_frame
    frame = read_frame(stream())
    height, width = _size(keyframe)
    samples = keyframe.samplesperpixel if keyframe.planarconfig == 1 else 1
    if (
        frame.shape[0] > height + _PADDING
        or frame.shape[1] > width + _PADDING
        or frame.samples > samples
    ):
        claimed = f"{frame.shape[0]} × {frame.shape[1]} px of {frame.samples}"
        return f"a piece of {height} × {width} px claims to be {claimed} samples"
    return ""


def _size(keyframe: Any) -> tuple[int, int]:
    if keyframe.is_tiled:
        return keyframe.tilelength, keyframe.tilewidth
    return min(keyframe.rowsperstrip, keyframe.imagelength), keyframe.imagewidth
