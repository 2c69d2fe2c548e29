"""How far the stage has moved: measured frame by frame, to be taken off the places of the cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes

__all__ = ["drifts"]

LONGEST = 256  # px; larger frames are averaged down to it, which costs no accuracy
FINER = 10  # shifts are found to a tenth of an averaged pixel


def drifts(frames: Iterable[NDArray[Any]]) -> Iterator[NDArray[np.float64]]:
    """Yield for each frame how far its content has moved since the first: (2,) (y, x), px.

    frames: (Y, X) each, any real dtype, of one size; two are in memory at a time.
    `link` takes the yielded rows as its `drift`; no pixel is moved.
    Raises InvalidAxes for frames of different sizes.

    Each frame is registered to the one before, by the peak of their cross-correlation to a
    fraction of a pixel (Guizar-Sicairos et al. 2008, Optics Letters 33:156). It is not whitened
    (as in phase correlation): in simulated movies, in which nuclei move on their own, that was
    more accurate. A frame of one value tells nothing: it has not moved.
    """
    # Imported here: only jobs that correct drift need it.
    from skimage.registration import phase_cross_correlation

    moved, before, size = np.zeros(2), None, None
    for index, frame in enumerate(frames):
        size = size or frame.shape
        if frame.shape != size:
            raise InvalidAxes(
                f"frame {index} has shape {frame.shape}, the first {size}; all frames of a movie "
                "must have one size."
            )
        factor = -(-max(size) // LONGEST)
        now = _averaged(frame, factor)
        if before is not None and np.ptp(before) and np.ptp(now):
            back, _error, _phase = phase_cross_correlation(  # type: ignore[no-untyped-call]
                before, now, upsample_factor=FINER, normalization=None
            )
            moved = moved - np.asarray(back, np.float64) * factor
        before = now
        yield moved.copy()


def _averaged(frame: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Average blocks of pixels; what remains at the far borders is left out."""
    rows, columns = (max(1, side // factor) for side in frame.shape)
    whole = np.asarray(frame[: rows * factor, : columns * factor], np.float32)
    if whole.shape != (rows * factor, columns * factor):
        return whole  # narrower than a block
    averaged: NDArray[np.float32] = whole.reshape(rows, factor, columns, factor).mean((1, 3))
    return averaged
