from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from kiosk_tasks.errors import Cancelled, ImageTooLarge
from kiosk_tasks.imaging.divisions import DivisionParams, without_false_divisions
from kiosk_tasks.imaging.linking import LinkingParams, link, typical_diameter
from kiosk_tasks.imaging.tracks import Detections, Track, Tracks, assembled, detect, joined
from tests.simulated_movies import Movie, small_movie

SHAPE = (100, 100)
Cell = tuple[float, float] | tuple[float, float, float]


def cells(*frames: Sequence[Cell]) -> Detections:
    """Cells (y, x) or (y, x, area), of area 100 px² where nothing is said; numbers are skipped."""
    rows = [
        (t, 3 * n + 2, cell[0], cell[1], cell[2] if len(cell) > 2 else 100.0)
        for t, frame in enumerate(frames)
        for n, cell in enumerate(frame)
    ]
    frame, label, y, x, area = np.array(rows, np.float32).reshape(-1, 5).T
    return Detections(frame.astype(np.int32), label.astype(np.int32), y, x, area, np.ones_like(y))


def linked(*frames: Sequence[Cell], **params: object) -> Tracks:
    return link(cells(*frames), shape=SHAPE, params=LinkingParams(**params))  # type: ignore[arg-type]


def detections_of(movie: Movie) -> Detections:
    frames = enumerate(zip(movie.labels, movie.pixels, strict=True))
    return joined([detect(labels, pixels, frame=t) for t, (labels, pixels) in frames])


def test_cells_that_move_a_little_keep_their_number() -> None:
    found = linked([(20, 20), (60, 60)], [(62, 58), (21, 22)], [(22, 24), (64, 56)])
    assert found.track.tolist() == [1, 2, 2, 1, 1, 2]
    assert found.tracks == (Track(1, (0, 1, 2)), Track(2, (0, 1, 2)))


def test_no_cell_moves_further_than_its_reach() -> None:
    assert typical_diameter(cells([(0, 0)])) == pytest.approx(11.28, abs=0.01)
    assert len(linked([(20, 20)], [(20, 33.5)]).tracks) == 1
    assert len(linked([(20, 20)], [(20, 33.6)]).tracks) == 2
    assert len(linked([(20, 20)], [(20, 33.5)], reach=1.0).tracks) == 2


@pytest.mark.parametrize(("missed", "gap_frames", "tracks"), [(1, 0, 2), (1, 1, 1), (2, 1, 2)])
def test_a_cell_may_be_missed_for_a_while(missed: int, gap_frames: int, tracks: int) -> None:
    seen = [(20.0, 20.0)]
    found = linked(seen, seen, *[[]] * missed, seen, [(21, 22)], gap_frames=gap_frames)
    assert len(found.tracks) == tracks
    if tracks == 1:
        assert found.tracks[0].frames == (0, 1, 3, 4)


def test_all_cells_may_be_missed_in_one_frame() -> None:
    first: list[Cell] = [(20, 20), (50, 50), (80, 80)]
    later: list[Cell] = [(20, 20), (50, 53), (80, 74)]
    found = linked(first, first, [], later, later)
    assert [track.frames for track in found.tracks] == [(0, 1, 3, 4)] * 3


def test_a_cell_that_was_missed_divides_later() -> None:
    mother, sisters = [(50.0, 50.0)], [(50.0, 44.0, 55.0), (50.0, 56.0, 60.0)]
    found = linked(mother, mother, [], mother, mother, sisters, sisters)
    assert found.tracks[0].frames == (0, 1, 3, 4)
    assert found.tracks[0].daughters == (2, 3)


def test_more_cells_than_can_be_compared_are_refused() -> None:
    many = np.arange(20_001)
    places = np.tile(np.stack([many // 200, many % 200], 1) * 5.0, (2, 1)).astype(np.float32)
    same = np.ones(2 * len(many), np.float32)
    frame = np.repeat(np.arange(2, dtype=np.int32), len(many))
    label = np.tile(many + 1, 2).astype(np.int32)
    table = Detections(frame, label, places[:, 0], places[:, 1], same, same)
    with pytest.raises(ImageTooLarge, match=r"frame 0 has 20.001 cells; up to 20.000 .*Crop"):
        link(table, shape=(600, 1100))


def test_a_cell_divides() -> None:
    found = linked([(50, 50, 120)], [(50, 50, 100)], [(50, 44, 55), (50, 56, 60)])
    assert found.track.tolist() == [1, 1, 2, 3]
    assert found.tracks == (Track(1, (0, 1), None, (2, 3)), Track(2, (2,), 1), Track(3, (2,), 1))
    apart = linked([(50, 50)], [(50, 50)], [(50, 44, 55), (50, 56, 60)], divide=False)
    assert [track.parent for track in apart.tracks] == [None, None]


@pytest.mark.parametrize(
    ("sisters", "divided"),
    [
        ([(50, 44, 50), (50, 56, 50)], True),
        ([(50, 44, 38), (50, 56, 62)], True),
        ([(50, 44, 36), (50, 56, 64)], False),  # unlike each other
        ([(50, 44, 20), (50, 56, 20)], False),  # too small for the mother
        ([(50, 44, 90), (50, 56, 90)], False),  # too large
    ],
)
def test_sisters_are_alike_and_fit_their_mother(sisters: list[Cell], divided: bool) -> None:
    found = linked([(50, 50)], [(50, 50)], sisters)
    assert [track.parent for track in found.tracks[1:]] == ([1, 1] if divided else [None])
    nearer = found.tracks[0].frames == (0, 1, 2)
    assert nearer is not divided


def test_a_mother_may_have_shrunk_to_a_plate() -> None:
    sisters = [(50.0, 44.0, 45.0), (50.0, 56.0, 45.0)]
    plate = linked(*[[(50, 50)]] * 3, [(50, 50, 40)], [(50, 50, 40)], sisters)
    assert plate.tracks[0].daughters == (2, 3)
    long_ago = linked(*[[(50, 50)]] * 3, *[[(50, 50, 40)]] * 12, sisters)
    assert long_ago.tracks[0].daughters == ()


def test_cells_that_touch_for_a_while_and_part_do_not_divide() -> None:
    two: list[Cell] = [(50.0, 44.0, 100.0), (50.0, 56.0, 100.0)]
    found = linked(*[two] * 8, *[[(50, 50, 200)]] * 2, two, two)
    assert all(not track.daughters for track in found.tracks)


def test_sisters_last() -> None:
    mother, sisters = [(50.0, 50.0)], [(50.0, 44.0, 50.0), (50.0, 56.0, 50.0)]
    at_the_end = linked(mother, mother, sisters)
    assert at_the_end.tracks[0].daughters == (2, 3)
    for_a_frame = linked(mother, mother, sisters, [(50, 50)], gap_frames=0)
    assert for_a_frame.tracks[0].daughters == ()


@pytest.mark.parametrize(
    ("sisters", "divided"),
    [
        ([(2, 46, 10), (3, 54, 60)], True),  # cut off by the border: unlike each other
        ([(2, 46, 60), (2, 54, 80)], False),  # larger than their mother
        ([(1, 50, 30), (2, 57, 30)], False),  # one is where the mother was
        ([(2, 54, 30), (8, 54, 30)], False),  # both went the same way
        ([(2, 49, 30), (2, 56, 30)], False),  # one went much further
    ],
)
def test_at_the_border_sisters_have_gone_opposite_ways(sisters: list[Cell], divided: bool) -> None:
    found = linked([(2, 50, 90)], [(2, 50, 90)], sisters)
    assert bool(found.tracks[0].daughters) is divided


def test_no_cell_has_three_daughters() -> None:
    found = linked([(50, 50)], [(50, 50)], [(44, 50, 50), (56, 50, 50), (50, 57, 50)])
    assert sorted(len(track.daughters) for track in found.tracks) == [0, 0, 0, 2]
    three = cells([(50, 50)], [(44, 50, 50), (56, 50, 50), (50, 57, 50)])
    kept = without_false_divisions(
        three,
        np.array([-1, 0, 0, 0]),
        places=np.stack([three.y, three.x], 1).astype(np.float64),
        shape=SHAPE,
        params=DivisionParams(),
    )
    assert kept.tolist() == [-1, 0, 0, -1]


def test_numbers_follow_the_first_frame_then_the_label() -> None:
    found = linked([(80, 80)], [(20, 20), (80, 80)], [(50, 50), (20, 20), (80, 80)])
    assert found.track.tolist() == [1, 2, 1, 3, 2, 1]


def test_few_or_no_cells() -> None:
    assert linked().tracks == linked([], [], []).tracks == ()
    assert len(linked([(5, 5)]).tracks) == 1  # one cell in one frame
    assert len(linked([(5, 5), (50, 50)]).tracks) == 2  # one frame
    assert len(linked([], [(5, 5)], []).tracks) == 1
    apart = linked([(5, 5)], [], [], [], [(5, 5)])
    assert [track.frames for track in apart.tracks] == [(0,), (4,)]


def test_a_movie_that_starts_late_in_the_table() -> None:
    first = cells([], [], [(50, 50), (20, 20)], [(51, 50), (20, 21)])
    found = link(first, shape=SHAPE)
    assert [track.frames for track in found.tracks] == [(2, 3), (2, 3)]


def test_cells_that_do_not_move_at_all() -> None:
    still = [(20.0, 20.0), (60.0, 60.0)]
    assert [track.frames for track in linked(*[still] * 4).tracks] == [(0, 1, 2, 3)] * 2


def test_a_job_that_was_cancelled_stops() -> None:
    def cancelled() -> None:
        raise Cancelled("cancelled.")

    with pytest.raises(Cancelled):
        link(cells([(5, 5)], [(5, 5)]), shape=SHAPE, check=cancelled)


def test_links_become_tracks() -> None:
    four = cells([(1, 1), (9, 9)], [(1, 1)], [(1, 1), (9, 9)])
    made = assembled(four, np.array([-1, -1, 0, 2, 1]))
    assert made.track.tolist() == [1, 2, 1, 1, 2]
    assert made.tracks == (Track(1, (0, 1, 2)), Track(2, (0, 2)))
    split = assembled(four, np.array([-1, -1, 0, 2, 2]))
    assert split.tracks[0] == Track(1, (0, 1), None, (3, 4))
    assert [track.parent for track in split.tracks] == [None, None, 1, 1]


def test_a_simulated_movie_is_linked_as_it_was_drawn() -> None:
    movie = small_movie(seed=1)
    detections = detections_of(movie)
    found = link(detections, shape=movie.labels.shape[1:])
    wrong = 0
    truth = {int(row[0]): int(row[3]) for row in movie.table}
    for track in found.tracks:
        own = set(detections.label[found.track == track.id].tolist())
        wrong += len(own) - 1
        if track.parent:
            mothers = set(detections.label[found.track == track.parent].tolist())
            wrong += not {truth[n] for n in own} <= mothers
    divisions = sum(bool(track.daughters) for track in found.tracks)
    true = len(set(truth.values()) - {0})
    assert true == divisions == 2
    assert wrong == 0
