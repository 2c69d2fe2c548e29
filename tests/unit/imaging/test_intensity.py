from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage
from skimage import exposure

from kiosk_tasks.errors import UnusableImage
from kiosk_tasks.imaging.intensity import (
    check_pixels,
    equalise_adaptively,
    normalise_percentiles,
    standardise,
)
from tests.synthetic import draw_nuclei

DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "i8", "f4", "f8", "?"]


def planes() -> st.SearchStrategy[NDArray[Any]]:
    return st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
            elements=st.floats(-1000, 1000, width=32) if dtype in ("f4", "f8") else None,
        )
    )


@given(planes(), st.floats(0, 50), st.floats(50, 100))
def test_percentiles_are_exact(plane: NDArray[Any], low: float, high: float) -> None:
    wide = plane.astype(np.float64)
    floor, ceiling = np.percentile(wide, [low, high])
    result = normalise_percentiles(plane, low=low, high=high, clip=(-1e9, 1e9))
    assert result.dtype == np.float32
    assert result.shape == plane.shape
    if ceiling - floor > 1e-3 * np.abs(wide).max():
        expected = (wide - floor) / (ceiling - floor)
        np.testing.assert_allclose(result, expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "f4", "f8"])
def test_follows_numpy_on_an_image(dtype: str) -> None:
    image, _truth = draw_nuclei()
    plane = (image // 16 if dtype == "u1" else image).astype(dtype)
    floor, ceiling = np.percentile(plane.astype(np.float64), [1.0, 99.8])
    expected = np.clip((plane.astype(np.float64) - floor) / (ceiling - floor), -0.25, 1.6)
    np.testing.assert_allclose(normalise_percentiles(plane), expected, atol=1e-5)


@pytest.mark.parametrize("offset", [0, 1 << 20, (1 << 32) - 300])
def test_integers_far_from_zero(offset: int) -> None:
    plane = np.arange(256, dtype=np.uint32).reshape(16, 16) + np.uint32(offset)
    result = normalise_percentiles(plane, low=0, high=100)
    np.testing.assert_allclose(result, np.linspace(0, 1, 256).reshape(16, 16), atol=1e-6)


def test_a_few_bright_cells_are_not_lost() -> None:
    plane = np.zeros((100, 100), np.uint16)
    plane[3, 4:6] = 500
    assert normalise_percentiles(plane).max() == 1
    assert not normalise_percentiles(np.full((5, 5), 7)).any()


def test_input_stays_as_it_was() -> None:
    plane = draw_nuclei()[0].astype(np.float32)
    before = plane.copy()
    normalise_percentiles(plane)
    equalise_adaptively(plane)
    np.testing.assert_array_equal(plane, before)


@pytest.mark.parametrize("kernel", [64, 128])
def test_clahe_evens_out_the_background(kernel: int) -> None:
    image, truth = draw_nuclei((256, 256), count=30)
    shaded = image.astype(np.float32) * np.linspace(0.2, 1, 256, dtype=np.float32)
    result = equalise_adaptively(shaded, kernel=kernel)
    assert result.dtype == np.float32
    assert 0 <= result.min() < result.max() <= 1
    cells = truth > 0
    ratios = [p[cells & side].mean() for p in (shaded, result) for side in _halves(cells)]
    assert ratios[2] / ratios[3] > ratios[0] / ratios[1]
    assert not equalise_adaptively(np.full((64, 64), 3)).any()


@pytest.mark.parametrize("shape", [(300, 200), (64, 65), (130, 1), (9, 7), (1, 3)])
@pytest.mark.parametrize("kernel", [64, 128, 7])
def test_clahe_is_that_of_scikit_image(shape: tuple[int, int], kernel: int) -> None:
    rng = np.random.default_rng(kernel)
    library: Any = exposure
    noise = ndimage.gaussian_filter(rng.random(shape), 2).astype(np.float32)
    noise = (noise - noise.min()) / np.ptp(noise)
    for plane in (noise, np.round(noise * 5) / 5, rng.integers(0, 9, shape) / np.float32(8)):
        scaled = ((plane - plane.min()) / np.ptp(plane)).astype(np.float32)
        expected = library.equalize_adapthist(scaled, kernel_size=kernel)
        np.testing.assert_array_equal(equalise_adaptively(scaled, kernel=kernel), expected)


def _halves(like: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    left = np.zeros(like.shape, np.bool_)
    left[:, : like.shape[1] // 2] = True
    return left, ~left


def test_pixels_in_which_nothing_can_be_found() -> None:
    plane = np.ones((20, 20), np.float32)
    with pytest.raises(UnusableImage, match=r"every pixel of cells\.tif has the value 1"):
        check_pixels(plane, "cells.tif")
    plane[0, :12] = [np.nan] * 6 + [np.inf] * 3 + [-np.inf] * 3
    with pytest.raises(UnusableImage, match=r"cells\.tif has 12 pixels that are NaN or infinite"):
        check_pixels(plane, "cells.tif")
    with pytest.raises(UnusableImage, match="no pixels"):
        check_pixels(plane[:0], "cells.tif")
    with pytest.raises(UnusableImage, match="every pixel"):
        check_pixels(np.ones((3, 3), np.bool_), "cells.tif")
    check_pixels(draw_nuclei()[0], "cells.tif")


def test_standardised_planes_have_mean_0_and_deviation_1() -> None:
    plane = np.array([[1, 2], [3, 6]], np.uint16)  # mean 3, deviation √3.5
    expected = np.array([[-2, -1], [0, 3]]) / np.sqrt(3.5)
    found = standardise(plane)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert not standardise(np.full((3, 3), 65535, np.uint16)).any()
