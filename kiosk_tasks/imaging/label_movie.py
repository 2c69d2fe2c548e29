"""Label images of a movie as one OME-TIFF, written frame by frame."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffWriter

from kiosk_tasks.imaging._tiff_write import ome_xml

__all__ = ["LabelMovieWriter", "label_type"]

_BIG_BYTES = 2**32 - 2**26  # classic TIFF ends at 4 GiB, its directories included


def label_type(largest: int) -> np.dtype[Any]:
    """Return the smallest type of 16 or 32 bits that programs for label images read.

    largest: label. Labels of the Cell Tracking Challenge have 16 bits.
    """
    return np.dtype(np.uint16 if largest <= np.iinfo(np.uint16).max else np.int32)


class LabelMovieWriter(AbstractContextManager["LabelMovieWriter"]):
    """A context that writes a movie of labels, axes TYX, with deflate and pixel size.

    BigTIFF where the labels, unpacked, would not fit into a classic file. Equal calls give equal
    bytes.
    """

    def __init__(
        self, path: Path, size: tuple[int, int, int], *, kind: np.dtype[Any], mpp: float | None
    ) -> None:
        """size: (T, Y, X). kind: of the labels, from `label_type`. mpp: µm per pixel, if known."""
        frames, height, width = size
        sizes = {"X": width, "Y": height, "C": 1, "Z": 1, "T": frames}
        channel = '<Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        self._description: bytes | None = ome_xml("labels", kind.name, sizes, mpp, channel).encode()
        self._kind = kind
        self._density = None if mpp is None else (1e4 / mpp, 1e4 / mpp)
        big = frames * height * width * kind.itemsize > _BIG_BYTES
        self._writer = TiffWriter(path, bigtiff=big)

    def __exit__(self, *error: object) -> None:
        self._writer.close()

    def add(self, labels: NDArray[Any]) -> None:
        """Write the next frame, (Y, X)."""
        self._writer.write(
            labels.astype(self._kind, copy=False),
            photometric="minisblack",
            compression="zlib",
            description=self._description,
            metadata=None,
            software="kiosk-tasks",
            resolution=self._density,
            resolutionunit=None if self._density is None else "CENTIMETER",
        )
        self._description = None  # it is that of the first page, and tells of all
