"""The cells of a large image, put together from what its units have left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import PartFailed
from kiosk_tasks.fan_out import Gathered
from kiosk_tasks.imaging.block_sums import Sums
from kiosk_tasks.imaging.blocks import Grid
from kiosk_tasks.imaging.cut_cells import unite
from kiosk_tasks.imaging.labels import Labels
from kiosk_tasks.job import Context
from kiosk_tasks.ports import Storage
from kiosk_tasks.segmenting.large import BlockFacts, Plan, Shown
from kiosk_tasks.segmenting.large_memory import give_back, small_heap
from kiosk_tasks.segmenting.large_parts import PartsReader

__all__ = ["BlockCells", "LargeCells", "Numbers", "gathered", "number_cells"]

Facts = Callable[[], Iterator[tuple[int, BlockFacts]]]
"""Draws what is known of all blocks anew, in the order of the grid."""


@dataclass(frozen=True, eq=False)
class Numbers:
    """The final numbers of a label image's cells, 1..count: block by block, cut ones last.

    first: of each block, how many cells the blocks before it have. own: how many cells that no cut
    goes through. block, cell, number: (m,) of each piece of a cell that was cut, in order; 0 for
    one that is too small. groups, of: their sums, and the number of each; by number. home: the
    block that each is counted in. total: cells in all.
    """

    first: NDArray[np.int64]
    block: NDArray[np.int64]
    cell: NDArray[np.int64]
    number: NDArray[np.int64]
    groups: Sums
    of: NDArray[np.int64]
    home: NDArray[np.int64]
    total: int

    def pieces(self, index: int) -> slice:
        """Return which of `cell` and `number` are a block's."""
        low, high = np.searchsorted(self.block, [index, index + 1])
        return slice(int(low), int(high))

    def of_block(self, index: int, areas: NDArray[np.int64], least: int) -> NDArray[np.int32]:
        """Return the final number of each of a block's cells, (cells + 1,); 0 stays 0."""
        pieces, kept = self.pieces(index), areas >= least
        kept[self.cell[pieces] - 1] = False
        final = np.zeros(len(areas) + 1, np.int32)
        final[1:][kept] = self.first[index] + np.arange(1, np.count_nonzero(kept) + 1)
        final[self.cell[pieces]] = self.number[pieces]
        return final


@dataclass(frozen=True)
class LargeCells:
    """What passes to the last stage: the plan, where the units' files lie, the cells' numbers."""

    plan: Plan
    keys: tuple[str, ...]
    numbers: tuple[Numbers, ...]


@small_heap()
def gathered(value: Gathered, ctx: Context[Any]) -> LargeCells:
    """Put the units together; raises PartFailed if one has failed."""
    failed = [outcome for outcome in value.outcomes if not outcome.ok]
    if failed:
        more = f" (and {len(failed) - 1} more)" if failed[1:] else ""
        raise PartFailed(f"no cells could be found in {failed[0].name}{more}: {failed[0].reason}")
    plan: Plan = value.keep
    keys = tuple(outcome.output["output_file_name"] for outcome in value.outcomes)
    blocks = BlockCells.all_of(plan, keys, ctx.storage)
    numbers = tuple(number_cells(plan.grid, one.facts, least=plan.least) for one in blocks)
    return LargeCells(plan, keys, numbers)


def number_cells(grid: Grid, facts: Facts, *, least: int) -> Numbers:
    """Unite the cells that were cut, drop those smaller than `least`, px², and number all."""
    union = unite(grid, (one.rim for _index, one in facts()))
    pieces = sorted(union.joined())
    roots = [union.find(piece) for piece in pieces]
    order = {root: place for place, root in enumerate(sorted(set(roots)))}
    group = np.array([order[root] for root in roots], np.intp)
    block, cell = np.array(pieces, np.int64).reshape(-1, 2).T
    own, cut = np.zeros(len(grid), np.int64), list[Sums]()
    for index, one in facts():
        mine = cell[slice(*np.searchsorted(block, [index, index + 1]))] - 1
        kept = one.sums.area >= least
        kept[mine] = False
        own[index] = np.count_nonzero(kept)
        cut.append(one.sums.taken(mine))
    sums = Sums.together(cut).added_up(group, len(order))
    alive = sums.area >= least
    home = np.array([root[0] for root in order], np.int64).reshape(-1)
    counted = np.bincount(home[alive], minlength=len(grid))
    ends = np.cumsum(own + counted)
    first = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    before = np.concatenate([[0], np.cumsum(counted)[:-1]]).astype(np.int64)
    rank = np.cumsum(alive) - before[home] if len(home) else home
    number = np.where(alive, first[home] + own[home] + rank, 0)
    return Numbers(
        first=first,
        block=block,
        cell=cell,
        number=number[group],
        groups=sums.taken(alive),
        of=number[alive],
        home=home[alive],
        total=int(ends[-1]),
    )


class BlockCells:
    """One label image of the job, read block by block. Implements `outputs.large.Blocks`."""

    def __init__(
        self, plan: Plan, readers: list[PartsReader], result: int, numbers: Numbers | None
    ) -> None:
        self._plan, self._readers, self._result = plan, readers, result
        self._numbers = numbers
        self._held: tuple[int, dict[int, BlockFacts]] = (-1, {})
        self.grid, self.mpp, self.picture = plan.grid, plan.image.mpp, plan.picture

    @classmethod
    def all_of(
        cls,
        plan: Plan,
        keys: tuple[str, ...],
        storage: Storage,
        numbers: tuple[Numbers, ...] = (),
    ) -> list[BlockCells]:
        """Return one for each label image of a job, in order."""
        readers = [PartsReader(storage, key) for key in keys]
        count = sum(len(sight.shown) for sight in plan.sights)
        given = numbers or (None,) * count
        return [cls(plan, readers, result, given[result]) for result in range(count)]

    @property
    def total(self) -> int:
        """How many cells there are."""
        return self._known.total

    @cached_property
    def shown(self) -> Shown:
        """What the label image shows."""
        return [one for sight in self._plan.sights for one in sight.shown][self._result]

    def facts(self) -> Iterator[tuple[int, BlockFacts]]:
        """Yield what is known of each block, in the order of the grid."""
        for index in range(len(self.grid)):
            yield index, self._facts(index)

    def labels(self, index: int) -> Labels:
        """Return a block's cells by their final numbers."""
        if index % self.grid.across == 0:
            give_back()
        local = self._readers[self._unit(index)].labels(self._result, index)
        areas = self._facts(index).sums.area
        return np.take(self._known.of_block(index, areas, self._plan.least), local)

    def cells(self, index: int) -> tuple[NDArray[np.int64], Sums]:
        """Return numbers and sums of the cells that are counted in a block, by number."""
        known, sums = self._known, self._facts(index).sums
        final = known.of_block(index, sums.area, self._plan.least)[1:]
        final[known.cell[known.pieces(index)] - 1] = 0
        own = np.flatnonzero(final)
        low, high = np.searchsorted(known.home, [index, index + 1])
        cut = np.arange(low, high)
        numbers = np.concatenate([final[own].astype(np.int64), known.of[cut]])
        return numbers, Sums.together([sums.taken(own), known.groups.taken(cut)])

    def cut_cells(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of a block's cells that lie in others too, and their boxes."""
        known = self._known
        mine = np.unique(known.number[known.pieces(index)])
        mine = mine[mine > 0]
        return mine, known.groups.boxes[np.searchsorted(known.of, mine)]

    def light(self, index: int) -> tuple[tuple[int, int], NDArray[np.float32]]:
        """Return a block's part of the overlay, see `binned`."""
        one = self._facts(index)
        return one.corner, one.light

    @property
    def _known(self) -> Numbers:
        assert self._numbers is not None  # noqa: S101  asked only when cells are numbered
        return self._numbers

    def _unit(self, index: int) -> int:
        row, column = divmod(index, self.grid.across)
        return next(
            number
            for number, one in enumerate(self._plan.units)
            if one.first_row <= row < one.end_row and one.first_column <= column < one.end_column
        )

    def _facts(self, index: int) -> BlockFacts:
        """Fetch those of a row of units at once, and hold them until the next row is asked for."""
        unit = self._plan.units[self._unit(index)]
        if self._held[0] != unit.first_row:
            beside = [n for n, u in enumerate(self._plan.units) if u.first_row == unit.first_row]
            found = (self._readers[number].facts(self._result) for number in beside)
            self._held = (unit.first_row, dict(one for facts in found for one in facts))
        return self._held[1][index]
