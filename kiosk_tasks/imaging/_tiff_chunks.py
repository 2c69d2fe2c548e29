"""Strips and tiles of a TIFF file: what each may decode to, checked before it is decoded.

tifffile gives most codecs a buffer of the right length; those of images take what they claim.
"""

from __future__ import annotations

from typing import Any

from tifffile import COMPRESSION

from kiosk_tasks.imaging._jpeg import jpeg2000_frame, jpeg_frame

__all__ = ["CODECS", "at_best", "check_chunk"]

_JPEG = frozenset({COMPRESSION.JPEG})
_JPEG_2000 = frozenset({COMPRESSION.JPEG2000, COMPRESSION.APERIO_JP2000_YCBC})
_JPEG_2000 |= {COMPRESSION.APERIO_JP2000_RGB}
_FAX = {COMPRESSION.CCITTRLE, COMPRESSION.CCITTFAX3, COMPRESSION.CCITTFAX4}
_LZW = {COMPRESSION.LZW}
_DEFLATE = {COMPRESSION.DEFLATE, COMPRESSION.ADOBE_DEFLATE}
_OTHERS = {COMPRESSION.NONE, COMPRESSION.PACKBITS, COMPRESSION.LZMA, COMPRESSION.ZSTD}

CODECS = frozenset(_JPEG | _JPEG_2000 | _FAX | _LZW | _DEFLATE | _OTHERS)
"""Those whose output is bounded, by its buffer or by `check_chunk`."""

_LARGE_CHUNK = 2**22  # px; writers make tiles of up to 4 million pixels for any image
_PADDING = 16  # px: blocks of JPEG are as large as that


def at_best(compression: int) -> int:
    """Return how many bytes of pixels a codec makes of one byte; a bit may become a byte."""
    if compression == COMPRESSION.NONE:
        return 8
    if compression in _DEFLATE:
        return 8 * 1100
    return 8 * 3000 if compression in _LZW else 40_000  # zstd does that with a constant image


def check_chunk(file: Any, page: Any) -> str:
    """Return what is wrong with the strips or tiles of a page; "" if nothing is.

    file, page: tifffile's handle and TiffPage or TiffFrame.
    """
    keyframe = page.keyframe
    tiled = keyframe.is_tiled
    height = keyframe.tilelength if tiled else min(keyframe.rowsperstrip, keyframe.imagelength)
    width = keyframe.tilewidth if tiled else keyframe.imagewidth
    samples = keyframe.samplesperpixel if keyframe.planarconfig == 1 else 1
    image = keyframe.imagedepth * keyframe.imagelength * keyframe.imagewidth
    if keyframe.tiledepth * height * width > max(_LARGE_CHUNK, 4 * image):
        return f"it has pieces of {height} × {width} px, larger than the image"
    if keyframe.compression not in _JPEG | _JPEG_2000:
        return ""
    read_frame = jpeg_frame if keyframe.compression in _JPEG else jpeg2000_frame
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        if not count:
            continue
        file.seek(offset)
        frame = read_frame(file.read(count))
        if (
            frame.shape[0] > height + _PADDING
            or frame.shape[1] > width + _PADDING
            or frame.samples > samples
        ):
            claimed = f"{frame.shape[0]} × {frame.shape[1]} px of {frame.samples}"
            return f"a piece of {height} × {width} px claims to be {claimed} samples"
    return ""
