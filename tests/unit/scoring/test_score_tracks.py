from __future__ import annotations

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes, MissingExtra, UnusableImage
from kiosk_tasks.scoring.tracks import TrackScores, score_tracks
from tests.simulated_movies import Movie, small_movie

Rows = NDArray[np.int64]


@pytest.fixture(scope="module")
def movie() -> Movie:
    return small_movie(seed=3)


def drawn(*frames: dict[int, tuple[int, int]]) -> NDArray[np.int32]:
    """Frames of 6 × 20 px in which each label is a block from one column to another."""
    labels = np.zeros((len(frames), 6, 20), np.int32)
    for frame, cells in zip(labels, frames, strict=True):
        for label, (first, last) in cells.items():
            frame[1:5, first:last] = label
    return labels


def rows(*tracks: tuple[int, int, int, int]) -> Rows:
    return np.array(tracks, np.int64).reshape(-1, 4)


ONE = {1: (6, 14)}
TWO = {2: (4, 8), 3: (12, 16)}
DIVIDES = drawn(ONE, ONE, ONE, TWO, TWO, TWO)
DIVIDED = rows((1, 0, 2, 0), (2, 3, 5, 1), (3, 3, 5, 1))


def test_the_truth_is_perfect(movie: Movie) -> None:
    scores = score_tracks(movie.labels, movie.table, iter(movie.labels), movie.table)
    divisions = len(set(movie.table[:, 3].tolist()) - {0})
    assert divisions > 1
    assert scores == TrackScores(1, 1, 1, 1, 1, 1, divisions, divisions, divisions)


def test_cells_that_were_never_found_cost_their_share(movie: Movie) -> None:
    gone = np.where(movie.labels == 1, 0, movie.labels)
    scores = score_tracks(movie.labels, movie.table, gone, movie.table)
    nodes = [(t, n) for t, frame in enumerate(movie.labels) for n in np.unique(frame) if n]
    lost = sum(n == 1 for _, n in nodes)
    parents = sum(int(row[3]) != 0 for row in movie.table)
    edges = len(nodes) - len(movie.table) + parents
    born = int(np.isin(movie.table[:, 3], [1]).sum())
    # The weights of the Cell Tracking Challenge: 10 for a cell, 1.5 for an edge.
    cost = 10 * lost + 1.5 * (lost - 1 + born)
    assert scores.det == pytest.approx(1 - lost / len(nodes))
    assert scores.tra == pytest.approx(1 - cost / (10 * len(nodes) + 1.5 * edges))
    assert scores.seg == pytest.approx(1 - lost / len(nodes))


def test_a_broken_track_costs_one_edge() -> None:
    truth = drawn(ONE, ONE, ONE, ONE)
    broken = drawn(ONE, ONE, {2: ONE[1]}, {2: ONE[1]})
    scores = score_tracks(truth, rows((1, 0, 3, 0)), broken, rows((1, 0, 1, 0), (2, 2, 3, 0)))
    assert scores.det == 1
    assert scores.lnk == pytest.approx(1 - 1 / 3)
    assert scores.tra == pytest.approx(1 - 1.5 / (4 * 10 + 3 * 1.5))
    assert scores.division_f1 is None


@pytest.mark.parametrize(("late", "near"), [(1, 1.0), (2, 1.0), (3, 0.0)])
def test_a_division_may_be_found_two_frames_late(late: int, near: float) -> None:
    truth = drawn(ONE, ONE, *[TWO] * 6)
    found = drawn(ONE, ONE, *[{1: TWO[2], 4: TWO[3]}] * late, *[TWO] * (6 - late))
    found[2 : 2 + late][found[2 : 2 + late] == 4] = 0
    scores = score_tracks(
        truth,
        rows((1, 0, 1, 0), (2, 2, 7, 1), (3, 2, 7, 1)),
        found,
        rows((1, 0, 1 + late, 0), (2, 2 + late, 7, 1), (3, 2 + late, 7, 1)),
    )
    assert scores.division_f1_exact == 0
    assert scores.division_f1 == near
    assert scores.divisions == scores.divisions_found == 1
    assert scores.divisions_right == near


def test_a_division_into_the_wrong_cell_is_not_right() -> None:
    truth = DIVIDES.copy()
    truth[:, 0, 0] = 4  # a cell of one pixel, there all the time
    table = np.concatenate([DIVIDED, rows((4, 0, 5, 0))])
    found = truth.copy()
    found[3:][truth[3:] == 3], found[3:][truth[3:] == 4] = 4, 3
    scores = score_tracks(truth, table, found, table)
    assert (scores.divisions, scores.divisions_found, scores.divisions_right) == (1, 1, 0)


def test_a_found_cell_over_two_true_ones_is_one_split_to_make() -> None:
    merged = drawn(ONE, ONE, ONE, {2: (4, 16)}, TWO, TWO)
    scores = score_tracks(DIVIDES, DIVIDED, merged, DIVIDED)
    assert scores.det == pytest.approx(1 - 5 / (9 * 10))  # a non-split costs 5
    assert scores.seg == pytest.approx((7 + 2 * 4 / 12) / 9)
    assert scores.divisions_found == 1


def test_intersection_over_union() -> None:
    truth, found = drawn({1: (0, 8)}), drawn({1: (2, 10)})
    one = rows((1, 0, 0, 0))
    assert score_tracks(truth, one, found, one).seg == pytest.approx(6 / 10)
    half = score_tracks(truth, one, drawn({1: (4, 12)}), one)  # covers no more than half of it
    assert (half.seg, half.det, half.lnk) == (0, 0, None)


def test_equals_the_matching_of_traccuracy(movie: Movie) -> None:
    import networkx as nx
    from traccuracy import TrackingGraph, run_metrics
    from traccuracy.matchers import CTCMatcher
    from traccuracy.metrics import CTCMetrics

    moved = np.roll(movie.labels, 3, axis=2)
    ours = score_tracks(movie.labels, movie.table, moved, movie.table)

    def graph(labels: NDArray[np.int32]) -> TrackingGraph:
        made, last = nx.DiGraph(), dict[int, int]()
        for t, frame in enumerate(labels):
            for n in np.unique(frame[frame > 0]).tolist():
                made.add_node(1000 * t + n, t=t, segmentation_id=n)
                if n in last:
                    made.add_edge(last[n], 1000 * t + n)
                elif parent := int(movie.table[n - 1, 3]):
                    made.add_edge(last[parent], 1000 * t + n)
                last[n] = 1000 * t + n
        return TrackingGraph(made, segmentation=labels)

    with pytest.warns(UserWarning, match="bbox|gt_boxes|res_boxes"):
        (theirs,), _ = run_metrics(graph(movie.labels), graph(moved), CTCMatcher(), [CTCMetrics()])
    assert ours.tra == pytest.approx(theirs["results"]["TRA"])
    assert ours.det == pytest.approx(theirs["results"]["DET"])
    assert ours.lnk == pytest.approx(theirs["results"]["LNK"])
    assert 0.5 < ours.det < 1


def test_nothing_found() -> None:
    scores = score_tracks(DIVIDES, DIVIDED, np.zeros_like(DIVIDES), rows())
    assert scores == TrackScores(0, 0, 0, 0, 0, 0, 1, 0, 0)


def test_what_cannot_be_scored_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnusableImage, match="the truth has no cells"):
        score_tracks(np.zeros_like(DIVIDES), rows(), DIVIDES, DIVIDED)
    with pytest.raises(InvalidAxes, match=r"frame 5 is \(6, 20\) in the truth and nothing in"):
        score_tracks(DIVIDES, DIVIDED, DIVIDES[:5], DIVIDED)
    with pytest.raises(InvalidAxes, match=r"frame 0 is \(6, 20\) in the truth and \(5, 20\) in"):
        score_tracks(DIVIDES, DIVIDED, DIVIDES[:, 1:], DIVIDED)
    with pytest.raises(InvalidAxes, match="the result has the label 3 in frame 3, which its table"):
        score_tracks(DIVIDES, DIVIDED, DIVIDES, DIVIDED[:2])
    monkeypatch.setitem(sys.modules, "traccuracy.metrics", None)
    with pytest.raises(MissingExtra, match="pip install --no-deps traccuracy"):
        score_tracks(DIVIDES, DIVIDED, DIVIDES, DIVIDED)
