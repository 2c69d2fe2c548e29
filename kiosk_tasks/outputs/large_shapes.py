"""Outlines of the cells of a large label image, written as the blocks come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.blocks import Box
from kiosk_tasks.imaging.geojson import cell_features
from kiosk_tasks.imaging.labels import Labels
from kiosk_tasks.imaging.measure import CellTable
from kiosk_tasks.imaging.outlines import Outlines, trace
from kiosk_tasks.imaging.rois import LARGEST_SIDE, RoiZip

__all__ = ["MOST_OUTLINES", "MOST_ROIS", "Shapes"]

MOST_OUTLINES = 2**20
"""Cells of which polygons are written; a file of more has 400 MB."""

MOST_ROIS = 2**16 - 1
"""Cells of which regions are written: a plain zip has as many members at most."""

_START, _END = '{"type":"FeatureCollection","features":[\n', "\n]}\n"  # as `cells_geojson` has them
_SHEET = 64  # cells that a cut went through, traced together


@dataclass(frozen=True, eq=False)
class _Cut:
    """A cell whose pieces come one by one: where it is, what is there, its row of the table."""

    number: int
    corner: NDArray[np.int64]
    mask: NDArray[np.bool_]
    row: CellTable

    @property
    def complete(self) -> bool:
        return int(np.count_nonzero(self.mask)) == int(self.row.area_px[0])


class Shapes:
    """Writes the outlines of cells as GeoJSON and as regions for ImageJ, as far as that helps.

    Cells that a cut goes through are held, as small masks, until all their pieces are there.
    """

    def __init__(self, folder: Path, shape: tuple[int, int], total: int) -> None:
        """shape: (Y, X) of the image. total: cells in all."""
        self._json_path, self._rois_path = folder / "cells.geojson", folder / "rois.zip"
        self._json = (
            self._json_path.open("w", encoding="ascii", newline="\n")
            if total <= MOST_OUTLINES
            else None
        )
        fits = self._json is not None and total <= MOST_ROIS and max(shape) <= LARGEST_SIDE
        self._rois = RoiZip(self._rois_path) if fits else None
        self._written = 0
        self._cut: dict[int, _Cut] = {}
        self._whole: list[_Cut] = []

    def add(
        self,
        labels: Labels,
        core: Box,
        table: CellTable,
        cut: NDArray[np.int64],
        boxes: NDArray[np.int64],
    ) -> None:
        """Take in a block.

        labels: of its core, by final numbers. table: of the cells that are counted in it.
        cut: the numbers of its cells that lie in other blocks, too; boxes: of these, in the image.
        """
        if self._json is None:
            return
        for number, box in zip(cut.tolist(), boxes, strict=True):
            self._add_piece(labels, core, table, number, box)
        whole = ~np.isin(table.label, cut)
        alone = np.where(np.isin(labels, cut), 0, labels)
        self._write(trace(alone).moved(core.top, core.left), _rows(table, whole))
        if len(self._whole) >= _SHEET:
            self._write_whole()

    def close(self) -> Iterator[tuple[Path, str]]:
        """Yield the files, and how their names end."""
        if self._json is None:
            return
        self._write_whole()
        self._json.write(_END if self._written else _START + _END)
        self._json.close()
        yield self._json_path, "cells.geojson"
        if self._rois is not None:
            self._rois.__exit__(None, None, None)
            yield self._rois_path, "rois.zip"

    def _add_piece(
        self, labels: Labels, core: Box, table: CellTable, number: int, box: NDArray[np.int64]
    ) -> None:
        top, bottom, left, right = box.tolist()
        if number not in self._cut:
            row = _rows(table, table.label == number)
            mask = np.zeros((bottom - top, right - left), np.bool_)
            self._cut[number] = _Cut(number, np.array([top, left]), mask, row)
        one = self._cut[number]
        here = Box(
            max(top, core.top),
            min(bottom, core.bottom),
            max(left, core.left),
            min(right, core.right),
        )
        piece = labels[here.within(core).slices] == number
        one.mask[here.within(Box(top, bottom, left, right)).slices] |= piece
        if one.complete:
            self._whole.append(self._cut.pop(number))

    def _write_whole(self) -> None:
        """Trace cells that were put together, next to each other on one sheet."""
        if not self._whole:
            return
        cells = sorted(self._whole, key=lambda one: one.number)
        self._whole = []
        high = max(one.mask.shape[0] for one in cells)
        sheet = np.zeros((high, sum(one.mask.shape[1] + 1 for one in cells)), np.int32)
        x, away = 0, []
        for one in cells:
            rows, columns = one.mask.shape
            sheet[:rows, x : x + columns][one.mask] = one.number
            away.append(one.corner - (0, x))
            x += columns + 1
        traced = trace(sheet)
        begins = traced.rings[traced.polygons[traced.cells]]
        moved = traced.corners + np.repeat(np.stack(away), np.diff(begins), axis=0)
        outlines = replace(traced, corners=moved.astype(np.int32))
        self._write(outlines, _joined([one.row for one in cells]))

    def _write(self, outlines: Outlines, table: CellTable) -> None:
        if self._json is None or not len(outlines):
            return
        for feature in cell_features(outlines, table):
            self._json.write((",\n" if self._written else _START) + feature)
            self._written += 1
        if self._rois is not None:
            self._rois.add_all(outlines)


def _rows(table: CellTable, which: NDArray[np.bool_]) -> CellTable:
    return _changed(table, {f.name: _column(table, f.name, which) for f in fields(table)})


def _joined(tables: Sequence[CellTable]) -> CellTable:
    columns = {f.name: [getattr(one, f.name) for one in tables] for f in fields(CellTable)}
    known = {name: c for name, c in columns.items() if c[0] is not None}
    return _changed(tables[0], {name: np.concatenate(c) for name, c in known.items()})


def _column(table: CellTable, name: str, which: NDArray[np.bool_]) -> Any:
    column = getattr(table, name)
    return None if column is None else column[which]


def _changed(table: CellTable, columns: dict[str, Any]) -> CellTable:
    return replace(table, **columns)
