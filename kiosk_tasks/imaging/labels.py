"""Label images: from a network's heads to cells with numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.errors import InvalidAxes
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

Labels = NDArray[np.int32]

_EIGHT = np.ones((3, 3), np.bool_)


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
    found &= peaks > params.maxima_threshold
    if params.flood == "maxima":
        found &= foreground
    markers, count = ndimage.label(found, _EIGHT)
    if not count:
        return np.zeros(maxima.shape, np.int32)
    labels = watershed(-landscape, markers, mask=foreground)
    labels = remove_faint(labels.astype(np.int32, copy=False), inside, params.least_interior)
    return _tidy(labels, params)


def relabel(labels: NDArray[Any]) -> Labels:
    """Number the cells 1..n without gaps, in the order of their old numbers.

    labels: any shape, any integer dtype, none below 0; 0 stays background.
    """
    largest = int(labels.max(initial=0))
    if largest <= 16 * labels.size + 1024:
        present = np.bincount(labels.ravel(), minlength=1) > 0
        present[0] = False
        numbers = np.cumsum(present, dtype=np.int32)
        numbers[~present] = 0
        return np.take(numbers, labels)
    old, compact = np.unique(labels, return_inverse=True)
    first = 0 if old[0] == 0 else 1
    return (compact.reshape(labels.shape) + first).astype(np.int32)


def remove_small(labels: NDArray[Any], min_area: int) -> Labels:
    """Remove cells of fewer than `min_area` pixels; the others keep their numbers.

    labels: any shape, integer, none below 0 and 1..n with few gaps (see `relabel`).
    """
    kept = np.bincount(labels.ravel(), minlength=1) >= min_area
    return _keep(labels, kept)


def remove_faint(labels: NDArray[Any], interior: NDArray[Any], least_mean: float) -> Labels:
    """Remove cells inside of which the network was not sure; the others keep their numbers.

    labels: any shape, integer, none below 0 and 1..n with few gaps (see `relabel`).
    interior: of the same shape; cells of a mean below `least_mean` go.
    """
    areas = np.bincount(labels.ravel(), minlength=1)
    sums = np.bincount(labels.ravel(), interior.ravel(), minlength=1)
    return _keep(labels, sums >= least_mean * areas)


def remove_border(labels: NDArray[Any]) -> Labels:
    """Remove cells that touch the border of the image; the others keep their numbers.

    labels: (Y, X) integer, none below 0 and 1..n with few gaps (see `relabel`).
    """
    kept = np.ones(int(labels.max(initial=0)) + 1, np.bool_)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        kept[edge] = False
    return _keep(labels, kept)


def fill_label_holes(labels: NDArray[Any], max_area: int) -> Labels:
    """Fill holes of at most `max_area` pixels that lie within one cell.

    labels: (Y, X) integer. A hole is background, connected through edges, that touches one cell,
    no other and not the border of the image.
    """
    filled = labels.astype(np.int32)
    holes, count = ndimage.label(filled == 0)
    fits = np.bincount(holes.ravel(), minlength=1) <= max_area
    fits[0] = False
    for edge in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        fits[edge] = False
    if not fits.any():
        return filled
    owner = np.zeros(count + 1, np.int32)
    for hole, cell in _touching(holes, filled, fits):
        fits[hole] &= owner[hole] in (0, cell)
        owner[hole] = cell
    owner[~fits] = 0
    return np.where(holes > 0, owner[holes], filled)


def resize_labels(labels: NDArray[Any], shape: tuple[int, int]) -> Labels:
    """Bring a label image to another size; each pixel takes the nearest label.

    labels: (Y, X) integer. shape: (Y, X) of the result, px.
    """
    rows, columns = (
        np.minimum(((np.arange(new) + 0.5) * (old / new)).astype(np.intp), old - 1)
        for new, old in zip(shape, labels.shape, strict=True)
    )
    return np.ascontiguousarray(labels[rows][:, columns], np.int32)


def _smooth(head: NDArray[Any], sigma: float) -> NDArray[np.float32]:
    plane = np.asarray(head, np.float32)
    if not sigma:
        return plane
    smoothed: NDArray[np.float32] = ndimage.gaussian_filter(plane, sigma, mode="nearest")
    return smoothed


def _tidy(labels: Labels, params: WatershedParams) -> Labels:
    if params.min_area > 1:
        labels = remove_small(labels, params.min_area)
    if params.hole_area > 0:
        labels = fill_label_holes(labels, params.hole_area)
    if params.exclude_border:
        labels = remove_border(labels)
    return relabel(labels)


def _keep(labels: NDArray[Any], kept: NDArray[np.bool_]) -> Labels:
    numbers = np.where(kept, np.arange(len(kept)), 0).astype(np.int32)
    numbers[0] = 0
    return np.take(numbers, labels)


def _touching(
    holes: NDArray[Any], labels: Labels, wanted: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """List each pair (hole, cell) that share an edge, once, for the wanted holes."""
    pairs = []
    views = (np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:])
    for one, other in (*views, *(view[::-1] for view in views)):
        at = wanted[holes[one]] & (labels[other] > 0)
        pairs.append(np.stack([holes[one][at], labels[other][at]], axis=1))
    return [(hole, cell) for hole, cell in np.unique(np.concatenate(pairs), axis=0).tolist()]
