"""Runs of cells, and what is added up over them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from kiosk_tasks.errors import InvalidAxes
from kiosk_tasks.imaging.labels import LabelImage, Labels
from kiosk_tasks.imaging.measure import added, cell_sums, measure_cells, table_of
from kiosk_tasks.imaging.outlines import trace
from kiosk_tasks.imaging.runs import runs_of

COLUMNS = ("label", "y", "x", "area_px", "mean_intensity", "touches_border")
LABELS = arrays(
    np.int32, array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.sampled_from([0, 1, 7])
)


@settings(max_examples=100, deadline=None)
@given(labels=LABELS)
def test_runs_are_the_pixels_of_cells_row_by_row(labels: Labels) -> None:
    runs = runs_of(labels)
    drawn = np.zeros(labels.size, np.int32)
    for label, first, last in zip(runs.label, runs.first, runs.last, strict=True):
        assert first // labels.shape[1] == last // labels.shape[1]
        assert not drawn[first : last + 1].any()
        drawn[first : last + 1] = label
    np.testing.assert_array_equal(drawn.reshape(labels.shape), labels)
    beside = (runs.first[1:] == runs.last[:-1] + 1) & (runs.row[1:] == runs.row[:-1])
    assert (runs.label[1:] != runs.label[:-1])[beside].all(), "a run is cut"


@settings(max_examples=100, deadline=None)
@given(labels=LABELS, large=st.booleans(), data=st.data())
def test_sums_of_parts_are_the_sums_of_the_whole(
    labels: Labels, large: bool, data: st.DataObject
) -> None:
    labels = labels * (2**28 if large else 1)
    rng = np.random.default_rng(0)
    plane = rng.integers(0, 60_000, labels.shape).astype(np.uint16)
    cuts = [data.draw(st.integers(0, side)) for side in labels.shape]
    parts = []
    for rows, columns in product(*([slice(0, c), slice(c, None)] for c in cuts)):
        part, pixels = labels[rows, columns], plane[rows, columns]
        if part.size:
            origin = (rows.start, columns.start)
            shape = (labels.shape[0], labels.shape[1])
            parts.append(cell_sums(runs_of(part), pixels, origin=origin, whole=shape))
    table = table_of(added(parts), mpp=None)
    whole = measure_cells(LabelImage(labels), plane)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(table, name), getattr(whole, name), err_msg=name)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int32, np.uint64, np.float32, np.float64])
def test_intensities_are_added_pixel_by_pixel(dtype: type[np.generic]) -> None:
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 30, (20, 30)), np.ones((5, 7))).astype(np.int32)
    plane = (rng.random(labels.shape) * 1e3).astype(dtype)
    table = measure_cells(LabelImage(labels), plane)
    sums = np.bincount(labels.ravel(), plane.ravel().astype(np.float64))[table.label]
    np.testing.assert_array_equal(table.mean_intensity, sums / table.area_px)


def test_outlines_of_a_part_are_moved_to_its_place() -> None:
    labels = np.zeros((9, 9), np.int32)
    labels[4:6, 5:8] = 3
    (whole,) = trace(labels)
    (part,) = trace(labels[3:, 2:]).moved(3, 2)
    assert whole.polygons[0][0].tolist() == part.polygons[0][0].tolist()
    (again,) = trace(labels, runs=runs_of(labels))
    assert again.polygons[0][0].tolist() == whole.polygons[0][0].tolist()


def test_a_movie_has_no_runs() -> None:
    with pytest.raises(InvalidAxes, match="no plane"):
        runs_of(np.zeros((2, 3, 3), np.int32))
