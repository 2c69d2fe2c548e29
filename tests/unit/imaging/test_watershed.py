"""The watershed by connected parts gives what scikit-image's of the whole plane gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage import segmentation

from kiosk_tasks.imaging import _watershed
from kiosk_tasks.imaging._watershed import watershed
from kiosk_tasks.imaging.labels import WatershedParams, deep_watershed
from tests.plain_watershed import plain_deep_watershed

sides = st.one_of(st.integers(1, 12), st.integers(13, 60))


def plain(landscape: Any, markers: Any, *, mask: Any) -> NDArray[np.integer]:
    library: Any = segmentation
    found: NDArray[np.integer] = library.watershed(landscape, markers, mask=mask)
    return found


@given(sides, sides, st.integers(0, 10**6), st.sampled_from([0, 2, 5, 30]), st.booleans())
@settings(max_examples=100, deadline=None)
def test_equals_scikit_image(
    rows: int, columns: int, seed: int, levels: int, connected: bool
) -> None:
    rng = np.random.default_rng(seed)
    plane = rng.random((rows, columns)).astype(np.float32) - np.float32(0.3)
    mask = rng.random((rows, columns)) < (0.8 if connected else 0.55)
    markers, _ = ndimage.label(rng.random((rows, columns)) < 0.06)
    if levels:
        plane = np.round(plane * levels) / levels
    found = watershed(plane, markers, mask=mask)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, plain(plane, markers, mask=mask))


def test_parts_are_flooded_alone_unless_markers_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = []
    flood = _watershed._flood

    def counted(*arguments: Any) -> Any:
        groups.append(len(arguments[-1]))
        return flood(*arguments)

    monkeypatch.setattr(_watershed, "_flood", counted)
    mask = np.zeros((9, 30), np.bool_)
    mask[:, :8] = mask[:, 10:18] = mask[:, 20:] = True
    markers = np.zeros(mask.shape, np.int32)
    markers[4, [1, 6, 11, 16, 25]] = 1, 2, 3, 4, 5
    slope = np.arange(mask.size, dtype=np.float32).reshape(mask.shape)
    for plane, expected in ((slope, 2), (np.zeros_like(slope), 1)):
        found = watershed(plane, markers, mask=mask)
        np.testing.assert_array_equal(found, plain(plane, markers, mask=mask))
        assert groups.pop() == expected
    markers[markers > 4] = markers[markers == 2] = markers[markers == 4] = 0
    watershed(slope, markers, mask=mask)
    assert not groups  # one marker in a part: no flood at all


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_heads_give_the_plain_labels(data: st.DataObject) -> None:
    rows, columns, seed = data.draw(sides), data.draw(sides), data.draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    smooth = data.draw(st.sampled_from([0.0, 1.0, 3.0]))
    scale = data.draw(st.sampled_from([1e-3, 1.0, 50.0, 1e30]))
    offset = data.draw(st.sampled_from([-2.0, -0.5, 0.0]))
    heads = [ndimage.gaussian_filter(rng.random((rows, columns)), smooth) for _head in range(2)]
    heads = [(head - head.min()) / (np.ptp(head) or 1) * scale + offset for head in heads]
    if data.draw(st.booleans()):  # plateaus
        heads = [np.minimum(head, np.quantile(head, 0.8)) for head in heads]
    maxima, interior = (np.asarray(head, np.float32) for head in heads)
    levels = data.draw(st.sampled_from(["all", "half", "few"]))
    if levels == "few":
        maxima, interior = (
            (np.round(h / np.float32(scale) * 6) / 6).astype(np.float32) for h in (maxima, interior)
        )
    elif levels == "half" and scale < 1e4:
        maxima, interior = (h.astype(np.float16).astype(np.float32) for h in (maxima, interior))
    params = WatershedParams(
        radius=data.draw(st.sampled_from([1, 2, 10])),
        maxima_threshold=data.draw(st.sampled_from([-np.inf, 0.0, 0.25])),
        maxima_depth=data.draw(st.sampled_from([0.05, 0.5, 1e4])),
        maxima_smooth=data.draw(st.sampled_from([0.0, 1.0])),
        interior_threshold=data.draw(st.sampled_from([0.01, 0.5])),
        interior_smooth=data.draw(st.sampled_from([0.0, 2.0])),
        flood=data.draw(st.sampled_from(["maxima", "interior"])),
        min_area=data.draw(st.sampled_from([0, 5])),
        hole_area=data.draw(st.sampled_from([0, 3])),
        exclude_border=data.draw(st.booleans()),
    )
    found = deep_watershed(maxima, interior, params=params)
    expected = plain_deep_watershed(maxima, interior, params=params)
    np.testing.assert_array_equal(found, expected)
