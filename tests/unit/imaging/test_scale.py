from __future__ import annotations

import numpy as np
import pytest

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.imaging.labels import relabel
from kiosk_tasks.imaging.scale import (
    agreed_diameter,
    median_diameter,
    resize,
    resize_to,
    scale_factor,
    scaled_shape,
)
from tests.synthetic import draw_discs


@pytest.mark.parametrize("factor", [0.1, 0.37, 0.5, 1.3, 2.0, 10.0])
def test_resize_keeps_a_gradient_where_it_is(factor: float) -> None:
    plane = np.add.outer(np.arange(60.0), 2 * np.arange(80.0))
    resized = resize(plane, factor)
    assert resized.dtype == np.float32
    assert resized.shape == scaled_shape((60, 80), factor)
    y, x = (
        (np.arange(n) + 0.5) * old / n - 0.5 for n, old in zip(resized.shape, (60, 80), strict=True)
    )
    inner = tuple(slice(n // 5 + 1, -n // 5) for n in resized.shape)
    np.testing.assert_allclose(resized[inner], np.add.outer(y, 2 * x)[inner], atol=0.15)


def test_shrinking_does_not_alias() -> None:
    stripes = np.tile([0.0, 1.0], (64, 32)).astype(np.float32)
    small = resize(stripes, 0.25)
    np.testing.assert_allclose(small[:, 1:-1], 0.5, atol=0.05)


def test_channels_and_identity() -> None:
    plane = np.random.default_rng(0).random((20, 30, 2))
    resized = resize(plane, 0.5)
    assert resized.shape == (10, 15, 2)
    np.testing.assert_array_equal(resized[..., 1], resize(plane[..., 1], 0.5))
    np.testing.assert_array_equal(resize(plane, 1.0), plane.astype(np.float32))
    assert scaled_shape((3, 200), 0.1) == (1, 20)


def test_factor() -> None:
    assert scale_factor(0.5, 1.0) == 0.5
    assert scale_factor(None, 0.65) == 1.0
    assert scale_factor(0.65, None) == 1.0
    assert scale_factor(6.5, 0.65) == pytest.approx(10)
    for mpp in (0.01, 7.0):
        with pytest.raises(InvalidParameter, match=r"0\.065 to 6\.5.*mpp"):
            scale_factor(mpp, 0.65)


def test_median_diameter_is_that_of_the_discs() -> None:
    discs = draw_discs((300, 300), count=30, radius=(9.0, 9.0), seed=2)
    assert median_diameter(discs.labels) == pytest.approx(18, abs=0.3)
    cut_through = relabel(discs.labels[:, int(discs.centres[0, 1]) :])
    assert median_diameter(cut_through) == pytest.approx(18, abs=0.3)
    assert median_diameter(np.zeros((5, 5), np.int32)) is None


def test_cells_at_the_border_count_where_there_are_few_others() -> None:
    labels = np.zeros((50, 50), np.int32)
    labels[:20, :20] = 1
    labels[30:34, 30:34] = 2
    assert median_diameter(labels) == pytest.approx(2 * np.sqrt((400 + 16) / 2 / np.pi))


@pytest.mark.parametrize(
    ("estimates", "expected"),
    [
        ([30.0], 30.0),
        ([30.0, 31.0, 80.0], 30.5),
        ([13.0, 51.0, 139.0, 140.0], 139.5),  # fragments at the two finest scales
        ([22.0, 80.0], 22.0),  # no agreement: the finest view counts
    ],
)
def test_the_diameter_on_which_scales_agree(estimates: list[float], expected: float) -> None:
    assert agreed_diameter(estimates) == pytest.approx(expected, rel=0.01)


def test_no_estimate_is_no_diameter() -> None:
    assert agreed_diameter([]) is None


def test_resize_to_a_shape_may_change_the_proportions() -> None:
    plane = np.repeat(np.array([[0, 0, 8, 8]], np.uint16), 6, axis=0)
    resized = resize_to(plane, (3, 2))
    assert resized.dtype == np.float32
    assert resized.shape == (3, 2)
    assert (resized[:, 1] - resized[:, 0] > 4).all()
    np.testing.assert_allclose(resized.sum(axis=1), 8, atol=1e-4)
    assert resize_to(plane, (6, 4)).tolist() == plane.tolist()
    both = np.stack([plane, 2 * plane], axis=-1)
    np.testing.assert_allclose(resize_to(both, (3, 2))[..., 1], 2 * resized, atol=1e-4)
