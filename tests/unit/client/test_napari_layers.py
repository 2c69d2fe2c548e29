"""Layers to images and results to layers, without napari: axes, pixel sizes, places."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kiosk_tasks.client import CannotSend, NotInResult, State, Tracks
from kiosk_tasks.client.reading import Row
from kiosk_tasks.client.state import ResultFile
from kiosk_tasks.napari.receiving import layers_of
from kiosk_tasks.napari.sending import Place, axes_choices, guess_axes, pixel_size, sending


def layer(shape: tuple[int, ...], **more: Any) -> Any:
    """What is asked of napari's image layer."""
    rgb = more.get("rgb", False)
    ndim = len(shape) - rgb
    given = {"scale": (1.0,) * ndim, "translate": (0.0,) * ndim, "axis_labels": (), "name": "x"}
    return SimpleNamespace(**{"data": np.zeros(shape), "ndim": ndim, **given, "rgb": rgb, **more})


def place(axes: str, shape: tuple[int, ...], **more: Any) -> Place:
    ones, zeros = (1.0,) * len(axes), (0.0,) * len(axes)
    return Place(axes, shape, more.get("scale", ones), more.get("translate", zeros))


class Found:
    """A result, without a server."""

    def __init__(self, *names: str, **found: Any) -> None:
        self.files = [ResultFile(name, 1) for name in names]
        self.state = State("j1", "predict", "done", True)
        self.cells: list[Row] = []
        self.spot_rows: list[Row] = []
        self.__dict__.update(found)

    def table(self, _ending: str) -> list[Row]:
        return self.spot_rows


def test_axes_that_a_layer_may_have() -> None:
    assert axes_choices(2) == ["YX"]
    assert axes_choices(2, rgb=True) == ["YXC"]
    assert axes_choices(3) == ["TYX", "ZYX", "CYX", "BYX"]
    assert {"TCYX", "CTYX", "ZCYX"} <= set(axes_choices(4))
    assert axes_choices(3, rgb=True) == ["TYXC", "ZYXC", "BYXC"]
    assert axes_choices(6) == []


def test_axes_are_guessed_where_there_is_no_doubt() -> None:
    assert guess_axes(layer((9, 9))) == "YX"
    assert guess_axes(layer((9, 9, 3), rgb=True)) == "YXC"
    assert guess_axes(layer((4, 9, 9))) == ""
    assert guess_axes(layer((4, 9, 9)), "track") == "TYX"
    assert guess_axes(layer((4, 9, 9), axis_labels=("z", "y", "x")), "track") == "ZYX"
    assert guess_axes(layer((4, 2, 9, 9), axis_labels=("time", "channel", "Y", "X"))) == "TCYX"
    assert guess_axes(layer((4, 9, 9), axis_labels=("-3", "-2", "-1"))) == ""
    assert guess_axes(layer((4, 9, 9), axis_labels=("tile", "yes", "xylo"))) == ""


@pytest.mark.parametrize(
    ("scale", "unit", "mpp"),
    [
        (0.5, "pixel", 0.5),
        (1.0, "pixel", None),
        (1.0, "micrometer", 1.0),
        (325.0, "nanometer", 0.325),
        (0.001, "millimeter", 1.0),
        (2.0, "second", None),
    ],
)
def test_pixel_size(scale: float, unit: str, mpp: float | None) -> None:
    told = pixel_size(layer((9, 9), scale=(scale, scale), units=(unit, unit)))
    assert told == (None if mpp is None else pytest.approx(mpp))


def test_several_layers_are_channels_of_one_image() -> None:
    image = sending([layer((4, 9, 8)), layer((4, 9, 8))], "TYX")
    assert (image.axes, image.array().shape) == ("CTYX", (2, 4, 9, 8))
    assert image.place.axes == "TYX"
    photo = sending([layer((9, 8, 3), rgb=True)], "YXC")
    assert (photo.axes, photo.place.axes, photo.place.shape) == ("YXC", "YX", (9, 8))
    pyramid = layer((9, 8), multiscale=True, data=[np.zeros((9, 8)), np.zeros((4, 4))])
    assert sending([pyramid], "YX").array().shape == (9, 8)


@pytest.mark.parametrize(
    ("layers", "axes", "sentence"),
    [
        ([], "YX", "choose an image layer"),
        ([layer((4, 9, 9))], "", "3 dimensions; say under Axes"),
        ([layer((9, 9)), layer((9, 8))], "YX", "differ in size"),
        ([layer((2, 9, 9))] * 2, "CYX", "none may have channels"),
    ],
)
def test_what_cannot_be_sent(layers: list[Any], axes: str, sentence: str) -> None:
    with pytest.raises(CannotSend, match=sentence):
        sending(layers, axes)


def test_labels_lie_where_their_image_does() -> None:
    found = Found("x_labels.ome.tif", parts={"": np.ones((9, 8), np.int32)})
    where = place("CYX", (3, 9, 8), scale=(1, 0.5, 0.25), translate=(0, 7, 8))
    ((data, keywords, kind),) = layers_of(found, "x", where)  # type: ignore[arg-type]
    assert (kind, data.shape, keywords["name"]) == ("labels", (9, 8), "x cells")
    assert (keywords["scale"], keywords["translate"]) == ([0.5, 0.25], [7, 8])


def test_planes_get_the_dimensions_of_the_stack_back() -> None:
    found = Found("x_batch_0_labels.ome.tif", parts={"": np.ones((6, 9, 8), np.int32)})
    ((data, keywords, _),) = layers_of(found, "x", place("TZYX", (2, 3, 9, 8)))  # type: ignore[arg-type]
    assert data.shape == (2, 3, 9, 8)
    assert len(keywords["scale"]) == 4


def test_channels_in_the_middle_see_the_labels_each() -> None:
    found = Found("x_tracked.ome.tif", parts={"": np.ones((4, 9, 8), np.int32)})
    where = place("TCYX", (4, 3, 9, 8))
    ((data, keywords, _),) = layers_of(found, "x", where)  # type: ignore[arg-type]
    assert data.shape == (4, 1, 9, 8)
    for channel in range(3):  # as napari finds the plane to draw
        at = (channel - keywords["translate"][1]) / keywords["scale"][1]
        assert round(at) == 0


def test_tracks_know_only_mothers_that_are_there() -> None:
    data = np.array([[1, 0, 5, 6], [2, 1, 5, 6], [3, 1, 5, 7]], float)
    tracks = Tracks(data, {2: [1], 3: [1], 9: [1], 1: [8]}, {"area_px": np.ones(3)})
    found = Found("x_tracks.csv", tracks=tracks)
    ((points, keywords, kind),) = layers_of(found, "x", place("TYX", (2, 9, 8)))  # type: ignore[arg-type]
    assert (kind, keywords["graph"]) == ("tracks", {2: [1], 3: [1]})
    np.testing.assert_array_equal(points, data)


def test_planes_of_a_layer_that_has_depth_before_time_are_put_in_order() -> None:
    image = np.arange(6, dtype=np.int32)[:, None, None] * np.ones((1, 9, 8), np.int32)
    found = Found("x_batch_0_labels.ome.tif", parts={"": image})  # T Z in the file
    ((data, _, _),) = layers_of(found, "x", place("ZTYX", (3, 2, 9, 8)))  # type: ignore[arg-type]
    assert data[:, :, 0, 0].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_movie_with_one_plane_of_depth_moves_along_time() -> None:
    where = place("TZYX", (4, 1, 9, 8), scale=(1, 5, 0.5, 0.5), translate=(0, 7, 0, 0))
    tracks = Tracks(np.array([[1, 0, 5, 6], [1, 3, 5, 6]], float), {}, {})
    found = Found("x_tracks.csv", tracks=tracks)
    ((points, keywords, _),) = layers_of(found, "x", where)  # type: ignore[arg-type]
    assert points.tolist() == [[1, 0, 0, 5, 6], [1, 3, 0, 5, 6]]
    assert (keywords["scale"], keywords["translate"]) == ([1, 5, 0.5, 0.5], [0, 7, 0, 0])


@pytest.mark.parametrize(("column", "axes"), [("frame", "TCYX"), ("batch", "BCYX")])
def test_spots_of_several_planes_are_placed_in_them(column: str, axes: str) -> None:
    rows = [{column: 0, "intensity": 1}, {column: 1, "intensity": 2}]
    found = Found("x_spots.csv", spots=np.array([[0, 1.5, 2], [1, 3, 4.5]]), spot_rows=rows)
    ((data, keywords, kind),) = layers_of(found, "x", place(axes, (2, 3, 9, 8)))  # type: ignore[arg-type]
    assert (kind, data.tolist()) == ("points", [[0, 0, 1.5, 2], [1, 0, 3, 4.5]])
    assert keywords["features"]["intensity"].tolist() == [1, 2]
    assert (keywords["scale"], keywords["translate"]) == ([1, 3, 1, 1], [0, 1, 0, 0])


def test_spots_of_a_projection_lie_in_their_frame_at_every_depth() -> None:
    rows = [{"frame": 1, "intensity": 1}]
    found = Found("x_spots.csv", spots=np.array([[1, 1.5, 2]]), spot_rows=rows)
    ((data, keywords, _),) = layers_of(found, "x", place("TZYX", (2, 5, 9, 8)))  # type: ignore[arg-type]
    assert data.tolist() == [[1, 0, 1.5, 2]]
    assert keywords["scale"] == [1, 5, 1, 1]


def test_a_result_without_anything_to_show_says_what_it_has() -> None:
    with pytest.raises(NotInResult, match="nothing to show as a layer; it has x_heads"):
        layers_of(Found("x_heads.ome.tif"), "x", place("YX", (9, 8)))  # type: ignore[arg-type]
