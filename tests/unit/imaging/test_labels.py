from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.labels import (
    LabelImage,
    WatershedParams,
    deep_watershed,
    fill_label_holes,
    relabel,
    remove_border,
    remove_faint,
    remove_small,
    resize_labels,
)
from tests.synthetic import draw_discs, perfect_heads

PARAMS = {
    "default": WatershedParams(),
    "nuclear": WatershedParams.nuclear(),
    "mesmer": WatershedParams.mesmer("whole-cell"),
    "mesmer nuclear": WatershedParams.mesmer("nuclear"),
}


def label_images(largest: int = 9) -> st.SearchStrategy[NDArray[Any]]:
    shape = hnp.array_shapes(min_dims=2, max_dims=2, max_side=10)
    return hnp.arrays(np.int32, shape, elements=st.integers(0, largest))


def overlap_of(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """Worst intersection over union of a true cell with the found one at its middle."""
    worst = 1.0
    for number in range(1, truth.max() + 1):
        cell = truth == number
        values, counts = np.unique(found[cell], return_counts=True)
        other = found == values[counts.argmax()]
        worst = min(worst, float((cell & other).sum() / (cell | other).sum()))
    return worst


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", PARAMS)
def test_finds_exactly_the_discs(kind: str, seed: int) -> None:
    discs = draw_discs((160, 200), count=18, seed=seed)
    inner, outer, foreground = perfect_heads(discs.labels)
    centres = 0.5 * (inner + outer) if kind == "default" else outer
    found = deep_watershed(centres, foreground, params=PARAMS[kind])
    assert found.dtype == np.int32
    assert sorted(np.unique(found)) == list(range(len(discs.radii) + 1))
    # The published thresholds are low, after a blur: cells come out about 2 px wider.
    assert overlap_of(found, discs.labels) > (0.999 if kind == "default" else 0.4)


def test_separates_cells_that_touch() -> None:
    rows, columns = np.mgrid[:40, :60]
    labels = np.zeros((40, 60), np.int32)
    labels[(rows - 20) ** 2 + (columns - 20) ** 2 <= 100] = 1
    labels[(rows - 20) ** 2 + (columns - 39) ** 2 <= 81] = 2
    inner, outer, foreground = perfect_heads(labels)
    found = deep_watershed(0.5 * (inner + outer), foreground)
    assert found.max() == 2
    assert overlap_of(found, labels) > 0.9


def test_watershed_options() -> None:
    labels = np.zeros((60, 60), np.int32)
    labels[0:12, 0:12] = 1
    labels[20:34, 20:34] = 2
    labels[50:53, 50:53] = 3
    inner, outer, foreground = perfect_heads(labels)
    foreground[26:28, 22:24] = 0
    centres = 0.5 * (inner + outer)
    assert deep_watershed(centres, foreground).max() == 2
    assert deep_watershed(centres, foreground, params=WatershedParams(min_area=5)).max() == 3
    inside = deep_watershed(centres, foreground, params=WatershedParams(exclude_border=True))
    np.testing.assert_array_equal(inside, labels == 2)
    with_hole = deep_watershed(centres, foreground, params=WatershedParams(hole_area=0))
    assert np.count_nonzero(with_hole) == np.count_nonzero(inside) + 144 - 4


def test_nothing_there() -> None:
    empty = np.zeros((30, 40), np.float32)
    for params in PARAMS.values():
        found = deep_watershed(empty, empty, params=params)
        assert found.shape == (30, 40)
        assert found.dtype == np.int32
        assert not found.any()


def test_heads_have_to_fit() -> None:
    with pytest.raises(InvalidAxes, match="heads"):
        deep_watershed(np.zeros((3, 4)), np.zeros((3, 5)))


@given(label_images(), st.integers(0, 2**31 - 20))
def test_relabel_keeps_the_partition(labels: NDArray[Any], shift: int) -> None:
    labels = np.where(labels > 0, labels + shift, 0).astype(np.int32)
    compact = relabel(labels)
    assert compact.dtype == np.int32
    count = len(set(labels.ravel().tolist()) - {0})
    assert sorted(set(compact.ravel().tolist()) - {0}) == list(range(1, count + 1))
    pairs = set(zip(labels.ravel().tolist(), compact.ravel().tolist(), strict=True))
    assert len(pairs) == len({old for old, _new in pairs}) == len({new for _old, new in pairs})
    assert all((old == 0) == (new == 0) for old, new in pairs)
    assert sorted(pairs) == sorted(pairs, key=lambda pair: pair[1])


@given(label_images(), st.integers(0, 8))
def test_remove_small_keeps_the_rest(labels: NDArray[Any], least: int) -> None:
    kept = remove_small(labels, least)
    for number in range(1, 10):
        area = np.count_nonzero(labels == number)
        assert np.count_nonzero(kept == number) == (area if area >= least else 0)


@given(label_images(largest=2), st.integers(0, 6))
def test_holes_against_the_definition(labels: NDArray[Any], most: int) -> None:
    expected = labels.copy()
    holes, count = ndimage.label(labels == 0)
    for number in range(1, count + 1):
        hole = holes == number
        around = ndimage.binary_dilation(hole) & ~hole
        owners = set(labels[around].tolist())
        at_border = np.pad(hole, 1)[1:-1, 1:-1].any() and _touches(hole)
        if hole.sum() <= most and len(owners) == 1 and not at_border:
            expected[hole] = owners.pop()
    np.testing.assert_array_equal(fill_label_holes(labels, most), expected)


def _touches(region: NDArray[np.bool_]) -> bool:
    return bool(region[[0, -1]].any() or region[:, [0, -1]].any())


@given(label_images())
def test_remove_border(labels: NDArray[Any]) -> None:
    kept = remove_border(labels)
    for number in range(1, 10):
        cell = labels == number
        np.testing.assert_array_equal(kept == number, cell & ~_touches(cell))


@given(label_images(), st.integers(1, 4))
def test_resize_there_and_back(labels: NDArray[Any], factor: int) -> None:
    shape = (labels.shape[0], labels.shape[1])
    larger = resize_labels(labels, (shape[0] * factor, shape[1] * factor))
    np.testing.assert_array_equal(larger, np.kron(labels, np.ones((factor, factor), np.int32)))
    np.testing.assert_array_equal(resize_labels(larger, shape), labels)


def test_label_image_is_int32_and_checked() -> None:
    image = LabelImage(np.ones((3, 4), np.uint16), 0.5)
    assert image.data.dtype == np.int32
    assert LabelImage(np.ones((2, 3, 4), np.int32), axes="TYX").mpp is None
    with pytest.raises(InvalidAxes):
        LabelImage(np.ones((3, 4, 5), np.int32))
    with pytest.raises(InvalidAxes):
        LabelImage(np.ones((3, 4), np.int32), axes="XY")


def test_cells_of_which_the_network_is_not_sure_are_removed() -> None:
    labels = np.array([[1, 1, 0, 2, 2, 3]], np.int32)
    interior = np.array([[0.9, 0.8, 0.1, 0.9, 0.4, 0.75]], np.float32)
    assert remove_faint(labels, interior, 0.7).tolist() == [[1, 1, 0, 0, 0, 3]]
    assert remove_faint(labels, interior, 0.0).tolist() == labels.tolist()
