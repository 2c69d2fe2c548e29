from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage
from skimage import morphology

from kiosk_tasks.imaging import _reconstruction, maxima
from kiosk_tasks.imaging._pixel_sets import footprint, grown, pack
from kiosk_tasks.imaging.maxima import h_maxima
from tests.synthetic import draw_discs, perfect_heads


def reference(plane: NDArray[np.float32], h: float, radius: int) -> NDArray[np.bool_]:
    library: Any = morphology
    footprint = np.ones((3, 3)) if radius == 1 else library.disk(radius)
    found: NDArray[np.bool_] = library.h_maxima(plane, h, footprint) > 0
    return found


@pytest.fixture(autouse=True, params=["as it is", "never flooded for being small"])
def _small(request: pytest.FixtureRequest) -> Iterator[None]:
    """Most planes here are small; those in use are not."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "as it is":
            patch.setattr(maxima, "_SMALL", 0)
        yield


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
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equals_scikit_image_on_plateaus(plane: NDArray[np.float32], radius: int) -> None:
    if np.ptp(plane) >= 0.5:
        np.testing.assert_array_equal(
            h_maxima(plane, 0.5, radius=radius), reference(plane, 0.5, radius)
        )


@pytest.mark.parametrize("radius", [1, 2, 10])
def test_no_size_that_was_chosen_for_speed_matters(
    monkeypatch: pytest.MonkeyPatch, radius: int
) -> None:
    _inner, outer, _foreground = perfect_heads(draw_discs((100, 120)).labels)
    noise = np.random.default_rng(0).normal(0, 0.02, outer.shape)
    plane = (outer + noise).astype(np.float32)
    expected = reference(plane, 0.1, radius)
    for name, value in (("_STRIP", 50), ("_FEW", 0), ("_FEW", 1 << 20), ("_SMALLEST", 128)):
        monkeypatch.setattr(maxima, name, value)
        np.testing.assert_array_equal(h_maxima(plane, 0.1, radius=radius), expected)
    monkeypatch.setattr(maxima, "_WORTH", 0)
    monkeypatch.setattr(maxima, "_TINY", 0)
    for side in (128, 16):  # now the whole plane is flooded, in blocks
        monkeypatch.setattr(_reconstruction, "_BLOCK", side)
        np.testing.assert_array_equal(h_maxima(plane, 0.1, radius=radius), expected)


@pytest.mark.parametrize("radius", [1, 2, 10])
def test_windows_grow_to_the_whole_plane(radius: int, monkeypatch: pytest.MonkeyPatch) -> None:
    y, x = np.mgrid[:150, :170]
    plane = (np.hypot(y - 70, x - 80) / 400 + 0.001 * np.cos(y) * np.cos(x)).astype(np.float32)
    monkeypatch.setattr(maxima, "_WORTH", 1 << 20)
    for sign in (-1, 1):  # a wide hill; a crater, whose rim is higher at the corners
        found = h_maxima(sign * plane, 0.05, radius=radius)
        np.testing.assert_array_equal(found, reference(sign * plane, 0.05, radius))
        assert found.any()
    twins = np.minimum(np.hypot(y - 70, x - 30), np.hypot(y - 70, x - 120) + 1) / -1000
    found = h_maxima(twins.astype(np.float32), 0.05, radius=radius)
    assert np.argwhere(found).tolist() == [[70, 30]]  # the saddle, 45 px away, is not deep enough


@given(st.integers(1, 80), st.integers(1, 200), st.integers(1, 12), st.integers(0, 99))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sets_grow_as_scipy_dilates(rows: int, columns: int, radius: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).random((2, rows, columns)) < 0.01
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.bool_)
    for row, reach in zip(kernel, footprint(radius), strict=True):
        row[radius - reach : radius + reach + 1] = True
    wider = grown(pack(pixels), footprint(radius)) & pack(np.ones_like(pixels))
    expected = [ndimage.binary_dilation(part, kernel) for part in pixels]
    np.testing.assert_array_equal(wider, pack(np.array(expected)))


def test_flat_and_empty_planes_have_none() -> None:
    assert not h_maxima(np.ones((5, 6), np.float32), 0.1).any()
    assert h_maxima(np.zeros((0, 6), np.float32), 0.1).shape == (0, 6)


def test_a_plane_with_nan_is_flooded_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    plane = np.random.default_rng(0).random((40, 40)).astype(np.float32)
    plane[20, 20] = np.nan
    dilate, calls = _reconstruction._dilate, iter(range(10_000))

    def counted(*arguments: Any) -> Any:
        assert next(calls, None) is not None, "it goes on for ever"
        return dilate(*arguments)

    monkeypatch.setattr(_reconstruction, "_dilate", counted)
    _reconstruction.reconstruct(plane - np.float32(0.1), plane, 1)
