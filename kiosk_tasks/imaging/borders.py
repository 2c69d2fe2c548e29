"""Where cells end: their pixels beside something else, and which cells lie close to each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.labels import Labels
from kiosk_tasks.imaging.runs import Runs, runs_of

__all__ = ["Borders", "borders_of", "neighbours"]


_AT_ONCE = 2**13  # pixels of borders, with all their steps, that a processor's cache holds


class Borders(NamedTuple):
    """Pixels of cells whose neighbour on that side is no pixel of theirs: flat indices, (n,) each.

    The border of the image is none.
    """

    above: NDArray[np.int64]
    right: NDArray[np.int64]
    below: NDArray[np.int64]
    left: NDArray[np.int64]


def borders_of(labels: Labels, *, runs: Runs | None = None) -> Borders:
    """Return the pixels of cells that border on something else.

    labels: (Y, X) integer; 0 is background. runs: of these labels, where they are known already.
    """
    runs = runs_of(labels) if runs is None else runs
    flat, width = labels.ravel(), runs.shape[1]
    upper = np.flatnonzero(flat[width:] != flat[:-width]) if runs.shape[0] > 1 else runs.first[:0]
    lower = upper + width
    left, right = runs.first, runs.last
    return Borders(
        above=lower[flat[lower] != 0],
        right=right[right % width != width - 1],
        below=upper[flat[upper] != 0],
        left=left[left % width != 0],
    )


def neighbours(labels: Labels, borders: Borders, *, within: int) -> NDArray[np.int64]:
    """Return pairs of labels at most `within` steps apart along a row, a column or a diagonal.

    labels: (Y, X) integer; 0 is background. within: 1 finds cells that touch.
    Returns (n, 2), each pair once, the larger label second; sorted by that, then by the first.
    """
    base = int(labels.max(initial=0)) + 1
    found = [np.zeros(0, np.int64)]
    for one, other in _near(labels, borders, within):
        found.append(np.minimum(one, other) + np.maximum(one, other) * base)
    pairs = np.unique(np.concatenate(found))
    return np.stack([pairs % base, pairs // base], axis=1)


def _near(
    labels: Labels, borders: Borders, within: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield labels that differ, some steps from one to the other.

    Whoever steps from one cell to another leaves the first at a pixel of its border: on a diagonal
    at one beside something else, or beside one above something else.
    """
    height, width = labels.shape
    wide = width + within
    padded = np.zeros((height + within, wide), labels.dtype)  # so that no step leaves the plane
    padded[:height, :width] = labels
    flat = padded.ravel()
    _, right, below, left = borders
    for pixels, across, down in (
        (right, 1, 0),
        (below, 0, 1),
        (np.concatenate([right, below[below % width > 0] - 1]), 1, 1),
        (np.concatenate([left, below[below % width < width - 1] + 1]), -1, 1),
    ):
        steps = np.arange(1, within + 1)[:, np.newaxis] * (down * wide + across)
        for first in range(0, len(pixels), _AT_ONCE):
            part = pixels[first : first + _AT_ONCE]
            start = part + part // width * within
            one, other = flat[start], flat[start + steps]
            step, number = np.nonzero((one != other) & (other != 0) & (one != 0))
            yield one[number].astype(np.int64), other[step, number].astype(np.int64)
