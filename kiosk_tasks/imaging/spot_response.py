"""How much each pixel looks like the centre of a spot, and how much it would by chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.errors import UnusableImage
from kiosk_tasks.imaging.camera import camera_noise, hot_pixels

__all__ = [
    "SpotResponse",
    "Surroundings",
    "local_maxima",
    "spot_response",
    "surroundings",
]

FloatPlane = NDArray[np.float32]
Slices = tuple[slice, slice]

_BLOCK = 1024  # px; the response is made of blocks of that side, so that temporaries stay small
_REACH = 4.0  # sigmas at which the kernel ends
_CELL = 48  # px between two places where the texture is measured
_QUIET, _QUIET_SD = 0.35, 0.4538  # of a normal distribution, 35 % lies within 0.4538 sd
_STRIDE = 2  # neighbours of the response say nearly the same: every second one is looked at
_ROUNDING = 1e-5  # of the largest response: below it is the rounding of float32
_MEDIAN_ROWS = 512  # rows that are enough to know the image's level
_HOT_SIGMA = 0.8  # px; smaller spots cannot be told from hot pixels

_AROUND = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
_NO_HOT_PIXELS = (np.empty((0, 2), np.intp), np.empty(0))


@dataclass(frozen=True, eq=False)
class SpotResponse:
    """The negated, scale-normalised Laplacian of the smoothed plane.

    values: (Y, X) float32, in units of `unit`; 0 on even or sloping ground.
    unit: one unit of `values` in the image's unit.
    sigma: of the filter, px.
    noise: standard deviation of the camera's noise, in the image's unit.
    hot_pixels: how many single bright pixels were taken for their neighbours' median.
    """

    values: FloatPlane
    unit: float
    sigma: float
    noise: float
    hot_pixels: int

    @cached_property
    def noise_response(self) -> float:
        """Spread that the camera's noise alone gives the response."""
        side = 2 * int(_REACH * self.sigma + 0.5) + 3
        impulse = np.zeros((side, side))
        impulse[side // 2, side // 2] = 1
        filtered = ndimage.gaussian_laplace(impulse, self.sigma, truncate=_REACH)
        gain = float(np.sqrt((filtered**2).sum()) * self.sigma**2)
        return self.noise / self.unit * gain

    @cached_property
    def rounding(self) -> float:
        """What a response must exceed to be more than the rounding of numbers."""
        return float(max(self.values.max(), -self.values.min())) * _ROUNDING


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Level and spread of the response where no spot is, at places of a coarse grid.

    levels, spreads: (n, m) float64. rows, columns: where, px.
    """

    levels: NDArray[np.float64]
    spreads: NDArray[np.float64]
    rows: NDArray[np.float64]
    columns: NDArray[np.float64]

    def at(self, pixels: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return level and spread at pixels (n, 2), between the places by interpolation."""
        along = [
            np.interp(pixels[:, axis], places, np.arange(len(places)))
            for axis, places in enumerate((self.rows, self.columns))
        ]
        level, spread = (
            np.asarray(ndimage.map_coordinates(values, along, order=1), np.float64)
            for values in (self.levels, self.spreads)
        )
        return level, spread


def spot_response(plane: NDArray[Any], sigma: float) -> SpotResponse | None:
    """Filter a plane for spots of that sigma; None for a plane of one value.

    plane: (Y, X), any real dtype, finite. sigma: px.
    Raises UnusableImage if the range of its values is no number.
    """
    lowest, highest = float(plane.min()), float(plane.max())
    if highest <= lowest:
        return None
    unit = highest - lowest
    if not np.isfinite(unit):
        raise UnusableImage(
            f"the pixels reach from {lowest:g} to {highest:g}, which is more than can be computed "
            "with. Export the image as integers."
        )
    middle = float(np.median(plane[:: max(1, plane.shape[0] // _MEDIAN_ROWS)]))
    noise = camera_noise(plane)
    hot, instead = hot_pixels(plane, noise) if sigma >= _HOT_SIGMA else _NO_HOT_PIXELS
    values = np.empty(plane.shape, np.float32)
    for inner, outer, cut in _blocks(plane.shape, int(_REACH * sigma + 0.5) + 1):
        pixels = plane[outer].astype(np.float64)
        offsets = hot - [outer[0].start, outer[1].start]
        here = ((offsets >= 0) & (offsets < pixels.shape)).all(axis=1)
        pixels[tuple(offsets[here].T)] = instead[here]
        pixels = (pixels - middle) / unit
        laplacian = ndimage.gaussian_laplace(pixels.astype(np.float32), sigma, truncate=_REACH)
        np.multiply(laplacian[cut], np.float32(-(sigma**2)), out=values[inner])
    return SpotResponse(values, unit, sigma, noise, len(hot))


def _blocks(shape: tuple[int, ...], margin: int) -> Iterator[tuple[Slices, Slices, Slices]]:
    """Yield blocks of a plane: where each lies, with its margin, and where it lies in that."""
    for origin in np.ndindex(*(-(-length // _BLOCK) for length in shape)):
        starts = [index * _BLOCK for index in origin]
        stops = [min(start + _BLOCK, length) for start, length in zip(starts, shape, strict=True)]
        outer = [
            slice(max(0, start - margin), min(stop + margin, length))
            for start, stop, length in zip(starts, stops, shape, strict=True)
        ]
        inner = [slice(*span) for span in zip(starts, stops, strict=True)]
        cut = [
            slice(one.start - other.start, one.stop - other.start)
            for one, other in zip(inner, outer, strict=True)
        ]
        yield (inner[0], inner[1]), (outer[0], outer[1]), (cut[0], cut[1])


def local_maxima(values: FloatPlane, *, above: float, every: bool = False) -> NDArray[np.intp]:
    """Return pixels higher than `above` and than their eight neighbours, (n, 2), by rows.

    values: (Y, X). Of neighbours that are equally high the first one counts, or with `every` each.
    """
    found = []
    height, width = values.shape
    for top in range(0, height, _BLOCK):
        rows, columns = np.nonzero(values[top : top + _BLOCK] > above)
        rows += top
        here = values[rows, columns]
        highest = np.ones(len(rows), np.bool_)
        for y, x in _AROUND:
            near_y, near_x = rows + y, columns + x
            inside = (near_y >= 0) & (near_y < height) & (near_x >= 0) & (near_x < width)
            near = np.full(len(rows), -np.inf, np.float32)
            near[inside] = values[near_y[inside], near_x[inside]]
            highest &= here > near if (y, x) < (0, 0) and not every else here >= near
        found.append(np.stack([rows[highest], columns[highest]], axis=1))
    return np.concatenate(found)


def surroundings(response: SpotResponse) -> Surroundings:
    """Measure level and spread of the response around each place, whatever spots are there.

    Each place looks at a square of twice the distance between places. The spread is read off the
    quantile `_QUIET` of the distances from the median: spots make up less of the smaller ones.
    """
    values = response.values
    edges = [
        np.linspace(0, length, max(1, round(length / _CELL)) + 1).astype(np.intp)
        for length in values.shape
    ]
    levels = np.empty([len(edge) - 1 for edge in edges])
    spreads = np.empty_like(levels)
    half = _CELL // 2
    for i, j in np.ndindex(*levels.shape):
        (top, bottom), (left, right) = edges[0][i : i + 2], edges[1][j : j + 2]
        window = values[
            max(0, top - half) : bottom + half : _STRIDE,
            max(0, left - half) : right + half : _STRIDE,
        ]
        levels[i, j] = np.median(window)
        spreads[i, j] = np.quantile(np.abs(window - levels[i, j]), _QUIET) / _QUIET_SD
    rows, columns = ((edge[:-1] + edge[1:] - 1) / 2 for edge in edges)
    return Surroundings(levels, spreads, rows, columns)
