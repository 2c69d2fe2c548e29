"""OME-Zarr images as zarr-python writes them, to be read."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

__all__ = ["noise", "put_folder", "write_ome_zarr", "zip_folder"]


def write_ome_zarr(
    folder: Path,
    pixels: NDArray[Any],
    axes: str,
    *,
    version: str = "0.4",
    mpp: float | None = 0.5,
    levels: int = 2,
    **options: Any,
) -> Path:
    """Write an image with its smaller levels; options are those of `zarr.create_array`."""
    datasets = []
    for level in range(levels):
        step = 2**level
        shown = pixels[..., ::step, ::step]
        options.setdefault("chunks", tuple(min(32, length) for length in pixels.shape))
        array = zarr.create_array(
            folder / str(level),
            shape=shown.shape,
            dtype=pixels.dtype,
            zarr_format=2 if version == "0.4" else 3,
            **options,
        )
        array[:] = shown
        scale = [1.0 if axis in "tc" else (mpp or 1.0) * step for axis in axes.lower()]
        datasets.append(
            {
                "path": str(level),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
    named = [_axis(axis, mpp) for axis in axes.lower()]
    image = {"axes": named, "datasets": datasets, "name": "tissue"}
    if version == "0.4":
        _write(folder / ".zgroup", {"zarr_format": 2})
        _write(folder / ".zattrs", {"multiscales": [{**image, "version": version}]})
    else:
        ome = {"version": version, "multiscales": [image]}
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
        _write(folder / "zarr.json", group)
    return folder


def zip_folder(folder: Path, target: Path, *, packed: bool = False, within: str = "") -> Path:
    """Zip it; within: a folder in the zip file, with a slash."""
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(target, "w", kind) as file:
        for path in _files(folder):
            file.write(path, within + path.relative_to(folder).as_posix())
    return target


def put_folder(folder: Path, storage: Any, key: str) -> None:
    """Put each file of it into a bucket."""
    for path in _files(folder):
        storage.put(f"{key}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def _files(folder: Path) -> Iterable[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _axis(letter: str, mpp: float | None) -> dict[str, str]:
    kind = {"t": "time", "c": "channel"}.get(letter, "space")
    unit = {"unit": "micrometer"} if kind == "space" and mpp is not None else {}
    return {"name": letter, "type": kind, **unit}


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def noise(*shape: int, dtype: str = "uint16") -> NDArray[Any]:
    """Return pixels that are all different."""
    return np.random.default_rng(3).integers(0, 250, shape).astype(dtype)
