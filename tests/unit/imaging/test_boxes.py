"""Boxes and masks: what comes out was worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.imaging.boxes import (
    Detections,
    best_boxes,
    detections_of,
    gather,
    is_boxes,
    label_boxes,
    label_masks,
)
from kiosk_tasks.imaging.tiling import TileLayout


def found(boxes: list[tuple[float, ...]], scores: list[float], masks: Any = None) -> Detections:
    grids = np.zeros((len(boxes), 0, 0)) if masks is None else np.asarray(masks)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        grids.astype(np.float32),
    )


def drawn(text: str) -> NDArray[np.int32]:
    rows = text.split()
    return np.array([[0 if one == "." else int(one) for one in row] for row in rows], np.int32)


def test_of_two_boxes_on_one_object_the_surer_stays() -> None:
    """10 × 10 px each; shifted by 2 they share 80 of 120 px², by 5 only 50 of 150."""
    boxes = found(
        [(0, 0, 10, 10), (0, 2, 10, 12), (0, 7, 10, 17), (30, 30, 40, 40), (50, 0, 60, 10)],
        [0.7, 0.9, 0.8, 0.95, 0.4],
    )
    best = best_boxes(boxes, least_score=0.5, most_overlap=0.5)
    assert best.scores.tolist() == pytest.approx([0.95, 0.9, 0.8])
    assert best.boxes.tolist() == [[30, 30, 40, 40], [0, 2, 10, 12], [0, 7, 10, 17]]
    strict = best_boxes(boxes, least_score=0.3, most_overlap=0.33)
    assert strict.scores.tolist() == pytest.approx([0.95, 0.9, 0.4]), "50 / 150 is above 0.33"


def test_equal_scores_and_none() -> None:
    same = found([(0, 0, 4, 4), (0, 0, 4, 4)], [0.6, 0.6])
    assert best_boxes(same).scores.shape == (1,)
    assert best_boxes(found([], [])).boxes.shape == (0, 4)


def test_masks_are_drawn_by_score() -> None:
    whole = np.ones((2, 2))
    left = np.array([[1, 0], [1, 0]])
    labels = label_masks(
        found([(0, 0, 4, 4), (1, 2, 5, 6), (5, 6, 7, 10)], [0.6, 0.9, 0.7], [whole, whole, left]),
        (7, 9),
    )
    expected = drawn("""
        3333.....
        331111...
        331111...
        331111...
        ..1111...
        ......22.
        ......22.
        """)
    np.testing.assert_array_equal(labels, expected)
    assert labels.dtype == np.int32


def test_a_mask_is_enlarged_bilinearly() -> None:
    """Over 8 px a mask of 1 and 0 falls below one half in the middle."""
    labels = label_masks(found([(0, 0, 1, 8)], [0.9], [[[1.0, 0.0]]]), (1, 8))
    assert labels.tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]]
    narrow = label_masks(found([(0, 0, 1, 8)], [0.9], [[[1.0, 0.0]]]), (1, 8), inside=0.8)
    # Pixel centres 0.5 … 7.5 lie at -0.375 … 1.375 of the two grid points: 1 - x > 0.8 for 3 px.
    assert narrow.tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]]


def test_boxes_that_leave_the_plane_are_cut() -> None:
    ones = np.ones((2, 2, 2))
    labels = label_masks(found([(-3, -3, 2, 2), (3, 3, 9, 9)], [0.9, 0.8], ones), (5, 5))
    expected = drawn("""
        11...
        11...
        .....
        ...22
        ...22
        """)
    np.testing.assert_array_equal(labels, expected)
    assert not label_masks(found([(9, 9, 12, 12)], [0.9], ones[:1]), (5, 5)).any()


def test_boxes_part_cells_that_touch() -> None:
    text = """
        .............
        .###########.
        .###########.
        .###########.
        .............
        .##..........
        """
    rows = [[0.9 if one == "#" else 0.1 for one in row] for row in text.split()]
    interior = np.array(rows, np.float32)
    labels = label_boxes(found([(0, 0, 5, 6), (0, 6, 5, 13)], [0.8, 0.9]), interior)
    expected = drawn("""
        .............
        .22222111111.
        .22222111111.
        .22222111111.
        .............
        .............
        """)
    np.testing.assert_array_equal(labels, expected)


def test_no_cell_leaves_its_box() -> None:
    interior = np.full((5, 12), 0.9, np.float32)
    labels = label_boxes(found([(1, 1, 4, 5)], [0.8]), interior)
    expected = np.zeros((5, 12), np.int32)
    expected[1:4, 1:5] = 1
    np.testing.assert_array_equal(labels, expected)


def test_what_a_detector_gives_is_read_by_shape() -> None:
    outputs: dict[str, NDArray[Any]] = {
        "filtered_detections": np.array([[[2, 1, 6, 4], [0, 0, 0, 0]]], np.float32),
        "filtered_detections_1": np.array([[0.9, 0.8]], np.float32),
        "filtered_detections_2": np.array([[0, -1]], np.int64),
        "filtered_detections_3": np.full((1, 2, 14, 14, 1), 0.7, np.float32),
    }
    (tile,) = detections_of(outputs)
    assert tile.boxes[0].tolist() == [1, 2, 4, 6], "x0, y0, x1, y1 became y0, x0, y1, x1"
    assert tile.scores.tolist() == pytest.approx([0.9, 0]), "class -1 is no detection"
    assert tile.masks.shape == (2, 14, 14)
    bare = {name: outputs[name] for name in list(outputs)[:2]}
    assert detections_of(bare)[0].masks.shape == (2, 0, 0)
    with pytest.raises(KeyError, match="scores"):
        detections_of({"boxes": outputs["filtered_detections"]})
    with pytest.raises(KeyError, match="boxes"):
        detections_of({"scores": outputs["filtered_detections_1"]})


@pytest.mark.parametrize(
    "outputs",
    [
        {"boxes": (2, 5, 4), "scores": (2, 5, 3)},  # of each class, as before the last layer
        {"boxes": (2, 5, 4), "scores": (2, 6)},
        {"boxes": (2, 5, 4), "scores": (2, 5), "masks": (2, 6, 28, 28)},
        {"boxes": (2, 5, 4), "scores": (2, 5), "classes": (2, 5, 3)},
        {"regression": (2, 9, 4), "scores": (2, 9), "other": (2, 32, 32, 0, 1)},
        {"boxes": (2, 4), "scores": (2, 5)},
    ],
)
def test_outputs_that_do_not_belong_together(outputs: dict[str, tuple[int, ...]]) -> None:
    arrays = {name: np.ones(shape, np.float32) for name, shape in outputs.items()}
    with pytest.raises(ModelMismatch, match=r"scores \(2, .*gives boxes \(B, N, 4\)"):
        detections_of(arrays)


def test_boxes_are_known_by_name_or_shape() -> None:
    assert is_boxes("boxes", None)
    assert is_boxes("output_0", (-1, 300, 4))
    assert not is_boxes("output_0", (-1, 512, 512, 4))
    assert not is_boxes("scores", (-1, 300))


def test_detections_of_tiles_come_to_the_plane() -> None:
    """Two tiles of 8 px over 12 px: columns 4 to 8 are seen by both."""
    layout = TileLayout((8, 12), tile=8, overlap=4)
    assert layout.origins == ((0, 0), (0, 4))
    left = found([(1, 1, 4, 3), (2, 3, 5, 6), (1, 5, 4, 8)], [0.9, 0.8, 0.7])
    right = found([(1, 1, 4, 4), (2, 0, 5, 2), (3, 5, 6, 8), (0, 0, 0, 0)], [0.75, 0.6, 0.5, -1])
    whole = gather([left, right], layout)
    assert whole.boxes.tolist() == [[1, 1, 4, 3], [2, 3, 5, 6], [1, 5, 4, 8], [3, 9, 6, 12]]
    assert whole.scores.tolist() == pytest.approx([0.9, 0.8, 0.75, 0.5])


@pytest.mark.parametrize("strange", [np.nan, np.inf])
def test_boxes_that_lie_nowhere_are_left_out(strange: float) -> None:
    tile = found([(strange,) * 4, (1, 1, 4, 4), (2, 2, strange, 5)], [0.9, 0.8, 0.7])
    (box,) = gather([tile], TileLayout((8, 8), tile=8, overlap=0)).boxes.tolist()
    assert box == [1, 1, 4, 4]
