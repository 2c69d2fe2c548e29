"""What a model makes of a large plane, from top to bottom: every tile of an area predicted once.

The tiles are those of the whole plane, added in the same order, so that the outputs are those that
one would get of it in one piece.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.blocks import Box
from kiosk_tasks.imaging.tiling import TileLayout
from kiosk_tasks.segmenting.large_pixels import SeenRows

__all__ = ["Ask", "HeadRows", "Tiles", "tiles_of"]

Reply = Mapping[str, NDArray[Any]]
Ask = Callable[[Iterator[NDArray[np.float32]]], Iterator[Reply]]
"""Sends batches of tiles, (n, Y, X, C), and yields what comes back of each, in order."""


@dataclass(frozen=True)
class Tiles:
    """The rows and columns of tiles that see an area."""

    rows: range
    columns: range

    def area(self, layout: TileLayout) -> Box:
        """Return what they see, px of the plane."""
        return Box(
            layout.rows[self.rows[0]],
            min(layout.rows[self.rows[-1]] + layout.tile, layout.shape[0]),
            layout.columns[self.columns[0]],
            min(layout.columns[self.columns[-1]] + layout.tile, layout.shape[1]),
        )


def tiles_of(layout: TileLayout, area: Box) -> Tiles:
    """Return the tiles that see any of an area."""

    def seeing(origins: tuple[int, ...], start: int, end: int) -> range:
        which = [i for i, at in enumerate(origins) if at < end and at + layout.tile > start]
        return range(which[0], which[-1] + 1)

    return Tiles(
        seeing(layout.rows, area.top, area.bottom), seeing(layout.columns, area.left, area.right)
    )


@dataclass(frozen=True)
class _Place:
    """A tile on its way. even: its one value, if it has but one; known: it was asked for before."""

    row: int
    column: int
    even: bytes
    known: bool


class HeadRows:
    """Stitched heads of an area, in a window that moves down over it."""

    def __init__(
        self,
        seen: SeenRows,
        layout: TileLayout,
        area: Box,
        *,
        tallest: int,
        batch: int,
        ask: Ask,
    ) -> None:
        """area: what heads are wanted of, px of the model's plane. seen: all that its tiles see.

        tallest: most rows that are needed at once. batch: most tiles in one.
        """
        self._seen, self._layout, self._area, self._batch = seen, layout, area, batch
        self._tiles = tiles_of(layout, area)
        self._first = self._ready = area.top
        self._high = tallest + layout.tile
        self._planes: dict[str, NDArray[np.float32]] = {}
        self._pending: deque[_Place] = deque()
        self._even: dict[bytes, Reply] = {}
        self._answers = self._in_order(ask(self._batches()))

    def until(self, bottom: int) -> None:
        """Predict until all rows above `bottom` have what they will ever get."""
        while self._ready < min(bottom, self._area.bottom):
            place, outputs = next(self._answers)
            for name, tile in outputs.items():
                self._add(name, tile, place)
            if place.column == self._tiles.columns[-1]:
                below = place.row + 1
                more = below in self._tiles.rows
                self._ready = self._layout.rows[below] if more else self._area.bottom

    def get(self, box: Box) -> dict[str, NDArray[np.float32]]:
        """Return the heads of a box of the model's plane, (Y, X, K) each."""
        rows = slice(box.top - self._first, box.bottom - self._first)
        columns = slice(box.left - self._area.left, box.right - self._area.left)
        return {name: plane[rows, columns] for name, plane in self._planes.items()}

    def forget(self, top: int) -> None:
        """Let go of the rows above."""
        drop = top - self._first
        if drop <= 0:
            return
        kept = max(self._high - drop, 0)
        for plane in self._planes.values():
            for start in range(0, kept, drop):  # in parts that do not overlap: no copy is made
                end = min(start + drop, kept)
                plane[start:end] = plane[start + drop : end + drop]
            plane[kept:] = 0
        self._first = top

    def close(self) -> None:
        """Cancel what is under way."""
        self._answers.close()

    def _batches(self) -> Iterator[NDArray[np.float32]]:
        """Yield the tiles row by row; of several of one and the same value, the row's first."""
        layout, left = self._layout, self._tiles.area(self._layout).left
        for row in self._tiles.rows:
            top = layout.rows[row]
            band = _filled(self._seen.get(top, min(top + layout.tile, layout.shape[0])), layout)
            fresh, even = list[NDArray[np.float32]](), set[bytes]()
            for column in self._tiles.columns:
                x = layout.columns[column] - left
                tile = band[:, x : x + layout.tile]
                value = tile[0, 0].tobytes() if _is_even(tile) else b""
                known = value in even
                self._pending.append(_Place(row, column, value, known))
                if not known:
                    fresh.append(tile)
                if value:
                    even.add(value)
            for start in range(0, len(fresh), self._batch):
                yield np.stack(fresh[start : start + self._batch])
            if row + 1 < len(layout.rows):
                self._seen.forget(layout.rows[row + 1])

    def _in_order(self, replies: Iterator[Reply]) -> Generator[tuple[_Place, Reply]]:
        """Yield all tiles in the layout's order, with what the model gave for them."""
        for reply in replies:
            count = len(next(iter(reply.values())))
            for number in range(count):
                yield from self._repeated()
                place = self._pending.popleft()
                outputs = {name: array[number] for name, array in reply.items()}
                if place.even:
                    self._even[place.even] = {name: one.copy() for name, one in outputs.items()}
                yield place, outputs
        yield from self._repeated()

    def _repeated(self) -> Iterator[tuple[_Place, Reply]]:
        while self._pending and self._pending[0].known:
            place = self._pending.popleft()
            yield place, self._even[place.even]
            if not any(later.known and later.row == place.row for later in self._pending):
                self._even.clear()

    def _add(self, name: str, tile: NDArray[Any], place: _Place) -> None:
        layout, area = self._layout, self._area
        if name not in self._planes:
            wide = area.right - area.left
            self._planes[name] = np.zeros((self._high, wide, tile.shape[-1]), np.float32)
        y, x = layout.rows[place.row], layout.columns[place.column]
        top, bottom = max(y, self._first), min(y + layout.tile, area.bottom)
        left, right = max(x, area.left), min(x + layout.tile, area.right)
        if top >= bottom or left >= right:
            return
        weights = layout.weights(place.row * len(layout.columns) + place.column)
        part = np.s_[top - y : bottom - y, left - x : right - x]
        target = self._planes[name][
            top - self._first : bottom - self._first, left - area.left : right - area.left
        ]
        target += tile[part] * weights[part][..., np.newaxis]


def _filled(band: NDArray[np.float32], layout: TileLayout) -> NDArray[np.float32]:
    """Continue a band of a plane that is smaller than a tile, as `iter_tiles` does."""
    pads = [max(layout.tile - length, 0) for length in layout.shape]
    if not any(pads):
        return band
    return np.pad(band, ((0, pads[0]), (0, pads[1]), (0, 0)), mode="reflect")


def _is_even(tile: NDArray[np.float32]) -> bool:
    """Tell whether all pixels have one value; most tiles are told by their first row."""
    first = tile[0, 0]
    return bool((tile[0] == first).all() and (tile == first).all())
