"""Cells that are cut at the borders of blocks, and put together again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.imaging.blocks import Box, Grid, cuts
from kiosk_tasks.imaging.cut_cells import Rim, cut_core, same_cells, unite

SHAPES = st.tuples(st.integers(2, 40), st.integers(2, 40))


def random_cells(shape: tuple[int, int], *, seed: int) -> NDArray[np.int32]:
    """Connected cells of any form, some touching."""
    rng = np.random.default_rng(seed)
    parts, _ = ndimage.label(rng.random(shape) < rng.uniform(0.2, 0.7), np.ones((3, 3)))
    halves = parts * 2 - (ndimage.gaussian_filter(rng.random(shape), 3) > 0.5)
    numbers = np.unique(np.where(parts > 0, halves, 0), return_inverse=True)[1].reshape(shape)
    cells = np.zeros(shape, np.int32)
    for number in range(1, int(numbers.max()) + 1):
        pieces, _count = ndimage.label(numbers == number, np.ones((3, 3)))
        cells[pieces > 0] = pieces[pieces > 0] + cells.max()
    return cells


def grid_of(shape: tuple[int, int], *, seed: int) -> Grid:
    rng = np.random.default_rng(seed)
    rows, columns = (
        (0, *sorted(set(rng.integers(1, length, rng.integers(0, 4)).tolist())), length)
        for length in shape
    )
    return Grid(rows, columns)


def in_blocks(
    cells: NDArray[np.int32], grid: Grid, *, margin: int, seed: int
) -> list[tuple[NDArray[np.int32], Rim]]:
    """Each block as a run over it alone would see it: numbers are its own."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(len(grid)):
        box = grid.core(index).grown(margin, grid.shape)
        numbers = np.concatenate([[0], rng.permutation(int(cells.max())) + 1]).astype(np.int32)
        found.append(cut_core(numbers[cells[box.slices]], grid.core(index).within(box)))
    return found


def put_together(grid: Grid, blocks: list[tuple[NDArray[np.int32], Rim]]) -> NDArray[np.int32]:
    union = unite(grid, (rim for _cells, rim in blocks))
    whole, numbers = np.zeros(grid.shape, np.int32), dict[tuple[int, int], int]()
    for index, (cells, _rim) in enumerate(blocks):
        part = np.zeros(cells.shape, np.int32)
        for number in range(1, int(cells.max(initial=0)) + 1):
            first = union.find((index, number))
            part[cells == number] = numbers.setdefault(first, len(numbers) + 1)
        whole[grid.core(index).slices] = part
    return whole


def same_partition(one: NDArray[np.int32], other: NDArray[np.int32]) -> bool:
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    return all(len(np.unique(side)) == pairs.shape[1] for side in pairs)


@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1), margin=st.integers(1, 5))
def test_cells_that_were_cut_are_put_together(
    shape: tuple[int, int], seed: int, margin: int
) -> None:
    cells = random_cells(shape, seed=seed)
    grid = grid_of(shape, seed=seed)
    blocks = in_blocks(cells, grid, margin=margin, seed=seed)
    assert same_partition(put_together(grid, blocks), cells)


@given(shape=SHAPES, seed=st.integers(0, 2**32 - 1))
def test_neighbours_that_disagree_join_only_what_touches(shape: tuple[int, int], seed: int) -> None:
    grid = grid_of(shape, seed=seed)
    blocks = [
        in_blocks(random_cells(shape, seed=seed + index), grid, margin=2, seed=seed)[index]
        for index in range(len(grid))
    ]
    whole = put_together(grid, blocks)
    for number in range(1, int(whole.max()) + 1):
        mine = np.unique([index for index in range(len(grid)) if _has(whole, grid, index, number)])
        reached = _pieces_reached(whole == number, grid)
        assert set(mine.tolist()) == reached


def _has(whole: NDArray[np.int32], grid: Grid, index: int, number: int) -> bool:
    return bool((whole[grid.core(index).slices] == number).any())


def _pieces_reached(cell: NDArray[np.bool_], grid: Grid) -> set[int]:
    """The blocks that one reaches from the cell's first block, over cuts at which it touches."""
    block = np.zeros(grid.shape, np.int32)
    for index in range(len(grid)):
        block[grid.core(index).slices] = index
    padded, inside = np.pad(block, 1, constant_values=-1), np.pad(cell, 1)
    near = {int(index): set[int]() for index in np.unique(block[cell])}
    for y, x in np.argwhere(inside).tolist():
        window = np.s_[y - 1 : y + 2, x - 1 : x + 2]
        near[int(padded[y, x])] |= set(padded[window][inside[window]].tolist())
    reached, ahead = set[int](), [min(near)]
    while ahead:
        index = ahead.pop()
        if index not in reached:
            reached.add(index)
            ahead += near[index]
    return reached


def test_a_neighbour_that_sees_two_cells_keeps_them_two() -> None:
    one = np.zeros((2, 12), np.int32)
    one[:, 2:10] = 1
    other = np.zeros((2, 12), np.int32)
    other[:, 2:5], other[:, 6:10] = 1, 2
    assert same_cells(one, other) == [(1, 2)]


def test_cells_that_only_lie_side_by_side_stay_two() -> None:
    one, other = np.zeros((2, 8), np.int32), np.zeros((2, 8), np.int32)
    one[1, 2:6] = 1  # ends at the cut
    other[1, 2:6] = 1  # begins at it
    assert same_cells(one, other) == []


@given(length=st.integers(1, 5000), step=st.integers(1, 400), about=st.integers(1, 2000))
def test_cores_tile_the_length_and_begin_at_good_places(length: int, step: int, about: int) -> None:
    places = range(step, length, step)
    chosen = cuts(length, places, about=about)
    assert chosen[0] == 0
    assert chosen[-1] == length
    assert all(one < other for one, other in pairwise(chosen))
    assert set(chosen[1:-1]) <= set(places)


def test_a_box_grows_within_its_plane() -> None:
    box = Box(10, 20, 0, 15).grown(5, (22, 100))
    assert box == Box(5, 22, 0, 20)
    assert Box(10, 20, 0, 15).within(box) == Box(5, 15, 0, 15)
    assert box.shape == (17, 20)


@pytest.mark.parametrize("index", range(6))
def test_a_grid_counts_its_blocks_row_by_row(index: int) -> None:
    grid = Grid((0, 10, 30), (0, 5, 6, 9))
    assert len(grid) == 6
    rows = [(0, 10), (10, 30)][index // 3]
    columns = [(0, 5), (5, 6), (6, 9)][index % 3]
    assert grid.core(index) == Box(*rows, *columns)
