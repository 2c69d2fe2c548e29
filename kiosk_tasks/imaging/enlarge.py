"""Pictures made larger by a whole number, smoothly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["enlarged"]

_BITS = 22  # behind the point: those of Pillow, so that its pictures are these
_AT_ONCE = 2**15  # pixels of the picture that is enlarged


def enlarged(picture: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    """Enlarge a picture by interpolating linearly along rows and columns.

    picture: (Y, X). Returns (Y · times, X · times): what Pillow's `resize` gives with BILINEAR, to
    the last bit, in half the time or less.
    """
    if times == 1:
        return picture
    wide = _longer(np.ascontiguousarray(picture.T), times)
    return _longer(np.ascontiguousarray(wide.T), times)


def _longer(picture: NDArray[np.uint8], times: int) -> NDArray[np.uint8]:
    """Enlarge along the first axis. Each new row lies between two old ones, or on the last."""
    height, width = picture.shape
    padded = np.concatenate([picture[:1], picture, picture[-1:]])
    larger = np.empty((height, times, width), np.uint8)
    rows = max(_AT_ONCE // width, 1)
    for row in range(0, height, rows):  # in parts that a processor's cache holds
        part = larger[row : row + rows]
        old = padded[row : row + len(part) + 2].astype(np.int32)
        step = old[1:] - old[:-1]
        old <<= _BITS
        old += 1 << (_BITS - 1)  # rounds
        for phase in range(times):
            place = (phase + 0.5) / times - 0.5  # from the middle of an old row, in rows
            first = 0 if place < 0 else 1
            weight = int(0.5 + (place + 1 - first) * (1 << _BITS))
            new = step[first : first + len(part)] * weight
            new += old[first : first + len(part)]
            new >>= _BITS
            part[:, phase] = new
    return larger.reshape(height * times, width)
