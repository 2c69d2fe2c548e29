"""Label images: from a network's heads to cells with numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging._numbers import (
    Labels,
    as_labels,
    fill_label_holes,
    relabel,
    remove_border,
    remove_faint,
    remove_small,
    renumbered,
)
from kiosk_tasks.imaging._watershed import watershed
from kiosk_tasks.imaging.maxima import h_maxima

__all__ = [
    "LabelImage",
    "Labels",
    "WatershedParams",
    "deep_watershed",
    "fill_label_holes",
    "relabel",
    "remove_border",
    "remove_faint",
    "remove_small",
    "resize_labels",
]

_EIGHT = np.ones((3, 3), np.bool_)
_BAND = 48  # px; columns that are smoothed at once


@dataclass(frozen=True, eq=False)
class LabelImage:
    """Cells by number.

    data: int32; 0 is background, each cell has one number above 0.
    mpp: micrometres per pixel along Y and X; None where nobody knows.
    axes: "YX", or "TYX" for a movie in which a number is a track.
    Raises InvalidAxes if the axes are others or do not fit.
    """

    data: Labels
    mpp: float | None = None
    axes: str = "YX"

    def __post_init__(self) -> None:
        """Check the axes, and make the numbers int32."""
        if self.axes not in ("YX", "TYX") or self.data.ndim != len(self.axes):
            raise InvalidAxes(
                f'a label image has axes "YX" or "TYX", not "{self.axes}" '
                f"with {self.data.ndim} dimensions."
            )
        object.__setattr__(self, "data", np.ascontiguousarray(self.data, np.int32))


@dataclass(frozen=True)
class WatershedParams:
    """How `deep_watershed` finds cells. The defaults suit the bundled nuclear model.

    The presets are those of the published DeepCell applications (`deepcell.applications`); their
    code names what is `maxima_depth` here "maxima_threshold".
    """

    radius: int = 1  #: pixels within it are neighbours when maxima are sought, px; 1: the eight
    maxima_threshold: float = 0.25  #: a maximum must be above this value
    maxima_depth: float = 0.05  #: h of the h-maxima: valleys between two cells are this deep
    maxima_smooth: float = 1.0  #: sigma of the Gaussian over the maxima, px; 0 for none
    interior_threshold: float = 0.5  #: foreground is where the interior is above this value
    interior_smooth: float = 0.0  #: sigma of the Gaussian over the interior, px; 0 for none
    flood: Literal["maxima", "interior"] = "maxima"  #: what the watershed floods, peaks first
    least_interior: float = 0.0  #: cells whose mean interior is lower are removed
    min_area: int = 15  #: smaller cells are removed, px²
    hole_area: int = 15  #: holes in a cell up to this size are filled, px²
    exclude_border: bool = False  #: remove cells that touch the border of the image

    @classmethod
    def nuclear(cls) -> WatershedParams:
        """Return the parameters of NuclearSegmentation and CytoplasmSegmentation."""
        return cls(10, -np.inf, 0.1, 0.0, 0.01, 1.0, "interior", min_area=0, hole_area=0)

    @classmethod
    def mesmer(cls, compartment: Literal["whole-cell", "nuclear"]) -> WatershedParams:
        """Return the parameters of MultiplexSegmentation (Greenwald et al. 2022)."""
        depth = 0.075 if compartment == "whole-cell" else 0.1
        return cls(2, -np.inf, depth, 0.0, 0.2, 2.0, "interior", min_area=15, hole_area=15)


DEFAULT_PARAMS = WatershedParams()


def deep_watershed(
    maxima: NDArray[Any], interior: NDArray[Any], *, params: WatershedParams = DEFAULT_PARAMS
) -> Labels:
    """Label cells by a watershed from the maxima of a network's inner-distance head.

    maxima: (Y, X) float, high at the centre of cells.
    interior: (Y, X) float, high inside of cells; the watershed stays where it is above
        `params.interior_threshold`.
    Returns (Y, X) int32; 0 is background, cells are 1..n without gaps, in raster order of their
    maxima. With `params.flood` "maxima" the maxima are sought in the foreground only.
    Raises InvalidAxes if the heads differ in shape.

    Follows Greenwald et al. 2022, Nature Biotechnology 40:555, Methods, "deep watershed".
    """
    if maxima.ndim != 2 or maxima.shape != interior.shape:
        raise InvalidAxes(
            f"the heads have shapes {maxima.shape} and {interior.shape}; "
            "both must be the same (Y, X)."
        )
    peaks = _smooth(maxima, params.maxima_smooth)
    inside = _smooth(interior, params.interior_smooth)
    foreground = inside > params.interior_threshold
    if params.flood == "maxima":
        sought = np.where(foreground, peaks, min(np.float32(0), peaks.min()))
        landscape = peaks
    else:
        sought, landscape = peaks, inside
    found = h_maxima(sought, params.maxima_depth, radius=params.radius)
    if params.maxima_threshold > -np.inf:
        found &= peaks > params.maxima_threshold
    if params.flood == "maxima":
        found &= foreground
    markers, count = ndimage.label(found, _EIGHT)
    if not count:
        return np.zeros(maxima.shape, np.int32)
    labels = watershed(np.negative(landscape), markers, mask=foreground)
    return _tidy(labels, inside, params)


def resize_labels(labels: NDArray[Any], shape: tuple[int, int]) -> Labels:
    """Bring a label image to another size; each pixel takes the nearest label.

    labels: (Y, X) integer. shape: (Y, X) of the result, px.
    Returns `labels` itself where there is nothing to change.
    """
    if labels.shape == tuple(shape):
        return as_labels(labels)
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * (old / new)).astype(np.intp), old - 1)
        for new, old in zip(shape, labels.shape, strict=True)
    )
    return np.ascontiguousarray(labels[rows][:, columns], np.int32)


def _smooth(head: NDArray[Any], sigma: float) -> NDArray[np.float32]:
    """Blur with a Gaussian: `scipy.ndimage.gaussian_filter`, a band of columns after another.

    Down a whole plane whose row is a power of two long, each pixel displaces the last in the cache.
    """
    plane = np.asarray(head, np.float32)
    if not sigma:
        return plane
    smoothed = np.empty(plane.shape, np.float32)
    for first in range(0, plane.shape[1], _BAND):
        band = plane[:, first : first + _BAND].copy()
        ndimage.gaussian_filter1d(band, sigma, axis=0, output=band, mode="nearest")
        smoothed[:, first : first + _BAND] = band
    ndimage.gaussian_filter1d(smoothed, sigma, axis=1, output=smoothed, mode="nearest")
    return smoothed


def _tidy(labels: Labels, inside: NDArray[np.float32], params: WatershedParams) -> Labels:
    """Remove what is no cell, fill holes, and number the rest; each in one pass over the cells."""
    cells = labels > 0
    numbers = labels[cells]
    areas = np.bincount(numbers, minlength=1)
    kept = areas >= max(params.min_area, 1)
    if params.least_interior > max(params.interior_threshold, 0) or params.interior_threshold < 0:
        kept &= np.bincount(numbers, inside[cells], 1) >= params.least_interior * areas
    labels = renumbered(labels, kept)
    if params.hole_area > 0:
        labels = fill_label_holes(labels, params.hole_area)
    return relabel(remove_border(labels)) if params.exclude_border else labels
