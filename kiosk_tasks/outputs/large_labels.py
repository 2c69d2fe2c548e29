"""A large label image as OME-TIFF: tiled, with smaller views, written row of tiles by row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import TiffWriter

from kiosk_tasks.imaging._tiff_write import ome_xml
from kiosk_tasks.imaging.labels import Labels

__all__ = ["TILE", "Views", "write_tiff"]

TILE = 512
"""Side of a tile, px."""

_SMALLEST = 1024  # px; no smaller view has a longer side above that
_LEVEL = 1  # of deflate: labels pack hardly better with more
_CLASSIC = 2**32 - 2**25  # bytes that a TIFF file holds; beyond it is a BigTIFF


class Views:
    """Smaller views of a label image, each half of the one before; they lie in files meanwhile.

    A view's pixel is that of the larger one at its lower right middle: labels are not mixed.
    """

    def __init__(self, shape: tuple[int, int], folder: Path) -> None:
        self.shapes: list[tuple[int, int]] = []
        while max(shape) > _SMALLEST and min(shape) > 1:
            shape = (shape[0] // 2, shape[1] // 2)
            self.shapes.append(shape)
        self._paths = [folder / f"view_{level}" for level in range(len(self.shapes))]
        self._files = [path.open("wb") for path in self._paths]

    def add(self, band: Labels, top: int) -> None:
        """Take in the next rows of the image; `top` is the first of them."""
        for level, (file, (height, width)) in enumerate(
            zip(self._files, self.shapes, strict=True), start=1
        ):
            step = 2**level
            rows = np.arange(height) * step + step // 2
            mine = rows[(rows >= top) & (rows < top + len(band))] - top
            columns = np.arange(width) * step + step // 2
            file.write(np.ascontiguousarray(band[mine][:, columns]).tobytes())

    def rows(self, level: int) -> Iterator[Labels]:
        """Yield a view's rows, a row of tiles at a time; its file goes then."""
        self._files[level].close()
        height, width = self.shapes[level]
        with self._paths[level].open("rb") as file:
            for top in range(0, height, TILE):
                count = min(TILE, height - top)
                yield np.fromfile(file, np.int32, count * width).reshape(count, width)
        self._paths[level].unlink()


def write_tiff(
    target: Path, bands: Iterable[Labels], shape: tuple[int, int], mpp: float | None, folder: Path
) -> None:
    """Write a label image: int32, deflate, with axes, pixel size and smaller views.

    bands: its rows, (n, X) each. Equal labels give equal bytes.
    """
    views = Views(shape, folder)
    sizes = {"X": shape[1], "Y": shape[0], "C": 1, "Z": 1, "T": 1}
    channel = '<Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
    density = None if mpp is None else (1e4 / mpp, 1e4 / mpp)
    common: dict[str, Any] = {
        "dtype": np.int32,
        "photometric": "minisblack",
        "compression": "zlib",
        "compressionargs": {"level": _LEVEL},
        "tile": (TILE, TILE),
        "metadata": None,
        "maxworkers": 1,
    }
    with TiffWriter(target, bigtiff=shape[0] * shape[1] * 4 > _CLASSIC) as file:
        file.write(
            _tiles(in_rows_of_tiles(_watched(bands, views))),
            shape=shape,
            subifds=len(views.shapes),
            description=ome_xml("labels", "int32", sizes, mpp, channel).encode(),
            software="kiosk-tasks",
            resolution=density,
            resolutionunit=None if density is None else "CENTIMETER",
            **common,
        )
        for level, smaller in enumerate(views.shapes):
            file.write(_tiles(views.rows(level)), shape=smaller, subfiletype=1, **common)


def in_rows_of_tiles(bands: Iterable[Labels]) -> Iterator[Labels]:
    """Yield rows as tiles want them: `TILE` at a time, the last as many as there are."""
    held: list[Labels] = []
    count = 0
    for band in bands:
        held.append(band.copy())
        count += len(band)
        while count >= TILE:
            rows = np.concatenate(held) if held[1:] else held[0]
            yield rows[:TILE]
            held, count = [rows[TILE:].copy()], count - TILE  # the rest of a band may go
    if count:
        yield np.concatenate(held)


def _watched(bands: Iterable[Labels], views: Views) -> Iterator[Labels]:
    top = 0
    for band in bands:
        views.add(band, top)
        top += len(band)
        yield band


def _tiles(rows: Iterable[Labels]) -> Iterator[NDArray[np.int32]]:
    for band in rows:
        for left in range(0, band.shape[1], TILE):
            part = band[:, left : left + TILE]
            tile = np.zeros((TILE, TILE), np.int32)
            tile[: part.shape[0], : part.shape[1]] = part
            yield tile
