"""Scores of spots against pairings made by hand and by a dense solver."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.scoring.spots import score_spots

EMPTY = np.empty((0, 2))


def test_counts_by_hand() -> None:
    truth = np.array([[10.0, 10.0], [20.0, 20.0], [40.0, 5.0]])
    found = np.array([[10.0, 11.0], [22.0, 20.0], [60.0, 60.0], [61.0, 60.0]])
    scores = score_spots(truth, found)
    assert (scores.truth, scores.found, scores.matched) == (3, 4, 2)
    assert scores.precision == 2 / 4
    assert scores.recall == 2 / 3
    assert scores.f1 == pytest.approx(4 / 7)
    assert scores.rmse_px == pytest.approx(np.sqrt((1 + 4) / 2))


def test_more_pairs_before_nearer_ones() -> None:
    """The nearest pair (0 px) would leave two spots alone; two pairs of 2 px count more."""
    truth = np.array([[0.0, 0.0], [0.0, 2.0]])
    found = np.array([[0.0, 2.0], [0.0, 4.9]])
    scores = score_spots(truth, found)
    assert scores.matched == 2
    assert scores.rmse_px == pytest.approx(np.sqrt((4 + 2.9**2) / 2))


def test_one_found_spot_counts_once() -> None:
    scores = score_spots(np.array([[5.0, 5.0], [5.0, 6.0]]), np.array([[5.0, 5.5]]))
    assert (scores.matched, scores.recall, scores.precision) == (1, 0.5, 1.0)


@pytest.mark.parametrize(
    ("truth", "found", "f1"),
    [(EMPTY, EMPTY, 1.0), (np.ones((2, 2)), EMPTY, 0.0), (EMPTY, np.ones((2, 2)), 0.0)],
)
def test_empty_sides(truth: np.ndarray, found: np.ndarray, f1: float) -> None:
    scores = score_spots(truth, found)
    assert (scores.f1, scores.rmse_px) == (f1, None)


def test_radius_is_inclusive() -> None:
    one, other = np.array([[0.0, 0.0]]), np.array([[0.0, 3.0]])
    assert score_spots(one, other, radius_px=3).matched == 1
    assert score_spots(one, other, radius_px=2.99).matched == 0


@pytest.mark.parametrize(
    ("truth", "found", "radius", "says"),
    [
        (np.ones((2, 3)), EMPTY, 3.0, r"\(2, 3\), but should be \(n, 2\)"),
        (EMPTY, np.array([[1.0, np.nan]]), 3.0, "found spots .* NaN"),
        (EMPTY, EMPTY, 0.0, "radius_px is 0"),
        (EMPTY, EMPTY, float("nan"), "radius_px is nan"),
    ],
)
def test_what_is_refused(truth: np.ndarray, found: np.ndarray, radius: float, says: str) -> None:
    with pytest.raises(InvalidParameter, match=says):
        score_spots(truth, found, radius_px=radius)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 12), m=st.integers(0, 12), side=st.integers(3, 20), seed=st.integers(0, 10**6)
)
def test_pairs_are_those_of_a_dense_solver(n: int, m: int, side: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, found = rng.uniform(0, side, (n, 2)), rng.uniform(0, side, (m, 2))
    squared = ((truth[:, None] - found[None, :]) ** 2).sum(axis=2)
    rows, columns = linear_sum_assignment(np.where(squared <= 9, squared, 1e4))
    expected = squared[rows, columns][squared[rows, columns] <= 9]
    scores = score_spots(truth, found, radius_px=3)
    assert scores.matched == len(expected)
    if len(expected):
        assert scores.rmse_px == pytest.approx(np.sqrt(expected.mean()), abs=1e-6)


def test_many_spots_need_no_table_of_all_pairs() -> None:
    """20,000 × 20,000 distances would take 3.2 GB."""
    rng = np.random.default_rng(7)
    truth = rng.uniform(0, 2000, (20_000, 2))
    found = truth + rng.normal(0, 0.3, truth.shape)
    scores = score_spots(truth, found)
    assert scores.recall > 0.999
    assert scores.rmse_px == pytest.approx(0.3 * np.sqrt(2), rel=0.03)
