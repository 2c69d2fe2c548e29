"""Values wait between links and come back as they were; nothing in a bucket can run code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kiosk_tasks.errors import InternalError, MissingObject
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.imaging.tiling import TileLayout
from kiosk_tasks.imaging.values import Heads, Scale, Segmentation, Tiles
from kiosk_tasks.storage.memory import MemoryStorage
from kiosk_tasks.workspace import Workspace, decode, encode


@dataclass(frozen=True)
class Pair:
    first: Any
    second: Any
    derived: int = field(init=False, default=7)


class Named(NamedTuple):
    y: int
    x: int


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and one.tobytes() == other.tobytes()
        )
    if type(one) is not type(other):
        return False
    if isinstance(one, Pair):
        return same(one.first, other.first) and same(one.second, other.second)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(endianness="?"),
    hnp.unsigned_integer_dtypes(endianness="?"),
    hnp.floating_dtypes(sizes=(16, 32, 64), endianness="?"),
    hnp.complex_number_dtypes(sizes=(64, 128)),
    hnp.unicode_string_dtypes(min_len=1, max_len=4),
)
ARRAYS = hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text() | st.integers() | st.tuples(st.integers()), inner, max_size=3),
        st.builds(Pair, inner, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_what_comes_back_is_what_was_put(value: Any) -> None:
    assert same(decode(encode(value)), value)


def test_values_of_a_segmentation(rng: np.random.Generator) -> None:
    image = Image(rng.integers(0, 9, (5, 6)).astype(np.uint16), "YX", 0.5)
    plane = rng.random((5, 6, 1), np.float32)
    tiles = Tiles(plane, TileLayout((5, 6), 4, 1), Scale(1.0, measured=True), image)
    again = decode(encode(tiles))
    assert (again.layout, again.scale) == (tiles.layout, tiles.scale)
    assert (again.image.axes, again.image.mpp) == ("YX", 0.5)
    np.testing.assert_array_equal(again.plane, plane)
    heads = decode(encode(Heads({"inner": plane, "outer": plane * 2}, tiles.scale, image)))
    np.testing.assert_array_equal(heads.planes["outer"], plane * 2)
    result = decode(encode(Segmentation(LabelImage(np.eye(5, dtype=np.int32)), image)))
    np.testing.assert_array_equal(result.labels.data, np.eye(5))


def test_arrays_that_are_views_come_back_whole() -> None:
    array = np.arange(24).reshape(4, 6)[::2, ::-1].T
    again = decode(encode(array))
    np.testing.assert_array_equal(again, array)
    assert not again.flags.writeable


def test_numpy_scalars_and_named_tuples_become_plain() -> None:
    assert decode(encode((np.float32(0.5), np.int64(3), np.bool_(True)))) == (0.5, 3, True)
    assert decode(encode(Named(1, 2))) == (1, 2)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        b"bytes",
        lambda: None,
        np.array([object()]),
        np.zeros(2, [("y", "f4"), ("x", "f4")]),
        Pair,
        [Pair(1, object())],
    ],
)
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(InternalError, match="cannot wait between two links"):
        encode(value)


def forged(module: str, name: str) -> bytes:
    good = encode(Pair(1, 2))
    tree = good[8 : 8 + int.from_bytes(good[:8], "little")]
    bad = tree.replace(Pair.__module__.encode(), module.encode()).replace(b"Pair", name.encode())
    return len(bad).to_bytes(8, "little") + bad


@pytest.mark.parametrize(
    ("module", "name"),
    [("antigravity", "Pair"), ("os", "system"), ("subprocess", "Popen"), (__name__, "Nobody")],
)
def test_artifact_cannot_name_code(module: str, name: str) -> None:
    with pytest.raises(InternalError, match=f"{module}.{name}"):
        decode(forged(module, name))


def test_artifacts_of_a_job_go_together() -> None:
    workspace = Workspace(MemoryStorage())
    key = workspace.put("one", "predict", 1)
    workspace.put("one", "upload", 2)
    workspace.put("one-more", "predict", 3)
    assert workspace.get(key) == 1
    assert len(workspace.keys()) == 3
    workspace.clear("one")
    assert workspace.keys() == ["one-more/predict.artifact"]
    workspace.clear("one")
    with pytest.raises(MissingObject):
        workspace.get(key)
