from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage
from skimage import morphology

from kiosk_tasks.imaging import maxima
from kiosk_tasks.imaging.maxima import h_maxima
from tests.synthetic import draw_discs, perfect_heads


def reference(plane: NDArray[np.float32], h: float, radius: int) -> NDArray[np.bool_]:
    library: Any = morphology
    footprint = np.ones((3, 3)) if radius == 1 else library.disk(radius)
    found: NDArray[np.bool_] = library.h_maxima(plane, h, footprint) > 0
    return found


@pytest.mark.parametrize("radius", [1, 2, 5, 10])
@pytest.mark.parametrize("sigma", [0.0, 1.5, 4.0])
@pytest.mark.parametrize("shape", [(90, 150), (200, 131)])
def test_equals_scikit_image(radius: int, sigma: float, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(radius)
    plane = ndimage.gaussian_filter(rng.random(shape).astype(np.float32), sigma)
    plane = (plane - plane.min()) / np.ptp(plane)
    for h in (0.05, 0.3):
        expected = reference(plane, h, radius)
        np.testing.assert_array_equal(h_maxima(plane, h, radius=radius), expected)
    in_steps = np.round(plane * 8).astype(np.float32) / 8
    expected = reference(in_steps, 0.25, radius)
    np.testing.assert_array_equal(h_maxima(in_steps, 0.25, radius=radius), expected)


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=20),
        elements=st.integers(-3, 5).map(lambda level: level / 4),
    ),
    st.sampled_from([1, 2, 3]),
)
def test_equals_scikit_image_on_plateaus(plane: NDArray[np.float32], radius: int) -> None:
    if np.ptp(plane) >= 0.5:
        np.testing.assert_array_equal(
            h_maxima(plane, 0.5, radius=radius), reference(plane, 0.5, radius)
        )


def test_the_size_of_blocks_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    _inner, outer, _foreground = perfect_heads(draw_discs((100, 120)).labels)
    whole = h_maxima(outer, 0.1, radius=3)
    monkeypatch.setattr(maxima, "_BLOCK", 16)
    np.testing.assert_array_equal(h_maxima(outer, 0.1, radius=3), whole)


def test_flat_and_empty_planes_have_none() -> None:
    assert not h_maxima(np.ones((5, 6), np.float32), 0.1).any()
    assert h_maxima(np.zeros((0, 6), np.float32), 0.1).shape == (0, 6)
