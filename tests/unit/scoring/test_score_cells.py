from __future__ import annotations

from math import isnan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.scoring.cells import IOU_THRESHOLDS, CellScore, overlaps, score_cells
from tests.synthetic import draw_discs


def row(*runs: tuple[int, int]) -> NDArray[np.int32]:
    """One row of pixels: (label, length) after (label, length)."""
    return np.repeat(*(np.array(part, np.int32) for part in zip(*runs, strict=True)))[None]


def reference(truth: NDArray[Any], found: NDArray[Any], threshold: float) -> tuple[int, float]:
    """Pairs of the best assignment, by sets of pixels, and the sum of their overlaps."""
    cells = [
        [set(np.flatnonzero(labels == n).tolist()) for n in np.unique(labels) if n]
        for labels in (truth, found)
    ]
    iou = np.array([[len(a & b) / len(a | b) for b in cells[1]] for a in cells[0]])
    iou = np.where((iou >= threshold) & (iou > 0.5), iou, 0).reshape(len(cells[0]), len(cells[1]))
    chosen = iou[linear_sum_assignment(-(iou > 0).astype(float) - iou / 1000)]
    return int((chosen > 0).sum()), float(chosen.sum())


def test_figures_by_hand() -> None:
    # Cell 1: 8 of 10 px found, nothing beside it: IoU 0.8. Cell 2 is missed. Cell 3: 10 of 10 px
    # and 5 px too many: IoU 2/3. Found cell 9 lies where nothing is.
    truth = row((1, 10), (0, 5), (2, 10), (0, 5), (3, 10), (0, 5), (0, 5), (0, 4))
    found = row((7, 8), (0, 22), (8, 15), (0, 5), (9, 4))
    score = score_cells(truth, found)
    assert (score.true, score.found) == (3, 3)
    assert score.matched == (2, 2, 2, 2, 1, 1, 1, 0, 0, 0)
    assert score.precision[0] == score.recall[0] == pytest.approx(2 / 3)
    assert score.f1[0] == pytest.approx(4 / 6)
    assert score.ap[0] == pytest.approx(2 / 4)
    assert score.f1[5] == pytest.approx(2 / 6)
    assert score.mean_f1 == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 / 3 + 0) / 5)
    assert score.mean_ap == pytest.approx((4 * 2 / 4 + 3 * 1 / 5) / 10)
    assert score.mean_iou == pytest.approx((0.8 + 2 / 3) / 2)
    assert score.panoptic_quality == pytest.approx((0.8 + 2 / 3) / (2 + 0.5 + 0.5))
    assert (score.split, score.merged) == (0, 0)


def test_precision_and_recall_are_not_the_same() -> None:
    score = score_cells(row((1, 4), (0, 4)), row((1, 4), (2, 1), (3, 1), (4, 2)))
    assert score.precision[0] == pytest.approx(1 / 4)
    assert score.recall[0] == 1


def test_half_is_no_match() -> None:
    # Two halves of one cell have an IoU of 0.5 each; which one would it be?
    score = score_cells(row((1, 8)), row((1, 4), (2, 4)))
    assert score.matched[0] == 0
    assert score.split == 1
    assert score_cells(row((1, 9)), row((1, 5), (2, 4))).matched == (1, 1, *[0] * 8)


def test_splits_and_merges() -> None:
    whole, parts = row((1, 12), (0, 2), (2, 6)), row((1, 5), (2, 4), (3, 3), (0, 2), (4, 6))
    assert (score_cells(whole, parts).split, score_cells(whole, parts).merged) == (1, 0)
    assert (score_cells(parts, whole).split, score_cells(parts, whole).merged) == (0, 1)


def test_a_threshold_that_is_met_exactly_is_met() -> None:
    for threshold in IOU_THRESHOLDS[1:]:
        inside = round(100 * threshold)
        found = row((1, inside), (0, 100 - inside))
        matched = dict(zip(IOU_THRESHOLDS, score_cells(row((1, 100)), found).matched, strict=True))
        assert matched == {t: int(t <= threshold) for t in IOU_THRESHOLDS}


def test_nothing_there() -> None:
    empty, one = row((0, 6)), row((1, 3), (0, 3))
    right = score_cells(empty, empty)
    assert right.true == right.found == 0
    assert set(right.f1) == set(right.ap) == set(right.precision) == set(right.recall) == {1.0}
    assert right.mean_f1 == right.mean_ap == right.panoptic_quality == 1
    for truth, found in ((empty, one), (one, empty)):
        wrong = score_cells(truth, found)
        assert set(wrong.f1) == set(wrong.ap) == set(wrong.precision) == set(wrong.recall) == {0.0}
        assert wrong.panoptic_quality == 0
        assert isnan(wrong.mean_iou)
    assert CellScore() + score_cells(one, one) + right == score_cells(one, one)


def test_a_sum_pools_the_cells_of_images() -> None:
    perfect = score_cells(row((1, 5)), row((1, 5)))
    missed = score_cells(row((1, 5), (2, 5), (3, 5)), row((0, 15)))
    pooled = perfect + missed
    assert (pooled.true, pooled.found) == (4, 1)
    assert pooled.f1[0] == pytest.approx(2 / 5)
    assert pooled.panoptic_quality == pytest.approx(2 / 5)


def test_sizes_that_differ() -> None:
    with pytest.raises(InvalidAxes, match=r"3 × 4 px.*4 × 3 px"):
        overlaps(np.zeros((3, 4), np.int32), np.zeros((4, 3), np.int32))


def test_labels_may_be_anything() -> None:
    truth = draw_discs((60, 80), count=6).labels
    numbers = np.array([0, 5, 2, 65_535, 7, 2**31, 9], np.int64)
    assert score_cells(truth, numbers[truth]) == score_cells(truth, truth)
    no_background = np.full((4, 4), 3)
    assert score_cells(no_background, no_background).matched == (1,) * 10


@given(
    hnp.arrays(np.uint8, (2, 6, 7), elements=st.integers(0, 4)),
    st.sampled_from(IOU_THRESHOLDS),
)
def test_equals_the_best_assignment_of_pixel_sets(
    pair: NDArray[np.uint8], threshold: float
) -> None:
    _check(pair[0], pair[1], threshold)


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_best_assignment_on_cells(seed: int) -> None:
    truth = draw_discs((70, 90), count=9, seed=seed).labels
    rng = np.random.default_rng(seed)
    found = np.roll(truth, rng.integers(0, 4, 2), (0, 1))
    found[found == 2] = 1
    found[40:] += (found[40:] > 0) * np.int32(20)
    for threshold in IOU_THRESHOLDS:
        _check(truth, found, threshold)


def _check(truth: NDArray[Any], found: NDArray[Any], threshold: float) -> None:
    score = score_cells(truth, found)
    count, total = reference(truth, found, threshold)
    assert score.matched[IOU_THRESHOLDS.index(threshold)] == count
    if threshold == 0.5:
        assert score.iou_sum == pytest.approx(total)
