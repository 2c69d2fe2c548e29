"""What a result is as layers: Labels, Tracks, Points, in the place of the layer it is of. No Qt."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.client import NotInResult, Result
from kiosk_tasks.napari.sending import Place

__all__ = ["LayerData", "layers_of"]

LayerData = tuple[Any, dict[str, Any], str]
"""What napari's `Layer.create` takes: data, its keywords, and the kind of layer."""

_SPOT_SIZE = 6.0
_FILE_ORDER = "TBZ"
"""Of the axes that planes lie along, as the client writes them; results have it, too."""
_COLUMNS = {"frame": "T", "batch": "B"}
"""Of tables of spots."""


def layers_of(result: Result, name: str, place: Place) -> list[LayerData]:
    """Return the layers of a result; fetches what they need.

    name: of the layer that was sent. place: where it lies.
    """
    ends = [file.name for file in result.files]
    found: list[LayerData] = []
    if any(end.endswith(("_labels.ome.tif", "_tracked.ome.tif")) for end in ends):
        for part, image in result.parts.items():
            found.append(_labels(image, f"{name} {part or 'cells'}", place))
        _add_table(found, result)
    if any(end.endswith("_tracks.csv") for end in ends):
        found.append(_tracks(result, f"{name} tracks", place))
    if any(end.endswith("_spots.csv") for end in ends):
        found.append(_points(result, f"{name} spots", place))
    if not found:
        raise NotInResult(
            f"the result of this {result.state.type} job has nothing to show as a layer; "
            f"it has {', '.join(ends)}."
        )
    return found


def _labels(image: NDArray[np.int32], name: str, place: Place) -> LayerData:
    """Give the label image the dimensions of the layer; its planes were one after the other."""
    axes = "".join(axis for axis in _FILE_ORDER if axis in place.axes)
    planes = [place.shape[place.axes.index(axis)] for axis in axes]
    if image.ndim == 2:
        return _spread(image, {"name": name}, "labels", place, axes="YX")
    if len(image) != prod(planes):
        return _spread(image, {"name": name}, "labels", place, axes=f"{_time_of(place)}YX")
    layer = "".join(axis for axis in place.axes if axis in axes)
    shaped = image.reshape(*planes, *image.shape[-2:])
    shaped = shaped.transpose(*map(axes.index, layer), -2, -1)
    return _spread(shaped, {"name": name}, "labels", place, axes=f"{layer}YX")


def _tracks(result: Result, name: str, place: Place) -> LayerData:
    tracks = result.tracks
    known = set(np.unique(tracks.data[:, 0]).astype(int).tolist())
    graph = {
        child: parents
        for child, parents in tracks.graph.items()
        if child in known and known.issuperset(parents)
    }
    more = {"name": name, "graph": graph, "features": dict(tracks.features)}
    axes = f"{_time_of(place)}YX"
    data, keywords, kind = _spread(tracks.data[:, 1:], more, "tracks", place, axes=axes)
    return np.column_stack([tracks.data[:, :1], data]), keywords, kind


def _points(result: Result, name: str, place: Place) -> LayerData:
    table = result.table("_spots.csv")
    along = next((axis for name, axis in _COLUMNS.items() if table and name in table[0]), "")
    along = along if along in place.axes else ""
    spots = result.spots if along else result.spots[:, -2:]
    features = {
        column: np.array([row[column] for row in table])
        for column in ("intensity", "signal_to_noise")
        if table and column in table[0]
    }
    more = {
        "name": name,
        "size": _SPOT_SIZE,
        "face_color": "transparent",
        "border_color": "yellow",
        "features": features,
    }
    return _spread(spots, more, "points", place, axes=f"{along}YX")


def _spread(
    data: NDArray[Any], more: dict[str, Any], kind: str, place: Place, *, axes: str
) -> LayerData:
    """Put a layer where the image is.

    axes: of what was found, in the layer's order. Those of the image that it has not, such as
    channels, napari does without where they come first; else the layer gets an axis of length 1,
    drawn as wide as the image's whole axis, so that it is seen all along.
    """
    first = place.axes.index(axes[0])
    scale, translate = list(place.scale[first:]), list(place.translate[first:])
    for at, axis in enumerate(place.axes[first:]):
        if axis not in axes:
            length = place.shape[first + at]
            translate[at] += scale[at] * (length - 1) / 2
            scale[at] *= length
            if kind == "labels":
                data = np.expand_dims(data, at)
            else:
                data = np.insert(data, at, 0.0, axis=1)
    return data, {**more, "scale": scale, "translate": translate}, kind


def _time_of(place: Place) -> str:
    """Return the axis of a movie's frames: T, else the longest of those that are no plane's."""
    lengths = {a: n for a, n in zip(place.axes, place.shape, strict=True) if a in _FILE_ORDER}
    return "T" if "T" in lengths else max(lengths, key=lambda axis: lengths[axis], default="")


def _add_table(found: list[LayerData], result: Result) -> None:
    """Give a single label image the table of its cells, which the viewer shows under the mouse."""
    labels = [data for data in found if data[2] == "labels"]
    if len(labels) != 1 or labels[0][0].ndim != 2:
        return
    try:
        rows = result.cells
    except NotInResult:
        return
    if not rows or "label" not in rows[0]:
        return
    columns = [name for name in rows[0] if all(row[name] is not None for row in rows)]
    features = {name: [row[name] for row in rows] for name in columns}
    labels[0][1]["features"] = {"index": features["label"], **features}
