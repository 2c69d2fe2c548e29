from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.tracks import Detections, Track, Tracks, detect, joined
from kiosk_tasks.workspace import decode, encode
from tests.synthetic import draw_discs, draw_nuclei

COLUMNS = ("frame", "label", "y", "x", "area", "intensity")


def columns(detections: Detections) -> dict[str, list[float]]:
    return {name: getattr(detections, name).tolist() for name in COLUMNS}


def two_frames() -> Detections:
    labels = np.zeros((4, 6), np.int32)
    labels[0, 0], labels[2, 1:4] = 2_000_000_000, 7
    return joined([detect(labels, labels, frame=frame) for frame in (4, 1)])


def test_rows_are_what_was_drawn() -> None:
    discs = draw_discs()
    found = detect(discs.labels, np.full(discs.labels.shape, 3, np.uint8), frame=5)
    assert found.label.tolist() == list(range(1, len(discs.radii) + 1))
    assert set(found.frame.tolist()) == {5}
    np.testing.assert_allclose(np.stack([found.y, found.x], 1), discs.centres, atol=0.25)
    np.testing.assert_allclose(found.area, np.pi * discs.radii**2, rtol=0.08)
    assert (found.intensity == 3).all()


def test_equals_scipy_where_numbers_are_skipped() -> None:
    image, truth = draw_nuclei()
    truth = np.where(truth % 3 == 0, 0, truth * 100_000)
    found = detect(truth, image, frame=0)
    np.testing.assert_allclose(found.intensity, ndimage.mean(image, truth, found.label), rtol=1e-6)
    centres = ndimage.center_of_mass(truth > 0, truth, found.label)
    np.testing.assert_allclose(np.stack([found.y, found.x], 1), centres, rtol=1e-6)


def test_numbers_near_the_end_of_their_type_cost_no_memory() -> None:
    found = two_frames()
    assert columns(found) == {
        "frame": [1, 1, 4, 4],
        "label": [7, 2_000_000_000] * 2,
        "y": [2.0, 0.0] * 2,
        "x": [2.0, 0.0] * 2,
        "area": [3.0, 1.0] * 2,
        "intensity": [7.0, 2e9] * 2,
    }
    assert [found.rows(frame) for frame in (0, 1, 2, 4, 9)] == [
        slice(0, 0), slice(0, 2), slice(2, 2), slice(2, 4), slice(4, 4)
    ]  # fmt: skip


def test_a_frame_without_cells_gives_no_rows() -> None:
    empty = detect(np.zeros((4, 5), np.int32), np.zeros((4, 5)), frame=0)
    assert len(empty) == 0
    assert len(joined([empty, empty])) == len(joined([])) == 0
    for name in COLUMNS:
        wanted = np.int32 if name in ("frame", "label") else np.float32
        for table in (empty, joined([]), joined([empty]), two_frames()):
            assert getattr(table, name).dtype == wanted


def test_shapes_have_to_fit() -> None:
    with pytest.raises(InvalidAxes, match="frame 3 has labels of shape"):
        detect(np.zeros((4, 5), np.int32), np.zeros((5, 4)), frame=3)


def tracks() -> Tracks:
    detections = two_frames()
    return Tracks(
        detections,
        np.array([1, 2, 1, 3], np.int32),
        (Track(1, (1, 4)), Track(2, (1,), None, (3,)), Track(3, (4,), 2)),
    )


def test_cells_get_the_number_of_their_track() -> None:
    labels = np.array([[0, 7, 8], [2_000_000_000, 7, 3]], np.int32)
    assert tracks().relabel(labels, 1).tolist() == [[0, 1, 0], [2, 1, 0]]
    assert tracks().relabel(labels, 4).tolist() == [[0, 1, 0], [3, 1, 0]]
    assert tracks().relabel(labels, 2).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert tracks().relabel(labels, 2).dtype == tracks().relabel(labels, 1).dtype == np.int32


def test_the_table_is_that_of_the_cell_tracking_challenge() -> None:
    assert tracks().table().tolist() == [[1, 1, 4, 0], [2, 1, 1, 0], [3, 4, 4, 2]]
    none = Tracks(joined([]), np.zeros(0, np.int32), ())
    assert none.table().shape == (0, 4)


def test_tracks_wait_in_the_workspace() -> None:
    before = tracks()
    after = decode(encode(before))
    assert columns(after.detections) == columns(before.detections)
    assert after.track.tolist() == before.track.tolist()
    assert after.tracks == before.tracks
