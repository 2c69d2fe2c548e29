from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiosk_tasks.errors import InvalidParameter, ModelMismatch
from kiosk_tasks.imaging.stitching import Stitcher, stitch
from kiosk_tasks.imaging.tiling import TileCutter, TileLayout, cut, iter_tiles


@st.composite
def layouts(draw: st.DrawFn) -> TileLayout:
    tile = draw(st.integers(1, 24))
    overlap = draw(st.integers(0, tile - 1))
    side = st.integers(1, 70 if tile - overlap > 2 else 30)
    return TileLayout((draw(side), draw(side)), tile, overlap)


@given(layouts(), st.integers(1, 3), st.integers(0, 99))
def test_stitch_undoes_cut(layout: TileLayout, channels: int, seed: int) -> None:
    plane = np.random.default_rng(seed).normal(size=(*layout.shape, channels))
    tiles, found = cut(plane, tile=layout.tile, overlap=layout.overlap)
    assert found == layout
    assert tiles.shape == (len(layout), layout.tile, layout.tile, channels)
    assert tiles.dtype == plane.dtype
    back = stitch(tiles, layout)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, plane, rtol=1e-5, atol=1e-5)


@given(layouts())
def test_weights_sum_to_one(layout: TileLayout) -> None:
    height, width = (max(length, layout.tile) for length in layout.shape)
    total = np.zeros((height, width))
    for index, (y, x) in enumerate(layout.origins):
        total[y : y + layout.tile, x : x + layout.tile] += layout.weights(index)
    np.testing.assert_allclose(total, 1, atol=1e-5)


@given(layouts())
def test_neighbours_overlap_and_the_plane_is_covered(layout: TileLayout) -> None:
    for origins, length in zip((layout.rows, layout.columns), layout.shape, strict=True):
        assert origins[0] == 0
        assert origins[-1] + layout.tile == max(length, layout.tile)
        steps = np.diff(origins)
        assert (steps > 0).all()
        assert (steps <= layout.tile - layout.overlap).all()


@given(layouts())
def test_layout_travels_as_json(layout: TileLayout) -> None:
    assert TileLayout(**json.loads(json.dumps(asdict(layout)))) == layout


def test_batches_are_cut_and_blended_as_they_come() -> None:
    plane = np.random.default_rng(0).normal(size=(100, 130, 2)).astype(np.float32)
    layout = TileLayout((100, 130), 32, 8)
    batches = iter_tiles(plane, layout, batch=3)
    stitcher = Stitcher(layout)
    sizes = []
    for tiles in batches:
        assert tiles.flags.c_contiguous
        sizes.append(len(tiles))
        stitcher.add(tiles)
    assert sum(sizes) == len(layout)
    assert set(sizes[:-1]) == {3}
    np.testing.assert_allclose(stitcher.plane(), plane, atol=1e-5)


def test_a_small_plane_is_reflected() -> None:
    plane = np.arange(12).reshape(3, 4, 1)
    (tiles, layout) = cut(plane, tile=8, overlap=2)
    assert len(layout) == 1
    expected = np.pad(plane[..., 0], ((0, 5), (0, 4)), mode="reflect")
    np.testing.assert_array_equal(tiles[0, ..., 0], expected)


def test_seams_do_not_show() -> None:
    layout = TileLayout((64, 64), 32, 16)
    tiles = np.broadcast_to(
        np.arange(len(layout), dtype=np.float32)[:, None, None, None], (len(layout), 32, 32, 1)
    )
    plane = stitch(tiles, layout)[..., 0]
    assert np.abs(np.diff(plane, axis=1)).max() < 0.3
    assert np.abs(np.diff(plane, axis=0)).max() < 0.7


@pytest.mark.parametrize(("tile", "overlap"), [(8, 8), (8, -1), (0, 0)])
def test_overlap_has_to_fit(tile: int, overlap: int) -> None:
    with pytest.raises(InvalidParameter, match="overlap"):
        TileLayout((10, 10), tile, overlap)


def test_an_empty_plane_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="nothing to cut"):
        cut(np.zeros((0, 4, 1)), tile=4, overlap=1)


def test_replies_that_do_not_fit() -> None:
    layout = TileLayout((10, 10), 8, 2)
    with pytest.raises(ModelMismatch, match="0 of 4"):
        Stitcher(layout).plane()
    with pytest.raises(ModelMismatch, match="3 of 4"):
        stitch(np.zeros((3, 8, 8, 1)), layout)
    with pytest.raises(ModelMismatch, match="more than 4"):
        stitch(np.zeros((5, 8, 8, 1)), layout)
    with pytest.raises(ModelMismatch, match="expected"):
        stitch(np.zeros((4, 8, 7, 1)), layout)
    stitcher = Stitcher(layout)
    stitcher.add(np.zeros((1, 8, 8, 1)))
    with pytest.raises(ModelMismatch, match="channels"):
        stitcher.add(np.zeros((1, 8, 8, 2)))


@given(layouts(), st.integers(1, 3), st.integers(0, 99))
def test_stitching_adds_every_tile_times_its_weight(
    layout: TileLayout, channels: int, seed: int
) -> None:
    side, shape = layout.tile, layout.shape
    tiles = np.random.default_rng(seed).normal(size=(len(layout), side, side, channels))
    tiles = tiles.astype(np.float32)
    plain = np.zeros((*shape, channels), np.float32)
    for index, (y, x) in enumerate(layout.origins):
        target = plain[y : y + side, x : x + side]
        height, width = target.shape[:2]
        target += (tiles[index] * layout.weights(index)[..., np.newaxis])[:height, :width]
    assert stitch(tiles, layout).tobytes() == plain.tobytes()


def test_planes_share_batches_and_keep_their_tiles() -> None:
    planes = [np.full((20, 20, 1), number, np.float32) for number in range(5)]
    layout, cutter, found = TileLayout((20, 20), 16, 4), TileCutter(), []
    for plane in planes:
        found += list(cutter.cut(plane, layout, batch=6))
    found += list(cutter.rest())
    assert [len(batch) for batch in found] == [6, 6, 6, 2]
    tiles = np.concatenate(found)
    assert tiles[:, 0, 0, 0].tolist() == [number for number in range(5) for _ in range(4)]


def test_tiles_of_other_shapes_or_dtypes_do_not_share_a_batch() -> None:
    cutter, found = TileCutter(), []
    for side, channels, dtype in ((8, 1, "f4"), (8, 2, "f4"), (16, 2, "f4"), (16, 2, "f8")):
        plane = np.zeros((8, 8, channels), dtype)
        found += list(cutter.cut(plane, TileLayout((8, 8), side, 2), batch=9))
    found += list(cutter.rest())
    assert [(batch.shape, batch.dtype.str) for batch in found] == [
        ((1, 8, 8, 1), "<f4"),
        ((1, 8, 8, 2), "<f4"),
        ((1, 16, 16, 2), "<f4"),
        ((1, 16, 16, 2), "<f8"),
    ]
