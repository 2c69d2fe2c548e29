"""A few frames of a movie in a file of their own, for a job that works on no more than these."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffFile, imwrite

__all__ = ["read_frames", "write_frames"]


def write_frames(path: Path, frames: Sequence[NDArray[Any]]) -> None:
    """Write frames, (Y, X) each and of one type, as the pages of a TIFF without any packing.

    Equal frames give equal bytes.
    """
    imwrite(path, np.stack(frames), photometric="minisblack", metadata=None, software="kiosk-tasks")


def read_frames(path: Path) -> list[NDArray[Any]]:
    """Read what `write_frames` has written."""
    with TiffFile(path) as file:
        return [page.asarray(maxworkers=1) for page in file.pages]
