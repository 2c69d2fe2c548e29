from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.values import Heads, Scale
from kiosk_tasks.ports import Signature, TensorSpec
from kiosk_tasks.segmenting.heads import (
    Compartment,
    channels_of,
    edge_of,
    interior_of,
    is_ours,
    multiplex_heads,
    roles_of,
)
from kiosk_tasks.segmenting.labelling import label_cells, needed_outputs
from tests.fake_models import FakeModels, deepcell


def heads(**channels: int) -> Heads:
    """Heads whose planes hold 10 × their place + the channel."""
    planes = {
        name: (np.full((3, 4, count), 10 * place) + np.arange(count)).astype(np.float32)
        for place, (name, count) in enumerate(channels.items())
    }
    return Heads(planes, Scale(1.0, measured=True), Image(np.zeros((3, 4)), "YX"))


@pytest.mark.parametrize(
    ("channels", "inner", "outer", "classes"),
    [
        ({"semantic_0": 1, "semantic_1": 1, "semantic_2": 3}, *("semantic_0", "semantic_1"), 2),
        ({"semantic_head_0": 1, "semantic_head_1": 4}, "semantic_head_0", None, 1),
        ({"prediction": 1, "prediction_1": 3}, "prediction", None, 1),
        ({"head_10": 1, "head_2": 1}, "head_2", "head_10", None),
        ({"pixelwise_interior": 3, "inner_distance": 1}, "inner_distance", None, 0),
        ({"outer_distance": 1, "inner_distance": 1}, "inner_distance", "outer_distance", None),
        ({"a_outer": 1, "b": 1}, "b", "a_outer", None),
    ],
)
def test_heads_are_known_by_name_order_and_channels(
    channels: dict[str, int], inner: str, outer: str | None, classes: int | None
) -> None:
    expected = {"inner distance": inner}
    if outer is not None:
        expected["outer distance"] = outer
    if classes is not None:
        expected["pixelwise classes"] = list(channels)[classes]
    assert roles_of(channels) == expected


def test_the_interior_of_each_number_of_classes() -> None:
    planes = heads(one=1, two=2, three=3, four=4).planes
    inside = [float(interior_of(plane)[0, 0]) % 10 for plane in planes.values()]
    assert inside == [0, 1, 1, 2]
    edges = [float(edge_of(plane)[0, 0]) for plane in planes.values()]
    assert edges == [0, 0, 20, 30 + 31]


def test_foreground_is_ours() -> None:
    assert is_ours(["inner_distance", "foreground"])
    assert not is_ours(["inner_distance", "outer_distance"])
    assert roles_of({"foreground": 1, "inner_distance": 1, "outer_distance": 1}) == {
        "foreground": "foreground",
        "inner distance": "inner_distance",
        "outer distance": "outer_distance",
    }


@pytest.mark.parametrize(
    "names",
    [
        ("whole_cell_inner_distance", "whole_cell_pixelwise", "nuclear_inner", "nuclear_pixelwise"),
        ("semantic_0", "semantic_1", "semantic_2", "semantic_3"),
        ("semantic_head", "semantic_head_1", "semantic_head_2", "semantic_head_10"),
    ],
)
def test_multiplex_heads(names: tuple[str, ...]) -> None:
    given = heads(**dict(zip(names, (1, 3, 1, 3), strict=True)))
    found = multiplex_heads(given)
    values = {part: [float(p[0, 0]) for p in planes] for part, planes in found.items()}
    assert values == {"whole-cell": [0, 11], "nuclear": [20, 31]}
    assert all(plane.shape == (3, 4) for planes in found.values() for plane in planes)


@pytest.mark.parametrize(
    ("channels", "missing"),
    [
        ({"semantic_0": 1, "semantic_1": 3}, "nuclear inner distance and nuclear pixelwise"),
        ({"semantic_0": 3, "semantic_1": 3, "semantic_2": 1}, "nuclear inner distance"),
        ({"nuclear_inner": 1, "nuclear_pixelwise": 3}, "whole-cell inner distance"),
        ({"image": 7}, "whole-cell inner distance and nuclear inner distance"),
    ],
)
def test_missing_multiplex_heads_are_named(channels: dict[str, int], missing: str) -> None:
    with pytest.raises(ModelMismatch, match=missing) as caught:
        multiplex_heads(heads(**channels))
    for name, count in channels.items():
        assert f"{name} ({count})" in str(caught.value)


def test_one_compartment_is_enough_where_one_is_wanted() -> None:
    wanted: tuple[Compartment, ...] = ("whole-cell",)
    assert set(multiplex_heads(heads(semantic_0=1, semantic_1=3), wanted)) == {"whole-cell"}


def test_channels_of_a_signature() -> None:
    float32 = np.dtype(np.float32)
    outputs = {
        "a": TensorSpec("a", float32, (-1, 512, 512, 3)),
        "b": TensorSpec("b", float32, None),
        "c": TensorSpec("c", float32, (-1, -1, -1, -1)),
    }
    assert channels_of(Signature("M", 1, {}, outputs)) == {"a": 3, "b": -1, "c": -1}


@pytest.mark.parametrize(
    ("postprocess", "names", "needed"),
    [
        ("deep_watershed", {"inner_distance": 1, "outer_distance": 1, "foreground": 1}, "all"),
        ("deep_watershed", {"inner_distance": 1, "foreground": 1}, ""),
        ("deep_watershed", {"semantic_0": 1, "semantic_1": 1, "semantic_2": 3}, "0 1"),
        ("deep_watershed", {"semantic_0": 1, "semantic_1": 4}, "0 1"),
        ("deep_watershed", {"semantic_0": 3}, ""),
        ("deep_watershed", {"semantic_0": -1, "semantic_1": 1}, ""),
        ("watershed", {"semantic_0": 1, "semantic_1": 1, "semantic_2": 3}, "2"),
        ("pixelwise", {"semantic_0": 1, "semantic_1": 4}, "1"),
        ("mibi", {"semantic_0": 1}, ""),
        ("watershed", {"foreground": 1, "inner_distance": 1}, "foreground"),
        ("retinanet", {"semantic_0": 3}, ""),
        ("none", {"semantic_0": 3}, ""),
    ],
)
def test_only_what_a_postprocessing_reads_is_needed(
    postprocess: str, names: dict[str, int], needed: str
) -> None:
    outputs = {
        name: TensorSpec(name, np.dtype("f4"), (-1, -1, -1, channels))
        for name, channels in names.items()
    }
    wanted = {name for name in names if name.rpartition("_")[2] in needed.split()}
    found = needed_outputs(Signature("M", 1, {}, outputs), postprocess)
    assert set(found) == (set(names) if needed == "all" else wanted)


@pytest.mark.parametrize("postprocess", ["deep_watershed", "watershed", "pixelwise", "mibi"])
def test_the_outputs_needed_give_the_same_cells(postprocess: str) -> None:
    models = FakeModels({"M": deepcell("inner", "outer", "classes3", "classes4")})
    y, x = np.mgrid[:64, :64]
    image = ((np.hypot(y % 32 - 16, x % 32 - 16) < 10) * np.float32(1))[np.newaxis, ..., np.newaxis]
    planes = {name: plane[0] for name, plane in models.models["M"].answer(image).items()}
    every = Heads(planes, Scale(1.0, measured=True), Image(image[0, ..., 0], "YX"))
    names = needed_outputs(models.signature("M"), postprocess)
    assert 0 < len(names) < len(planes)
    some = replace(every, planes={name: planes[name] for name in names})
    cells = label_cells(every, postprocess)
    assert cells.max() == 4
    np.testing.assert_array_equal(label_cells(some, postprocess), cells)
