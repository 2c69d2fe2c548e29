"""Cells and spots as GeoJSON, as QuPath reads and writes it.

QuPath has its origin at the corner of the image: the centre of the first pixel is at (0.5, 0.5).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.measure import CellTable
from kiosk_tasks.imaging.outlines import Outline, Polygon

__all__ = ["cells_geojson", "spots_geojson"]


def cells_geojson(outlines: Iterable[Outline], cells: CellTable) -> bytes:
    """Return a FeatureCollection of cells: a detection each, named after its number.

    outlines, cells: of the same label image. Coordinates are (x, y), px.
    """
    measured = _measurements(cells)
    return _collection(
        {
            "type": "Feature",
            "geometry": _geometry(outline),
            "properties": {
                "objectType": "detection",
                "name": str(outline.label),
                "measurements": measured[outline.label],
            },
        }
        for outline in outlines
    )


def spots_geojson(positions: NDArray[np.float64], measured: Mapping[str, NDArray[Any]]) -> bytes:
    """Return a FeatureCollection of spots: a point each, which QuPath takes for a detection.

    positions: (n, 2), (y, x), px; 0 is the centre of a pixel. measured: by name, at
        least one, (n,) each.
    """
    rows = zip(*(values.tolist() for values in measured.values()), strict=True)
    points = (positions + 0.5).round(3).tolist()
    return _collection(
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [x, y]},
            "properties": {
                "objectType": "detection",
                "measurements": dict(zip(measured, map(_short, row), strict=True)),
            },
        }
        for (y, x), row in zip(points, rows, strict=True)
    )


def _collection(features: Iterable[dict[str, Any]]) -> bytes:
    """Encode features, one a line."""
    lines = ",\n".join(json.dumps(one, separators=(",", ":")) for one in features)
    return f'{{"type":"FeatureCollection","features":[\n{lines}\n]}}\n'.encode("ascii")


def _geometry(outline: Outline) -> dict[str, Any]:
    polygons = [_coordinates(polygon) for polygon in outline.polygons]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _coordinates(polygon: Polygon) -> list[list[list[int]]]:
    """Return rings of (x, y), each closed by its first corner."""
    rings = [ring[:, ::-1].tolist() for ring in polygon]
    return [[*ring, ring[0]] for ring in rings]


def _measurements(cells: CellTable) -> dict[int, dict[str, float]]:
    """Return what is known of each cell, by label; numbers have the digits that the table has."""
    columns = {
        "Label": cells.label.tolist(),
        "Area px^2": cells.area_px.tolist(),
        "Mean intensity": list(map(_short, cells.mean_intensity.tolist())),
        "Touches border": cells.touches_border.astype(int).tolist(),
    }
    if cells.area_um2 is not None:
        columns["Area µm^2"] = list(map(_short, cells.area_um2.tolist()))
    rows = zip(*columns.values(), strict=True)
    return {row[0]: dict(zip(columns, row, strict=True)) for row in rows}


def _short(number: float) -> float:
    """Return a measured number with 6 digits; a whole one as it is."""
    return float(f"{number:.6g}") if isinstance(number, float) else number
