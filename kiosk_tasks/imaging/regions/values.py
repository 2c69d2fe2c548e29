"""What is known of an image that is read region by region, and what reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

__all__ = ["Files", "RegionImage", "RegionReader"]


class Files(Protocol):
    """What of a bucket is needed; `ports.Storage` has it. Errors are that one's.

    Several threads call these at once.
    """

    def get(self, key: str) -> bytes:
        """Return the object's bytes."""
        ...

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return at most `length` bytes from `start` on: fewer, or none, past the end."""
        ...

    def size(self, key: str) -> int:
        """Return how many bytes the object has."""
        ...

    def exists(self, key: str) -> bool:
        """Tell whether the object is there."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the keys that start with `prefix`, sorted."""
        ...


@dataclass(frozen=True)
class RegionImage:
    """Facts of an image that can be read region by region; each of them is a JSON value.

    key: of a TIFF file, of a zipped OME-Zarr, or of an OME-Zarr's folder, without a slash.
    name: what the person calls it.
    axes: "YX", or "CYX" where there are several channels or colours.
    shape: length of each axis, px. dtype: of a pixel, as NumPy names it.
    mpp: µm per pixel, if known.
    chunk: rows and columns that are read at once at least; strips have all columns.
    letters: for each dimension of the file, which axis it is; "." for those of length 1.
    """

    key: str
    name: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    mpp: float | None
    chunk: tuple[int, int]
    letters: str

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns, px."""
        return self.shape[-2], self.shape[-1]

    @property
    def channels(self) -> int:
        """How many there are."""
        return self.shape[0] if "C" in self.axes else 1


class RegionReader(Protocol):
    """Reads an image of which only a part is ever in memory."""

    def read(self, rows: slice, columns: slice, *, channel: int = 0) -> NDArray[Any]:
        """Return (Y, X) pixels, in native byte order; dark is low.

        rows, columns: within the image, without a step. channel: from 0.
        Raises MissingChannel, UnreadableImage (a chunk is damaged), and the bucket's errors.
        """
        ...
