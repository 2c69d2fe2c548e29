"""The older postprocessings on small drawings: what comes out was drawn by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk_tasks.imaging.postprocessing import (
    distance_watershed,
    grown_interiors,
    split_interiors,
)

INTERIOR, EDGE, UNSURE = 0.9, 0.8, 0.3


def drawn(text: str) -> NDArray[np.int32]:
    """Labels of a drawing: a dot is background, a digit a cell."""
    rows = text.split()
    return np.array([[0 if one == "." else int(one) for one in row] for row in rows], np.int32)


def heads(text: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Interior and edge of a drawing: # is interior, e is edge, + is an interior of 0.3."""
    letters = np.array([list(row) for row in text.split()])
    interior = np.select([letters == "#", letters == "+"], [INTERIOR, UNSURE], 0.05)
    edge = np.where(letters == "e", EDGE, 0.05)
    return interior.astype(np.float32), edge.astype(np.float32)


def same_cells(found: NDArray[Any], expected: NDArray[Any]) -> None:
    """Compare, whichever numbers the cells have."""
    assert found.dtype == np.int32
    assert found.shape == expected.shape
    pairs = set(zip(found.ravel().tolist(), expected.ravel().tolist(), strict=True))
    cells = len(np.unique(expected))
    assert len(pairs) == cells, f"\n{found}\n{expected}"
    assert (0, 0) in pairs
    assert sorted(np.unique(found)) == list(range(cells))


def test_watershed_cuts_at_the_waist() -> None:
    interior, _ = heads("""
        ...............
        .#####...#####.
        .#####...#####.
        .#############.
        .#####...#####.
        .#####...#####.
        ...............
        ......##.......
        """)
    found = distance_watershed(interior, min_distance=3)
    # The middle of the bridge is as far from one cell as from the other: it may go to either.
    found[3, 7] = found[3, 6]
    same_cells(
        found,
        drawn("""
        ...............
        .11111...22222.
        .11111...22222.
        .1111111222222.
        .11111...22222.
        .11111...22222.
        ...............
        ......33.......
        """),
    )


def test_watershed_of_near_peaks_is_one_cell() -> None:
    interior, _ = heads("""
        .........
        .###.###.
        .#######.
        .###.###.
        .........
        """)
    assert distance_watershed(interior, min_distance=10).max() == 1
    same_cells(
        distance_watershed(interior, min_distance=1)[:, [0, 1, 2, 3, 5, 6, 7, 8]],
        drawn("""
        ........
        .111222.
        .111222.
        .111222.
        ........
        """),
    )


def test_watershed_gives_every_part_a_cell() -> None:
    """Two parts nearer than `min_distance` are two cells all the same."""
    interior, _ = heads("""
        ##.##
        ##.##
        """)
    same_cells(
        distance_watershed(interior, min_distance=10),
        drawn("""
        11.22
        11.22
        """),
    )


def test_pixelwise_grows_over_the_edge_to_the_background() -> None:
    interior, edge = heads("""
        eeeeeeeee...
        e##ee###e...
        e##ee###e...
        eeeeeeeee.e.
        ............
        """)
    same_cells(
        grown_interiors(interior, edge),
        drawn("""
        111122222...
        111122222...
        111122222...
        111122222...
        ............
        """),
    )


def test_pixelwise_without_edges_is_connected_parts() -> None:
    interior, _ = heads("""
        ##..#
        ##.#.
        ..+..
        """)
    same_cells(
        grown_interiors(interior, np.zeros_like(interior)),
        drawn("""
        11..2
        11.3.
        .....
        """),
    )


DUMBBELL = """
    ................
    ..####....####..
    .######..######.
    .##############.
    .######..######.
    ..####....####..
    ................
    """


def test_mibi_splits_what_erosion_splits() -> None:
    interior, edge = heads(DUMBBELL)
    same_cells(
        split_interiors(interior, edge, smallest=4),
        drawn("""
        ................
        ..1111....2222..
        .111111..222222.
        .11111112222222.
        .111111..222222.
        ..1111....2222..
        ................
        """),
    )
    assert grown_interiors(interior, edge).max() == 1


def test_mibi_leaves_noise_out_and_does_not_split_at_it() -> None:
    interior, edge = heads(DUMBBELL)
    interior[6, 14:] = INTERIOR
    found = split_interiors(interior, edge, smallest=20)
    assert found.max() == 1, "the parts that erosion leaves are smaller than that"
    assert not found[6, 14:].any()


def test_mibi_grows_back_to_where_the_interior_is_likely() -> None:
    """Not over an edge that is surer than 0.25, unless the interior is above 0.25, too."""
    interior, edge = heads("""
        ++++++e...
        +####+e...
        +####+e###
        ++++++e###
        ......e###
        """)
    same_cells(
        split_interiors(interior, edge, smallest=2),
        drawn("""
        111111....
        111111....
        111111.222
        111111.222
        .......222
        """),
    )


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_nothing_and_everything(value: float) -> None:
    plane = np.full((12, 15), value, np.float32)
    none = np.zeros_like(plane)
    for found in (
        distance_watershed(plane),
        grown_interiors(plane, none),
        split_interiors(plane, none),
    ):
        assert found.shape == plane.shape
        assert found.dtype == np.int32
        assert (found == value).all()
