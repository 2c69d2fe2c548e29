"""A large label image as OME-Zarr: members of the result, written row of chunks by row.

NGFF 0.4 (Zarr 2), which every reader of OME-Zarr knows; no library is needed to write it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kiosk_tasks.imaging.labels import Labels
from kiosk_tasks.outputs.files import OutputFile
from kiosk_tasks.outputs.large_labels import TILE, Views, in_rows_of_tiles

__all__ = ["zarr_files"]

_LEVEL = 1  # of deflate: labels pack hardly better with more


def zarr_files(
    bands: Iterable[Labels], shape: tuple[int, int], mpp: float | None, name: str, folder: Path
) -> Iterator[OutputFile]:
    """Yield the members of `<name>_labels.ome.zarr`: int32, with smaller views, axes, pixel size.

    bands: the image's rows, (n, X) each. folder: for files meanwhile.
    """
    root = f"{name}_labels.ome.zarr"
    views = Views(shape, folder)
    levels = [shape, *views.shapes]
    yield _json(f"{root}/.zgroup", {"zarr_format": 2})
    yield _json(f"{root}/.zattrs", _attributes(levels, mpp))
    for level, size in enumerate(levels):
        yield _json(f"{root}/{level}/.zarray", _array(size))
    yield from _chunks(in_rows_of_tiles(_watched(bands, views)), f"{root}/0")
    for level in range(len(views.shapes)):
        yield from _chunks(views.rows(level), f"{root}/{level + 1}")


def _watched(bands: Iterable[Labels], views: Views) -> Iterator[Labels]:
    top = 0
    for band in bands:
        views.add(band, top)
        top += len(band)
        yield band


def _chunks(rows: Iterable[Labels], root: str) -> Iterator[OutputFile]:
    """Yield the chunks in which there is a cell; a reader takes others for 0."""
    for row, band in enumerate(rows):
        for column, left in enumerate(range(0, band.shape[1], TILE)):
            part = band[:, left : left + TILE]
            if part.any():
                chunk = np.zeros((TILE, TILE), "<i4")
                chunk[: part.shape[0], : part.shape[1]] = part
                yield OutputFile(f"{root}/{row}/{column}", zlib.compress(chunk.tobytes(), _LEVEL))


def _array(shape: tuple[int, int]) -> dict[str, Any]:
    return {
        "zarr_format": 2,
        "shape": list(shape),
        "chunks": [TILE, TILE],
        "dtype": "<i4",
        "compressor": {"id": "zlib", "level": _LEVEL},
        "fill_value": 0,
        "order": "C",
        "filters": None,
        "dimension_separator": "/",
    }


def _attributes(levels: list[tuple[int, int]], mpp: float | None) -> dict[str, Any]:
    unit = {} if mpp is None else {"unit": "micrometer"}
    axes = [{"name": axis, "type": "space", **unit} for axis in "yx"]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [(mpp or 1.0) * 2**level] * 2}
            ],
        }
        for level in range(len(levels))
    ]
    multiscale = {"version": "0.4", "name": "labels", "axes": axes, "datasets": datasets}
    return {"multiscales": [multiscale], "image-label": {"version": "0.4"}}


def _json(name: str, value: dict[str, Any]) -> OutputFile:
    return OutputFile(name, json.dumps(value, indent=2, sort_keys=True).encode())
