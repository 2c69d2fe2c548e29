from __future__ import annotations

import numpy as np
import pytest

from kiosk_tasks.imaging.assignment import assigned

SAME, OTHER, DAUGHTER = [0.9, 0.05, 0.05], [0.0, 1.0, 0.0], [0.1, 0.1, 0.8]


def chosen(rows: list[list[list[float]]], **costs: float) -> list[int]:
    usual = {"birth": 0.99, "death": 0.99, "division": 0.01}
    return assigned(np.array(rows, np.float32), **{**usual, **costs}).tolist()


def test_links_are_the_likeliest_together() -> None:
    assert chosen([[OTHER, SAME], [SAME, OTHER]]) == [1, 0]
    # Taking the best pair first would leave a link of 0.
    first = [[[0.9, 0.1, 0], [0.8, 0.2, 0]], [[0.8, 0.2, 0], [0.0, 1.0, 0]]]
    assert chosen(first) == [1, 0]


@pytest.mark.parametrize(("same", "linked"), [(0.02, 0), (0.005, -1)])
def test_a_link_costs_less_than_a_birth_and_a_death(same: float, linked: int) -> None:
    assert chosen([[[same, 1 - same, 0]]]) == [linked]


def test_a_dear_link_is_left_out() -> None:
    assert chosen([[[0.4, 0.6, 0]]], birth=0.5, death=0.5) == [-1]
    assert chosen([[[0.6, 0.4, 0]]], birth=0.5, death=0.5) == [0]


def test_daughters() -> None:
    assert chosen([[DAUGHTER, DAUGHTER]], birth=0.1, death=0.1) == [0, 0]
    assert chosen([[SAME, DAUGHTER]]) == [0, 0]
    assert chosen([[SAME, OTHER]]) == [0, -1]
    assert chosen([[SAME, [0, 0.5, 0.5]]]) == [0, -1]  # no likelier than "different"
    assert chosen([[SAME, DAUGHTER]], division=0.85) == [0, -1]
    three = [[DAUGHTER, [0.0, 0.3, 0.7], DAUGHTER]]
    assert chosen(three, birth=0.1, death=0.1) == [0, -1, 0]


def test_more_cells_than_tracks_and_the_reverse() -> None:
    assert chosen([[OTHER, SAME, OTHER]]) == [-1, 0, -1]
    assert chosen([[OTHER], [SAME], [OTHER]]) == [1]
