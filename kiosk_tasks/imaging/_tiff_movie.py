"""TIFF files of which only the frame that is asked for is decoded."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import UnreadableImage
from kiosk_tasks.imaging._disk_array import DiskArray
from kiosk_tasks.imaging._tiff import TiffImage
from kiosk_tasks.imaging.limits import ImageLimits

__all__ = ["TiffMovie"]

_LISTS_OF_PAGES = ("generic", "shaped", "uniform")  # tifffile's words for files that say no more


class TiffMovie(TiffImage):
    """As TiffImage; where a file says nothing of its pages, all of them are one image, in order.

    axes: a letter for each dimension of `shape`, as tifffile names them; S are samples of a pixel.
    dtype: of the pixels, in native byte order.
    """

    def __init__(self, path: Path, name: str, limits: ImageLimits) -> None:
        super().__init__(path, name, limits)
        try:
            self._path = path
            self._last: tuple[int, NDArray[Any]] | None = None
            self.axes = str(self._series.axes)
            kind: Any = self._page.dtype
            self.dtype: np.dtype[Any] = kind.newbyteorder("=")
            self._single = self._is_list_of_single_pages()
            if self._single:
                self.shape = (len(self._file.series), *self.shape)
                self.axes = f"I{self.axes}"
        except BaseException:
            self._file.close()
            raise

    def check_bytes(self) -> None:
        """Do so for every page."""
        first = self._series
        for series in self._file.series if self._single else [first]:
            self._series = series
            super().check_bytes()
        self._series = first

    def planes(self, axes: str | None) -> int:
        """Return how many there are, whatever the person calls the axes."""
        height, width = self.plane_size(axes)
        return -(-prod(self.shape) // (height * width * self._samples))

    def plane_size(self, axes: str | None) -> tuple[int, int]:
        """Return (Y, X), px, by the person's axes where they fit, else by the file's."""
        letters = axes if axes and len(axes) == len(self.shape) else self.axes
        size = dict(zip(letters, self.shape, strict=True))
        return size.get("Y", 1), size.get("X", 1)

    @property
    def tells_its_shape(self) -> bool:
        """Whether the shape is that of the whole file, even if the file is cut short."""
        return self._all_directories or self._series.kind not in _LISTS_OF_PAGES

    @property
    def reads_parts(self) -> bool:
        """Whether `part` decodes no more than the pages it needs."""
        series, inner = self._series, tuple(self._page.shape)
        if series.dataoffset is not None and not self._single:
            return True
        outer = self.shape[: len(self.shape) - len(inner)]
        return self.shape == outer + inner and len(self._pages()) == prod(outer)

    def part(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Decode what lies at an index of `shape`, and no page beside; dark is low.

        index: an integer or slice(None) for each dimension.
        """
        series, inner = self._series, tuple(self._page.shape)
        if series.dataoffset is not None and not self._single:
            kind = self.dtype.newbyteorder(self._file.byteorder)
            array = DiskArray(self._path, kind, self.shape, series.dataoffset)
            return self.upright(array.part(index))
        if not self.reads_parts:
            return self.upright(series.asarray(maxworkers=1)[index])
        outer = self.shape[: len(self.shape) - len(inner)]
        wanted = np.asarray(np.arange(prod(outer)).reshape(outer)[index[: len(outer)]])
        pages = [self._decoded(int(number))[index[len(outer) :]] for number in wanted.flat]
        return self.upright(np.stack(pages).reshape(wanted.shape + pages[0].shape))

    def _pages(self) -> Any:
        return self._file.series if self._single else self._series.pages

    def _decoded(self, number: int) -> NDArray[Any]:
        """Return a page; the last one is kept, since it may hold more than one frame."""
        if self._last is None or self._last[0] != number:
            page = self._pages()[number]
            self._last = (number, page.asarray(maxworkers=1))
        return self._last[1]

    def _is_list_of_single_pages(self) -> bool:
        """Tell whether each page is a series of its own; refuse pages that differ."""
        series = self._file.series
        if len(series) == 1 or any(one.kind not in _LISTS_OF_PAGES for one in series):
            return False
        for other in series[1:]:
            one, two = self._page, other.keyframe
            if one.shape != two.shape or one.dtype != two.dtype:
                raise UnreadableImage(
                    f"{self._name} has frames of different size or type ({_kind(one)} and "
                    f"{_kind(two)}); a movie needs equal ones. Crop them, or export it again."
                )
        return all(len(one.pages) == 1 for one in series)


def _kind(page: Any) -> str:
    return f"{' × '.join(map(str, page.shape))} {page.dtype}"
