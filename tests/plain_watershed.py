"""Deep watershed as a plain composition of scikit-image's functions, and heads to try it on."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters, measure, morphology, segmentation

from kiosk_tasks.imaging.labels import WatershedParams
from tests.synthetic import draw_discs, perfect_heads

__all__ = ["draw_heads", "plain_deep_watershed"]

_TILE = 256
_CELLS_PER_TILE = 33


def plain_deep_watershed(
    maxima: NDArray[np.float32], interior: NDArray[np.float32], *, params: WatershedParams
) -> NDArray[np.integer]:
    """Label cells as `kiosk_tasks.imaging.labels.deep_watershed` does, step by step, unhurried.

    With `WatershedParams.nuclear()` or `.mesmer(…)` these are the steps of the published toolbox
    as Greenwald et al. 2022 describe them (Methods, "deep watershed"): h-maxima over a disk,
    markers, watershed of the interior inside of its mask, small objects and holes, new numbers.
    """
    ski: Any = filters
    peaks = ski.gaussian(maxima, params.maxima_smooth) if params.maxima_smooth else maxima
    inside = ski.gaussian(interior, params.interior_smooth) if params.interior_smooth else interior
    foreground = inside > params.interior_threshold
    on_maxima = params.flood == "maxima"
    sought = np.where(foreground, peaks, min(0, peaks.min())) if on_maxima else peaks
    ski = morphology
    footprint = ski.disk(params.radius) if params.radius > 1 else np.ones((3, 3), np.uint8)
    found = ski.h_maxima(sought, np.float32(params.maxima_depth), footprint) > 0
    found &= peaks > params.maxima_threshold
    if on_maxima:
        found &= foreground
    ski = measure
    markers = ski.label(found)
    ski = segmentation
    labels = ski.watershed(-(peaks if on_maxima else inside), markers, mask=foreground)
    return _tidy(labels, inside, params)


def _tidy(
    labels: NDArray[np.integer], inside: NDArray[np.floating], params: WatershedParams
) -> NDArray[np.integer]:
    ski: Any = measure
    for cell in ski.regionprops(labels, inside):
        if cell.intensity_mean < params.least_interior:
            labels[labels == cell.label] = 0
    ski = morphology
    if params.min_area > 1:
        with warnings.catch_warnings():  # it asks whether one label was meant as a mask
            warnings.filterwarnings("ignore", "Only one label", UserWarning)
            labels = ski.remove_small_objects(labels, max_size=params.min_area - 1)
    if params.hole_area:
        padded = np.pad(labels, 1)
        ski = measure
        for cell in ski.regionprops(padded):
            rows, columns = (slice(s.start - 1, s.stop + 1) for s in cell.slice)
            window, ski = padded[rows, columns], morphology
            full = ski.remove_small_holes(window == cell.label, max_size=params.hole_area)
            window[full & (window == 0)] = cell.label
        labels = padded[1:-1, 1:-1]
    ski = segmentation
    if params.exclude_border:
        labels = ski.clear_border(labels)
    return np.asarray(ski.relabel_sequential(labels)[0])


def draw_heads(
    side: int, *, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], int]:
    """Draw what a network might say of a crowded plane: inner and outer distance, foreground.

    Per 256 × 256 px there are up to 33 discs of 7 to 20 px radius, bent by a smooth warp that
    makes some of them touch; the heads are blurred and waver by 5 % inside of cells and by 0.2 %
    everywhere, so that maxima compete.
    Returns three (side, side) float32 and how many cells there are.
    """
    rng = np.random.default_rng(seed)
    tiles = -(-side // _TILE)
    labels, count = np.zeros((tiles * _TILE, tiles * _TILE), np.int32), 0
    for y, x in np.ndindex(tiles, tiles):
        discs = draw_discs(
            (_TILE, _TILE),
            count=_CELLS_PER_TILE,
            radius=(7, 20),
            gap=0.5,
            seed=int(rng.integers(2**31)),
        )
        numbers = np.where(discs.labels > 0, discs.labels + count, 0)
        labels[y * _TILE : (y + 1) * _TILE, x * _TILE : (x + 1) * _TILE] = numbers
        count += len(discs.radii)
    shifts = [8 * _unit_noise(rng, labels.shape, 12.0) for _axis in "YX"]
    places = [grid + shift for grid, shift in zip(np.indices(labels.shape), shifts, strict=True)]
    bent = ndimage.map_coordinates(labels, places, order=0)[:side, :side]
    inner, outer, foreground = (
        np.asarray(
            ndimage.gaussian_filter(head, 0.7) * (1 + 0.05 * _unit_noise(rng, bent.shape, 1.5))
            + 0.002 * _unit_noise(rng, bent.shape, 1.5),
            np.float32,
        )
        for head in perfect_heads(bent)
    )
    return inner, outer, foreground, len(np.unique(bent)) - 1


def _unit_noise(
    rng: np.random.Generator, shape: tuple[int, ...], sigma: float
) -> NDArray[np.float64]:
    noise = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
    return np.asarray(noise / noise.std(), np.float64)
