"""Spots: bright points of about one width, found without a model.

Lindeberg 1998, International Journal of Computer Vision 30:79, "Feature detection with automatic
scale selection": a bright blob is a maximum of the negated, scale-normalised Laplacian of the
Gaussian-smoothed image (LoG). What is new here is only where the threshold comes from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.spot_response import (
    SpotResponse,
    local_maxima,
    spot_response,
    surroundings,
)

__all__ = ["FWHM_PER_SIGMA", "SpotParams", "Spots", "find_spots", "measure_spots"]

Points = NDArray[np.float64]

FWHM_PER_SIGMA = float(np.sqrt(8 * np.log(2)))
"""Full width at half maximum of a Gaussian over its sigma, 2.355."""

WIDER, NARROWER = 1.1, 0.8
"""Sigmas of the two filters over that of a spot. Isolated dim spots stand out most at √3 (the
response to a spot over that to white noise peaks there), crowded ones are told apart below 1. Both
chosen on simulated images (`benchmarks/spots.py`)."""

APART = 4 / 3
"""Diameters: how far from a spot of the wider filter those may lie that the narrower one tells
apart; chosen on the same images."""

ROUNDNESS = 0.1
"""Least curvature of the response at a spot in its flattest direction over its steepest; chosen on
the same images."""


@dataclass(frozen=True)
class SpotParams:
    """How `find_spots` looks for spots.

    Both factors were chosen on simulated images (`benchmarks/spots.py`): with them an image without
    spots gives none or few, and so does an uneven background.
    """

    diameter: float = 3.0  #: full width of a spot at half its height, px
    sensitivity: float = 1.0  #: both factors below are divided by it
    texture_factor: float = 5.0  #: least height over the local texture of the response
    noise_factor: float = 4.5  #: least height over what the camera's noise makes of the response

    @property
    def sigma(self) -> float:
        """Standard deviation of a Gaussian spot of that diameter, px."""
        return self.diameter / FWHM_PER_SIGMA


DEFAULT_PARAMS = SpotParams()


@dataclass(frozen=True, eq=False)
class Spots:
    """Spots of one plane, from the top to the bottom; each column has (n, …) float64.

    positions: (n, 2), (y, x), px; (0, 0) is the centre of the first pixel.
    intensity: height over the surroundings, in the image's unit: that of a Gaussian spot of the
        diameter that was asked for with the same response.
    snr: response over the spread of the response around it, where no spot is.
    """

    positions: Points
    intensity: NDArray[np.float64]
    snr: NDArray[np.float64]

    def __len__(self) -> int:
        """Return how many spots there are."""
        return len(self.positions)


def find_spots(plane: NDArray[Any], *, params: SpotParams = DEFAULT_PARAMS) -> Spots:
    """Find bright spots: maxima of the LoG response that stand out of noise and texture.

    plane: (Y, X), any real dtype, finite. A plane of one value has no spots.
    A maximum must be higher than `noise_factor` times the spread that white camera noise would
    give the response, and than `texture_factor` times the spread that the response has around it:
    the first keeps an even image quiet, the second a textured one. Single pixels that outshine all
    their neighbours (hot pixels) are no spots.
    Two filters look, one a little wider than a spot and one narrower: the first sees dim spots, the
    second tells neighbours apart.
    Positions are refined to fractions of a pixel by a parabola through three pixels each way.
    Memory besides the plane: 4 bytes a pixel, and some megabytes.
    """
    wide = _found(plane, params, WIDER)
    return _split(wide, _found(plane, params, NARROWER), plane, params) if len(wide) else wide


def measure_spots(
    plane: NDArray[Any], positions: Points, *, params: SpotParams = DEFAULT_PARAMS
) -> Spots:
    """Measure spots that something else has found, as `find_spots` measures its own.

    plane: (Y, X), any real dtype, finite. positions: (n, 2), (y, x), px.
    Intensity and signal-to-noise are read at the pixel next to each position; they are below 0
    where the plane has a dip there.
    """
    response = spot_response(plane, WIDER * params.sigma)
    if response is None or not len(positions):
        zeros = np.zeros(len(positions))
        return Spots(np.asarray(positions, np.float64).reshape(-1, 2), zeros, zeros)
    last = np.array(plane.shape) - 1
    pixels = np.clip(np.rint(positions).astype(np.intp), 0, last)
    level, spread = surroundings(response).at(pixels)
    spread = np.maximum(spread, response.noise_response)
    values = response.values[pixels[:, 0], pixels[:, 1]] - level
    return Spots(
        positions=np.asarray(positions, np.float64),
        intensity=values * _height(response, params),
        snr=values / np.maximum(spread, response.rounding),
    )


def _found(plane: NDArray[Any], params: SpotParams, wider: float) -> Spots:
    """Find spots with one filter."""
    response = spot_response(plane, wider * params.sigma)
    if response is None:
        return Spots(np.empty((0, 2)), np.empty(0), np.empty(0))
    noise = response.noise_response
    least = max(params.noise_factor / params.sensitivity * noise, response.rounding)
    around = surroundings(response)
    peaks = local_maxima(response.values, above=least + float(around.levels.min()))
    level, spread = around.at(peaks)
    values = response.values[peaks[:, 0], peaks[:, 1]] - level
    kept = values > np.maximum(least, params.texture_factor / params.sensitivity * spread)
    kept[kept] = _round(response.values, peaks[kept])
    values, spread = values[kept], np.maximum(spread, noise)[kept]
    return Spots(
        positions=_refined(response.values, peaks[kept]),
        intensity=values * _height(response, params),
        snr=values / np.maximum(spread, response.rounding),
    )


def _split(wide: Spots, narrow: Spots, plane: NDArray[Any], params: SpotParams) -> Spots:
    """Take what the narrower filter found in place of a spot in which it sees two or more.

    The flat top of a saturated spot has corners that look like several spots: they do not count.
    """
    # Imported here: a worker that waits does without it.
    from scipy.spatial import cKDTree

    pixels = np.rint(narrow.positions).astype(np.intp)
    clipped = plane[pixels[:, 0], pixels[:, 1]] == plane.max()
    distance, found = cKDTree(wide.positions).query(narrow.positions)
    nearest = np.asarray(found, np.intp)
    part = ~clipped & (distance <= APART * params.diameter)
    several = np.bincount(nearest[part], minlength=len(wide)) > 1
    kept = np.concatenate([~several, part & several[nearest]])
    columns = [
        np.concatenate(pair)[kept]
        for pair in (
            (wide.positions, narrow.positions),
            (wide.intensity, narrow.intensity),
            (wide.snr, narrow.snr),
        )
    ]
    by_rows = np.lexsort(columns[0].T[::-1])
    return Spots(*(column[by_rows] for column in columns))


def _round(response: NDArray[np.float32], peaks: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell which maxima fall off to all sides like a spot, and do not sit on a ridge, (n,).

    The response is high all along the edge of something bright. Noise makes maxima there, but along
    the edge these are flat (Lowe 2004, International Journal of Computer Vision 60:91, "Eliminating
    edge responses", takes the same ratio).
    """
    last = np.array(response.shape) - 1

    def at(y: int, x: int) -> Points:
        near = np.clip(peaks + np.array([y, x]), 0, last)
        values: Points = response[near[:, 0], near[:, 1]].astype(np.float64)
        return values

    down = at(-1, 0) - 2 * at(0, 0) + at(1, 0)
    across = at(0, -1) - 2 * at(0, 0) + at(0, 1)
    mixed = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
    mean, apart = (down + across) / 2, np.hypot((down - across) / 2, mixed)
    flattest, steepest = mean + apart, mean - apart
    return flattest <= ROUNDNESS * steepest


def _height(response: SpotResponse, params: SpotParams) -> float:
    """Return the height of a Gaussian spot over its response, in the image's unit.

    For a spot of variance s and a filter of variance f the response at the centre is
    2 s f / (s + f)² of the height.
    """
    spot, filtered = params.sigma**2, response.sigma**2
    return response.unit * (spot + filtered) ** 2 / (2 * spot * filtered)


def _refined(response: NDArray[np.float32], peaks: NDArray[np.intp]) -> Points:
    """Move each maximum to the top of the parabola through it, half a pixel each way at most.

    At the border of the plane, where a neighbour is missing, a position stays as it is.
    """
    positions = peaks.astype(np.float64)
    here = response[peaks[:, 0], peaks[:, 1]].astype(np.float64)
    for axis in (0, 1):
        inner = (peaks[:, axis] > 0) & (peaks[:, axis] < response.shape[axis] - 1)
        step = np.zeros(2, np.intp)
        step[axis] = 1
        before, after = (
            response[tuple((peaks[inner] + sign * step).T)].astype(np.float64) for sign in (-1, 1)
        )
        bend = before - 2 * here[inner] + after
        slope = (after - before) / 2
        shift = np.divide(-slope, bend, out=np.zeros_like(bend), where=bend < 0)
        positions[inner, axis] += np.clip(shift, -0.5, 0.5)
    return positions
