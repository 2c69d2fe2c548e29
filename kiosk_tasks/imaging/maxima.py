"""The maxima of a plane that stand out by at least h."""

from __future__ import annotations

from math import isqrt

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.imaging._pixel_sets import (
    Words,
    footprint,
    grown,
    pack,
    single,
    touches_side,
)
from kiosk_tasks.imaging._reconstruction import reconstruct

__all__ = ["h_maxima"]

FloatPlane = NDArray[np.float32]
Places = NDArray[np.intp]
Frame = tuple[Places, Places, tuple[int, int]]  # first rows, first columns, shape of windows

_STRIP = 1 << 15  # px; rows that are searched at once: a few planes of them fit a core's cache
_TINY = 1 << 18  # px; so many are always looked at in windows
_WORTH = 16  # windows may have so many times the plane's pixels; above, the whole plane is flooded
_SMALLEST = 8  # px; side of the smallest windows
_STEP = 8  # px; side of the smallest blocks, and how many of them the next have
_SMALL = 2**15  # px; smaller planes are flooded whole: 64² takes 0.1 ms so, else 0.4
_FEW = 64  # candidates that are not worth being thinned out
_ROUNDING = np.float32(2 * np.finfo(np.float32).resolution)
_EIGHT = np.ones((3, 3), np.bool_)


def h_maxima(plane: FloatPlane, h: float, *, radius: int = 1) -> NDArray[np.bool_]:
    """Find the maxima from which every way to a higher pixel goes down by h or more.

    plane: (Y, X) float32, finite.
    h: least depth of the valley, in the plane's unit, above 0.
    radius: pixels within that distance are neighbours, px; 1 means the eight around a pixel.
    Returns (Y, X) bool. A plane that spans less than h has no maxima.

    Gives the same pixels as `skimage.morphology.h_maxima` with `disk(radius)` (for radius 1, a
    3 × 3 square). That floods the whole plane from below (Vincent 1993, "Morphological grayscale
    reconstruction"); a pixel stands out if the flood stays h below it. Here only pixels that no
    neighbour overtops are asked, each in a small window: is there a way to a higher pixel that
    stays less than h below? Where a window is too small to tell, a larger one is asked.
    See docs/decisions/0018-postprocessing.md.
    """
    plane = np.ascontiguousarray(plane, np.float32)
    found = np.zeros(plane.shape, np.bool_)
    if plane.size == 0 or h > np.ptp(plane):
        return found
    depth = np.float32(h)
    if plane.size <= _SMALL and radius <= 1:
        return _flooded(plane, depth, radius)
    candidates = _candidates(plane, depth, isqrt(radius * radius // 2) if radius > 1 else 1)
    candidates = _tallest_of_flats(plane, candidates, depth)
    asked, answer = _plateaus(plane, candidates, depth)
    stands = np.zeros(len(asked), np.bool_)
    open_questions = np.arange(len(asked))
    side = _SMALLEST
    while side < 5 * radius:
        side *= 2
    while len(open_questions):
        if len(open_questions) * side * side > _WORTH * plane.size + _TINY:
            return _flooded(plane, depth, radius)
        decided, stands[open_questions] = _ask(plane, asked[open_questions], depth, (side, radius))
        open_questions = open_questions[~decided]
        side *= 2
    found.ravel()[candidates[stands[answer]]] = True
    return found


def _seed(values: FloatPlane, depth: np.float32) -> FloatPlane:
    """Lower values by h, and by what rounding may have added; as scikit-image does."""
    rounding = np.abs(values)
    rounding *= _ROUNDING
    seed = values - depth
    seed -= rounding
    return seed


def _flooded(plane: FloatPlane, depth: np.float32, radius: int) -> NDArray[np.bool_]:
    """Do what `h_maxima` does by flooding the whole plane."""
    seed = _seed(plane, depth)
    if seed.max() >= plane.min():  # then the flood covers at least the lowest level everywhere
        np.maximum(seed, plane.min(), out=seed)
    standing_out: NDArray[np.bool_] = plane - reconstruct(seed, plane, radius) >= depth
    return standing_out


def _candidates(plane: FloatPlane, depth: np.float32, reach: int) -> Places:
    """Return the places (in the flat plane) of pixels that none in the square around overtops.

    reach: half the square's side, px. Pixels less than h above the lowest one are left out: the
    flood covers at least the lowest level everywhere.
    """
    rows, columns = plane.shape
    step = max(_STRIP // columns, 2 * reach, 1)
    floor = plane.min()
    covered = _seed(plane.max(keepdims=True), depth).item() >= floor
    covered = covered or _seed(plane, depth).max() >= floor  # rarely asked: h is nearly the span
    places = [np.zeros(0, np.intp)]
    for first in range(0, rows, step):
        middle = plane[first : first + step]
        if covered and middle.max() - floor < depth:
            continue
        top = max(first - reach, 0)
        seed = _seed(plane[top : first + step + reach], depth)
        flood = _square_maximum(seed, reach)[first - top :][: len(middle)]
        above = middle - flood >= depth
        if covered:
            above &= middle - floor >= depth
        places.append(np.flatnonzero(above) + first * columns)
    return np.concatenate(places)


def _square_maximum(values: FloatPlane, reach: int) -> FloatPlane:
    """Return the maximum over the square around each pixel; outside there is nothing."""
    for swap in (False, True):
        done = 0
        while done < reach:
            step = min(reach - done, done + 1)
            wider = values.copy()
            to, from_ = (wider.T, values.T) if swap else (wider, values)
            np.maximum(to[step:], from_[:-step], out=to[step:])
            np.maximum(to[:-step], from_[step:], out=to[:-step])
            values, done = wider, done + step
    return values


def _tallest_of_flats(plane: FloatPlane, candidates: Places, depth: np.float32) -> Places:
    """Drop candidates that a pixel near by overtops where all around spans less than h.

    A background that wavers has many that no neighbour overtops; of those a few are left.
    """
    lowest = highest = plane
    side = 1
    while len(candidates) > _FEW and side < max(plane.shape):
        lowest, highest = _reduced(np.minimum, lowest), _reduced(np.maximum, highest)
        side *= _STEP
        low = ndimage.minimum_filter(lowest, 3, mode="nearest")
        high = ndimage.maximum_filter(highest, 3, mode="nearest")
        flat = high - low < depth
        y, x = np.divmod(candidates, plane.shape[1])
        blocks = (y // side) * lowest.shape[1] + x // side
        overtopped = plane.ravel()[candidates] - _seed(high, depth).ravel()[blocks] < depth
        candidates = candidates[~(overtopped & flat.ravel()[blocks])]
    return candidates


def _reduced(extreme: np.ufunc, values: FloatPlane) -> FloatPlane:
    """Return the least or greatest value of each square block of `_STEP` pixels' side."""
    for axis in (0, 1):
        starts = np.arange(0, values.shape[axis], _STEP)
        values = extreme.reduceat(values, starts, axis=axis)
    return values


def _plateaus(plane: FloatPlane, candidates: Places, depth: np.float32) -> tuple[Places, Places]:
    """Return one pixel of each plateau, and for each candidate the index of its plateau.

    Pixels of one value that touch, or are joined by candidates less than h below, share an answer.
    """
    mask = np.zeros(plane.shape, np.bool_)
    mask.ravel()[candidates] = True
    values = plane.ravel()[candidates]
    groups = ndimage.label(mask, _EIGHT)[0].ravel()[candidates]
    order = np.lexsort((values, groups))
    groups, values = groups[order], values[order]
    new_group = np.ones(len(order), np.bool_)
    new_group[1:] = groups[1:] != groups[:-1]
    new_value = new_group.copy()
    new_value[1:] |= values[1:] != values[:-1]
    starts = np.flatnonzero(new_group)
    ends = np.append(starts[1:], len(order))[: len(starts)] - 1
    steep = values[ends] - values[starts] >= depth
    new_value |= np.repeat(steep, ends + 1 - starts)
    answer = np.empty(len(order), np.intp)
    answer[order] = np.cumsum(new_value) - 1
    return candidates[order[new_value]], answer


def _ask(
    plane: FloatPlane, places: Places, depth: np.float32, size: tuple[int, int]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which places can be decided in windows of that size, and which of them stand out.

    size: the windows' side and the neighbours' radius, px.
    """
    side, radius = size
    shape = min(side, plane.shape[0]), min(side, plane.shape[1])
    where = np.divmod(places, plane.shape[1])
    corners = [
        np.clip(at - length // 2, 0, whole - length)
        for at, length, whole in zip(where, shape, plane.shape, strict=True)
    ]
    passable, higher = _windows(plane, places, depth, (*corners, shape))
    reached = single(passable, where[0] - corners[0], where[1] - corners[1])
    decided, stands = (np.zeros(len(places), np.bool_) for _ in range(2))
    half_widths, active = footprint(radius), np.arange(len(places))
    while len(active):
        wider = grown(reached, half_widths)
        wider &= passable
        fallen = (wider & higher).any(axis=(1, 2))
        still = (wider == reached).all(axis=(1, 2)) & ~fallen
        decided[active[fallen]] = True
        if still.any():
            rests = active[still]
            beyond = touches_side(wider[still], shape[1], radius)
            beyond &= _cut(plane, (corners[0][rests], corners[1][rests], shape))
            stands[rests] = decided[rests] = ~beyond.any(axis=1)
        going = ~(fallen | still)
        active, reached = active[going], wider[going]
        passable, higher = passable[going], higher[going]
    return decided, stands


def _cut(plane: FloatPlane, frame: Frame) -> NDArray[np.bool_]:
    """Tell at which sides of windows the plane goes on: (N, 4), top, bottom, left, right."""
    sides = []
    for first, length, whole in zip(frame[:2], frame[2], plane.shape, strict=True):
        sides += [first > 0, first + length < whole]
    return np.stack(sides, axis=1)


def _windows(
    plane: FloatPlane,
    places: Places,
    depth: np.float32,
    frame: Frame,
) -> tuple[Words, Words]:
    """Return where the flood of each place may pass, and which pixels are higher than it.

    frame: the windows' first rows and columns, and their shape.
    """
    y, x, shape = frame
    views = sliding_window_view(plane, shape)
    own = plane.ravel()[places][:, np.newaxis, np.newaxis]
    at_once = max(_STRIP // (shape[0] * shape[1]), 1)
    passable, higher = [], []
    for first in range(0, len(places), at_once):
        part = slice(first, first + at_once)
        values = views[y[part], x[part]]
        higher.append(pack(own[part] - _seed(values, depth) < depth))
        passable.append(pack(np.subtract(own[part], values, out=values) < depth))
    return np.concatenate(passable), np.concatenate(higher)
