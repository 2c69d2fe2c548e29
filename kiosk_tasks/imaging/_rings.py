"""Closed rings of corners around cells, and how one that comes back to a corner becomes several.

Rings are walked along the left and right ends of runs (`kiosk_tasks.imaging.runs`). With the cell
on the right hand one goes down along right ends and up along left ends; between two of these lies
one straight way to the side, or none. Where one goes from an end follows from the runs of the same
cell in the row below or above. Most ends lead to that of the next run, so that all rings together
are few chains of ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.runs import Runs

__all__ = ["Rings", "rings_of", "simple_rings"]

Indices = NDArray[np.int64]

_LARGEST = 2**62  # of a key: cell and place in one number


@dataclass(frozen=True, eq=False)
class Rings:
    """Rings one after the other.

    label: (R,) of the cell. corners: (N, 2), (y, x). starts: (R + 1,), where each ring begins.
    pinched: labels of cells that touch themselves at a corner; their rings may have a corner twice.
    """

    label: Indices
    corners: NDArray[np.int32]
    starts: Indices
    pinched: Indices

    @cached_property
    def outer(self) -> NDArray[np.bool_]:
        """Which rings are the outside of something, (R,); the others are holes."""
        if not len(self.label):
            return np.zeros(0, np.bool_)
        y, x = self.corners.T.astype(np.int64)
        following = np.arange(1, len(y) + 1)
        following[self.starts[1:] - 1] = self.starts[:-1]
        twice_area = np.add.reduceat(x * y[following] - x[following] * y, self.starts[:-1])
        return twice_area > 0


def rings_of(runs: Runs) -> Rings:
    """Return the rings around all cells; a ring may come back to a corner.

    Each ring begins at the left end of its uppermost edge that a cell lies below, the leftmost of
    them; that is also their order.
    """
    if not len(runs):
        none = np.zeros(0, np.int64)
        return Rings(none, none.reshape(0, 2).astype(np.int32), np.zeros(1, np.int64), none)
    width = runs.shape[1] + 1  # a column of nothing: the ends of two rows are no neighbours
    room = (runs.shape[0] + 2) * width
    name, cell = _small(runs.label, most=_LARGEST // room)
    origin = cell * room + (runs.row + 1) * width - runs.row * runs.shape[1]
    # By cell and then by place; both ends of a run come to the same index.
    first, last = np.sort(origin + runs.first), np.sort(origin + runs.last)
    order, ends = _in_order(_following(first, last, width))
    place = np.concatenate([last + 1, first[::-1] - width])[order]
    y, x = np.divmod(place % room, width)  # of the corner that each end leads to
    after = np.arange(1, len(x) + 1)
    after[ends[1:] - 1] = ends[:-1]
    sideways = np.flatnonzero(x != x[after])
    y, one, other = y[sideways], x[sideways], x[after[sideways]]
    turned, starts = _from_the_top(y * width + one, one < other, np.searchsorted(sideways, ends))
    corners = np.stack([y, one, y, other], axis=1)[turned].astype(np.int32).reshape(-1, 2)
    label = name[place[sideways[turned[starts[:-1]]]] // room]
    pinched = name[np.unique(_pinched(first, last, width) // room)]
    return Rings(label, corners, 2 * starts, pinched)


def simple_rings(rings: Rings) -> Rings:
    """Cut each ring at the corners it comes back to."""
    if not len(rings.pinched):
        return rings
    pieces: list[Indices] = []
    label: list[Indices] = []
    done = 0
    whole = np.arange(len(rings.corners))
    lengths: list[Indices] = []
    for number in np.flatnonzero(np.isin(rings.label, rings.pinched)).tolist():
        begin, end = rings.starts[number : number + 2].tolist()
        found = [begin + loop for loop in _loops(rings.corners[begin:end])]
        pieces += [whole[rings.starts[done] : begin], *found]
        label += [rings.label[done:number], np.repeat(rings.label[number], len(found))]
        lengths += [np.diff(rings.starts[done : number + 1]), np.array([*map(len, found)])]
        done = number + 1
    pieces.append(whole[rings.starts[done] :])
    label.append(rings.label[done:])
    lengths.append(np.diff(rings.starts[done:]))
    starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    corners = rings.corners[np.concatenate(pieces)]
    return Rings(np.concatenate(label), corners, starts, rings.pinched[:0])


def _small(label: Indices, *, most: int) -> tuple[Indices, Indices]:
    """Return names, and each label as an index of them; indices are below `most`."""
    largest = int(label.max())
    if largest < min(most, 4 * len(label) + 1024):
        return np.arange(largest + 1), label
    name, cell = np.unique(label, return_inverse=True)
    return name, cell


def _following(first: Indices, last: Indices, width: int) -> Indices:
    """Return the end after each: number i is the right end of run i, -1 - i its left end.

    first, last: of runs, by cell and place; a row is `width` long. At a corner where a cell touches
    itself one stays with the pixel: parts that touch there are apart.
    """
    count = len(first)
    right, left = np.arange(count), np.arange(2 * count - 1, count - 1, -1)
    below = np.searchsorted(first, last + width, side="right") - 1  # the last not beyond it
    reach = last[below]
    goes_up = reach >= last + width
    goes_up[:-1] &= first[1:] + width <= reach[:-1]
    goes_up[-1] = False
    down = np.where(goes_up, left - 1, np.where(reach >= first + width, below, left))
    above = np.searchsorted(last, first - width, side="left")  # the first not before it
    reach = first[above]
    goes_down = reach <= first - width
    goes_down[1:] &= last[:-1] - width >= reach[1:]
    goes_down[0] = False
    up = np.where(goes_down, right - 1, np.where(reach <= last - width, left[above], right))
    return np.concatenate([down, up[::-1]])


def _in_order(following: Indices) -> tuple[Indices, Indices]:
    """Return all ends ring by ring, and where each ring begins, (rings + 1,).

    following: a permutation, whose cycles are the rings.
    """
    count = len(following)
    begins = np.ones(count, np.bool_)
    begins[1:] = following[:-1] != np.arange(1, count)
    heads = np.flatnonzero(begins)
    tails = np.append(heads[1:], count)
    chain_after = np.searchsorted(heads, following[tails - 1]).tolist()
    seen = bytearray(len(heads))
    walked: list[int] = []
    rings = [0]
    for head in range(len(heads)):
        if seen[head]:
            continue
        chain = head
        while not seen[chain]:
            seen[chain] = 1
            walked.append(chain)
            chain = chain_after[chain]
        rings.append(len(walked))
    chains = np.array(walked, np.int64)
    lengths = (tails - heads)[chains]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    order = np.repeat(heads[chains] - ends[:-1], lengths) + np.arange(count)
    return order, ends[rings]


def _from_the_top(
    key: Indices, rightward: NDArray[np.bool_], starts: Indices
) -> tuple[Indices, Indices]:
    """Turn each ring to begin with its lowest rightward key, and sort them by it.

    starts: (rings + 1,). Returns indices, and where each ring begins among them.
    """
    ranked = np.where(rightward, key, np.iinfo(np.int64).max)
    lowest = np.minimum.reduceat(ranked, starts[:-1])
    sizes = np.diff(starts)
    top = np.flatnonzero(ranked == np.repeat(lowest, sizes))
    rings = np.argsort(lowest)
    begins = np.concatenate([[0], np.cumsum(sizes[rings])])
    size = np.repeat(sizes[rings], sizes[rings])
    turned = np.arange(begins[-1]) + np.repeat(top[rings] - begins[:-1], sizes[rings])
    turned -= size * (turned >= np.repeat(starts[1:][rings], sizes[rings]))
    return turned, begins


def _pinched(first: Indices, last: Indices, width: int) -> Indices:
    """Return the last pixels of runs that touch another run of their cell at a corner only.

    first, last: as in `_following`.
    """
    after = [np.searchsorted(first, last + step) for step in (1 - width, width + 1)]
    found = [
        last[first[np.minimum(begin, len(first) - 1)] == last + step]
        for begin, step in zip(after, (1 - width, width + 1), strict=True)
    ]
    return np.concatenate(found)


def _loops(corners: NDArray[np.int32]) -> list[Indices]:
    """Return the loops of a ring, as indices of its corners."""
    path: list[int] = []
    place: dict[tuple[int, int], int] = {}
    found = []
    where = [(y, x) for y, x in corners.tolist()]
    for corner, here in enumerate(where):
        if here in place:
            begin = place[here]
            loop, path = path[begin:], path[:begin]
            for other in loop:
                del place[where[other]]
            found.append(np.array(loop, np.int64))
        place[here] = len(path)
        path.append(corner)
    return [*found, np.array(path, np.int64)]
