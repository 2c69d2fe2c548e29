"""Cells and spots as GeoJSON, as QuPath reads and writes it.

QuPath has its origin at the corner of the image: the centre of the first pixel is at (0.5, 0.5).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.measure import CellTable
from kiosk_tasks.imaging.outlines import Outlines

__all__ = ["cell_features", "cells_geojson", "spots_geojson"]


def cells_geojson(outlines: Outlines, cells: CellTable) -> bytes:
    """Return a FeatureCollection of cells: a detection each, named after its number.

    outlines, cells: of the same label image. Coordinates are (x, y), px.
    """
    return _collection(cell_features(outlines, cells))


def cell_features(outlines: Outlines, cells: CellTable) -> Iterator[str]:
    """Yield the features of `cells_geojson`: JSON of one line each, in the order of the labels.

    It is written here, not by the json module: there are more corners than anything else.
    """
    polygons, bounds = _polygons(outlines), outlines.cells.tolist()
    rows = zip(cells.label.tolist(), _measurements(cells), strict=True)
    for number, (label, measured) in enumerate(rows):
        first, beyond = bounds[number], bounds[number + 1]
        if beyond - first == 1:
            geometry = f'{{"type":"Polygon","coordinates":{polygons[first]}}}'
        else:
            several = ",".join(polygons[first:beyond])
            geometry = f'{{"type":"MultiPolygon","coordinates":[{several}]}}'
        yield (
            f'{{"type":"Feature","geometry":{geometry},"properties":{{"objectType":"detection",'
            f'"name":"{label}","measurements":{{{measured}}}}}}}'
        )


def spots_geojson(positions: NDArray[np.float64], measured: Mapping[str, NDArray[Any]]) -> bytes:
    """Return a FeatureCollection of spots: a point each, which QuPath takes for a detection.

    positions: (n, 2), (y, x), px; 0 is the centre of a pixel. measured: by name, at
        least one, (n,) each.
    """
    rows = zip(*(values.tolist() for values in measured.values()), strict=True)
    points = (positions + 0.5).round(3).tolist()
    encode = json.JSONEncoder(separators=(",", ":")).encode
    return _collection(
        encode(
            {
                "type": "Feature",
                "geometry": {"type": "Point", "coordinates": [x, y]},
                "properties": {
                    "objectType": "detection",
                    "measurements": dict(zip(measured, map(_short, row), strict=True)),
                },
            }
        )
        for (y, x), row in zip(points, rows, strict=True)
    )


def _collection(features: Iterable[str]) -> bytes:
    """Join features, one a line."""
    lines = ",\n".join(features)
    return f'{{"type":"FeatureCollection","features":[\n{lines}\n]}}\n'.encode("ascii")


def _polygons(outlines: Outlines) -> list[str]:
    """Return each polygon as text: rings of (x, y), each closed by its first corner."""
    text, begins = _corners(outlines.corners)
    starts = outlines.rings
    ends = begins[starts[1:]].tolist()
    after_first = begins[starts[:-1] + 1].tolist()
    of_ring = begins[starts[:-1]].tolist()
    rings = [
        f"[{text[begin:end]}{text[begin : second - 1]}]"
        for begin, second, end in zip(of_ring, after_first, ends, strict=True)
    ]
    bounds = outlines.polygons.tolist()
    if len(bounds) == len(rings) + 1:
        return [f"[{ring}]" for ring in rings]
    return [f"[{','.join(rings[a:b])}]" for a, b in pairwise(bounds)]


def _corners(corners: NDArray[np.int32]) -> tuple[str, NDArray[np.int64]]:
    """Return `[x,y],` of all corners as one text, and where each begins in it, (N + 1,)."""
    most = int(corners.max(initial=0))
    width = len(str(most))
    digits = np.arange(most + 1).astype(f"S{width}").view(np.uint8).reshape(most + 1, width)
    lengths = np.count_nonzero(digits, axis=1)
    y, x = corners.T
    written = np.empty((len(corners), 2 * width + 4), np.uint8)
    written[:, 0] = ord("[")
    written[:, 1 : width + 1] = digits[x]
    written[:, width + 1] = ord(",")
    written[:, width + 2 : -2] = digits[y]
    written[:, -2:] = tuple(b"],")
    text = written.tobytes().translate(None, b"\0").decode("ascii")
    return text, np.concatenate([[0], np.cumsum(lengths[x] + lengths[y] + 4)])


def _measurements(cells: CellTable) -> list[str]:
    """Return what is known of each cell, as JSON without braces, by label.

    Numbers have the digits that the table has.
    """
    columns = {
        "Label": map(str, cells.label.tolist()),
        "Area px^2": map(str, cells.area_px.tolist()),
        "Mean intensity": map(_number, cells.mean_intensity.tolist()),
        "Touches border": map(str, cells.touches_border.astype(int).tolist()),
    }
    if cells.area_um2 is not None:
        columns["Area µm^2"] = map(_number, cells.area_um2.tolist())
    row = ",".join(f"{json.dumps(name)}:%s" for name in columns)
    return [row % values for values in zip(*columns.values(), strict=True)]


def _number(value: float) -> str:
    """Return a measured number as JSON, with 6 digits."""
    return repr(_short(value)) if isfinite(value) else json.dumps(value)


def _short(number: float) -> float:
    """Return a measured number with 6 digits; a whole one as it is."""
    return float(f"{number:.6g}") if isinstance(number, float) else number
