"""What a result is as layers: Labels, Tracks, Points, in the place of the layer it is of. No Qt."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.client import NotInResult, Result
from kiosk_tasks.napari.sending import Place

__all__ = ["LayerData", "layers_of"]

LayerData = tuple[Any, dict[str, Any], str]
"""What napari's `Layer.create` takes: data, its keywords, and the kind of layer."""

_SPOT_SIZE = 6.0
_PLANES = "TZB"


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
    planes = _plane_shape(place)
    if image.ndim == 2 or image.shape[0] != int(np.prod(planes)):
        planes = image.shape[:-2]
    shaped = image.reshape(*planes, *image.shape[-2:])
    return _spread(shaped, {"name": name}, "labels", place, dimensions=shaped.ndim)


def _tracks(result: Result, name: str, place: Place) -> LayerData:
    tracks = result.tracks
    known = set(np.unique(tracks.data[:, 0]).astype(int).tolist())
    graph = {
        child: parents
        for child, parents in tracks.graph.items()
        if child in known and known.issuperset(parents)
    }
    more = {"name": name, "graph": graph, "features": dict(tracks.features)}
    (data, keywords, kind) = _spread(tracks.data[:, 1:], more, "tracks", place, dimensions=3)
    return np.column_stack([tracks.data[:, :1], data]), keywords, kind


def _points(result: Result, name: str, place: Place) -> LayerData:
    spots = result.spots
    if spots.shape[1] == 3:
        index = np.unravel_index(spots[:, 0].astype(int), _plane_shape(place) or (1,))
        spots = np.column_stack([*index, spots[:, 1:]]) if _plane_shape(place) else spots[:, 1:]
    table = result.table("_spots.csv")
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
    return _spread(spots, more, "points", place, dimensions=spots.shape[1])


def _spread(
    data: NDArray[Any], more: dict[str, Any], kind: str, place: Place, *, dimensions: int
) -> LayerData:
    """Put a layer where the image is.

    What was found has no channels. Where the image's channels come first, napari does without; else
    the layer gets an axis of length 1, drawn as wide as all channels, so that it is seen in each.
    """
    axes = place.axes.replace("C", "")[-dimensions:]
    at = place.axes.find("C")
    keep = [place.axes.index(axis) for axis in axes]
    scale, translate = [place.scale[n] for n in keep], [place.translate[n] for n in keep]
    if at > 0 and dimensions > 2:
        inside = at - (len(place.axes) - len(axes) - 1)
        channels = place.shape[at]
        scale.insert(inside, place.scale[at] * channels)
        middle = place.translate[at] + place.scale[at] * (channels - 1) / 2
        translate.insert(inside, middle)
        if kind == "labels":
            data = np.expand_dims(data, inside)
        else:
            data = np.insert(data, inside, 0.0, axis=1)
    return data, {**more, "scale": scale, "translate": translate}, kind


def _plane_shape(place: Place) -> tuple[int, ...]:
    """Return how many planes there are along each axis but Y, X and C."""
    axes = zip(place.axes, place.shape, strict=True)
    return tuple(length for axis, length in axes if axis in _PLANES)


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
