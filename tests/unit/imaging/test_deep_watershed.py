"""Deep watershed gives the labels of scikit-image's functions put together plainly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from kiosk_tasks.imaging.labels import WatershedParams, deep_watershed
from tests.plain_watershed import draw_heads, plain_deep_watershed

PARAMS = {
    "bundled model": WatershedParams(),
    "sure and whole": WatershedParams(least_interior=0.9, exclude_border=True),
    "nuclear": WatershedParams.nuclear(),
    "mesmer": WatershedParams.mesmer("whole-cell"),
    "mesmer nuclear": WatershedParams.mesmer("nuclear"),
}


@pytest.mark.parametrize("kind", PARAMS)
@pytest.mark.parametrize(("side", "seed"), [(97, 1), (128, 2), (200, 3), (256, 4)])
def test_equals_the_plain_composition(kind: str, side: int, seed: int) -> None:
    params = PARAMS[kind]
    inner, outer, foreground, count = draw_heads(side, seed=seed)
    maxima = 0.5 * (inner + outer) if params.flood == "maxima" else inner
    found = deep_watershed(maxima, foreground, params=params)
    plain = plain_deep_watershed(maxima, foreground, params=params)
    np.testing.assert_array_equal(found, plain)
    if not params.exclude_border:
        assert found.max() == pytest.approx(count, abs=max(4, 0.15 * count))


def test_holes_and_crumbs() -> None:
    inner, outer, foreground, _count = draw_heads(160, seed=5)
    rng = np.random.default_rng(5)
    foreground = np.where(rng.random(foreground.shape) < 0.04, 0, foreground).astype(np.float32)
    params = dataclasses.replace(WatershedParams(), min_area=250, hole_area=4)
    found = deep_watershed(0.5 * (inner + outer), foreground, params=params)
    plain = plain_deep_watershed(0.5 * (inner + outer), foreground, params=params)
    np.testing.assert_array_equal(found, plain)
    untidy = dataclasses.replace(params, min_area=0, hole_area=0)
    raw = deep_watershed(0.5 * (inner + outer), foreground, params=untidy)
    assert raw.max() > found.max()
    assert np.count_nonzero((raw == 0) & (found > 0)) > 20
