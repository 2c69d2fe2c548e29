from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.drift import drifts
from kiosk_tasks.imaging.linking import link
from kiosk_tasks.imaging.tracks import detect, joined
from tests.simulated_movies import PRESETS, Movie, simulate
from tests.synthetic import draw_nuclei


@pytest.fixture(scope="module")
def moving() -> Movie:
    """The stage moves by more than a nucleus per frame, and each nucleus on its own."""
    return simulate(replace(PRESETS["easy"], frames=8, cells=60, drift=(12.0, -31.0)), seed=21)


def measured(frames: NDArray[np.uint16]) -> NDArray[np.float64]:
    return np.stack(list(drifts(frames)))


def test_a_frame_that_was_shifted_is_measured_to_the_pixel() -> None:
    image, _ = draw_nuclei((96, 128))
    frames = [np.roll(image, shift, (0, 1)) for shift in ((0, 0), (7, -3), (5, 20), (5, 20))]
    expected = [[0, 0], [7, -3], [5, 20], [5, 20]]
    np.testing.assert_allclose(measured(np.stack(frames)), expected, atol=0.2)


def test_the_stage_is_told_from_the_cells(moving: Movie) -> None:
    found = measured(moving.pixels)
    assert found.shape == (8, 2)
    assert found[0].tolist() == [0, 0]
    steps = np.abs(np.diff(found, axis=0) - [12, -31])
    assert steps.max() < 2  # the nuclei's own moves have a standard deviation of 1.5 px


def test_links_hold_where_the_stage_moves(moving: Movie) -> None:
    pairs = enumerate(zip(moving.labels, moving.pixels, strict=True))
    cells = joined([detect(labels, pixels, frame=t) for t, (labels, pixels) in pairs])
    shape = moving.labels.shape[1:]

    def wrong(drift: NDArray[np.float64] | None) -> int:
        tracks = link(cells, shape=(shape[0], shape[1]), drift=drift)
        assert tracks.detections is cells
        pairs = {(int(a), int(b)) for a, b in zip(tracks.track, cells.label, strict=True)}
        return len(pairs) - len(moving.table)

    assert wrong(None) > 20
    assert abs(wrong(measured(moving.pixels))) <= 2


def test_frames_are_drawn_one_at_a_time(moving: Movie) -> None:
    drawn: list[int] = []

    def frames() -> Iterator[NDArray[np.uint16]]:
        for index, frame in enumerate(moving.pixels):
            drawn.append(index)
            yield frame

    found = drifts(frames())
    next(found)
    next(found)
    assert drawn == [0, 1]


def test_frames_that_tell_nothing() -> None:
    image, _ = draw_nuclei((64, 64))
    empty = np.full_like(image, 7)
    assert measured(np.stack([empty, image, empty, image])).tolist() == [[0, 0]] * 4
    assert list(drifts([])) == []
    narrow = np.arange(3000, dtype=np.uint16).reshape(1, 3000)
    assert measured(np.stack([narrow, narrow])).tolist() == [[0, 0], [0, 0]]


def test_frames_have_one_size() -> None:
    with pytest.raises(InvalidAxes, match="frame 1 has shape"):
        list(drifts([np.zeros((8, 8)), np.zeros((8, 9))]))
