"""OME-Zarr's own metadata (NGFF 0.1 to 0.5): where the image is, its axes and its pixel size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kiosk_tasks.errors import UnreadableImage
from kiosk_tasks.imaging._pixel_size import micrometres
from kiosk_tasks.imaging.regions.zarr_array import ZarrArray, array_v2, array_v3
from kiosk_tasks.imaging.regions.zarr_files import ZarrFiles, read_json

__all__ = ["OmeZarr", "read_ome_zarr"]

_LONGEST_PATH = 200  # bytes: a bucket takes no more between two slashes
_OLD_AXES = "tczyx"  # of NGFF 0.1 and 0.2, which had no others


@dataclass(frozen=True)
class OmeZarr:
    """The image at its full resolution.

    path: of its array, with a slash. axes: a letter for each dimension, "Q" for unknown ones.
    mpp: µm per pixel along X; None where no unit is told.
    """

    path: str
    array: ZarrArray
    axes: str
    mpp: float | None


def read_ome_zarr(files: ZarrFiles, name: str) -> OmeZarr:
    """Read the metadata of the first image; raises UnreadableImage with a sentence."""
    folder, ome = _multiscales(files, name)
    try:
        multiscale = ome["multiscales"][0]
        dataset = multiscale["datasets"][0]
        path = f"{folder}{_checked_path(dataset['path'])}/"
    except (KeyError, IndexError, TypeError, ValueError) as exc:
        raise _refused(
            name, f"its list of images (multiscales) has no sound entry ({exc})"
        ) from exc
    array = _array(files, path, name)
    try:
        axes, mpp = _axes(multiscale, dataset, len(array.shape))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as exc:
        raise _refused(name, f"its axes or scales are not sound ({exc})") from exc
    return OmeZarr(path, array, axes, mpp)


def _multiscales(files: ZarrFiles, name: str) -> tuple[str, dict[str, Any]]:
    """Return the folder with the image, and its metadata."""
    found = _attributes(files, "", name)
    if found is None:
        raise _refused(name, "it has neither zarr.json nor .zattrs")
    if "bioformats2raw.layout" in found and "multiscales" not in found:
        return _within(files, "0/", name)
    if "plate" in found or "well" in found:
        raise _refused(
            name, "it is a plate of many images; send one of them, such as its folder A/1/0"
        )
    if "multiscales" not in found:
        raise _refused(name, "its metadata lists no image (multiscales)")
    return "", found


def _within(files: ZarrFiles, folder: str, name: str) -> tuple[str, dict[str, Any]]:
    found = _attributes(files, folder, name)
    if found is None or "multiscales" not in found:
        raise _refused(name, f"its image {folder} is not there")
    return folder, found


def _attributes(files: ZarrFiles, folder: str, name: str) -> dict[str, Any] | None:
    group = read_json(files, f"{folder}zarr.json", name)
    if group is None:
        return read_json(files, f"{folder}.zattrs", name)
    attributes = group.get("attributes")
    found = attributes.get("ome") if isinstance(attributes, dict) else None
    if isinstance(found, dict):
        return found
    return attributes if isinstance(attributes, dict) else {}


def _array(files: ZarrFiles, path: str, name: str) -> ZarrArray:
    try:
        found = read_json(files, f"{path}zarr.json", name)
        if found is not None:
            return array_v3(found)
        found = read_json(files, f"{path}.zarray", name)
        if found is not None:
            return array_v2(found)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as exc:
        raise _refused(name, f"in its array {path[:-1]}, {_fact(exc)}") from exc
    raise _refused(name, f"it has no array {path[:-1]}")


def _fact(exc: Exception) -> str:
    return str(exc) if type(exc) is ValueError else f"something is missing ({exc})"


def _checked_path(path: Any) -> str:
    """Return a path within the image's folder; raises ValueError for one that leaves it."""
    parts = str(path).split("/")
    if (
        not isinstance(path, str)
        or len(path.encode(errors="replace")) > _LONGEST_PATH
        or not path.isprintable()
        or "\\" in path
        or any(part in ("", ".", "..") for part in parts)
    ):
        raise ValueError(f"the path {str(path)[:60]!r}")
    return path


def _axes(
    multiscale: dict[str, Any], dataset: dict[str, Any], dimensions: int
) -> tuple[str, float | None]:
    given = multiscale.get("axes", list(_OLD_AXES) if dimensions == len(_OLD_AXES) else None)
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in given or ()]
    if len(axes) != dimensions:
        raise ValueError(f"{len(axes)} axes for {dimensions} dimensions")
    letters = "".join(_letter(str(axis.get("name"))) for axis in axes)
    if "X" not in letters:
        return letters, None
    column = letters.index("X")
    unit = axes[column].get("unit")
    length = 1.0
    for scales in (dataset, multiscale):
        for one in scales.get("coordinateTransformations") or ():
            if one.get("type") == "scale" and "scale" in one:
                length *= float(one["scale"][column])
    return letters, micrometres(length, unit) if isinstance(unit, str) else None


def _letter(name: str) -> str:
    return name.upper() if name.lower() in _OLD_AXES and len(name) == 1 else "Q"


def _refused(name: str, fact: str) -> UnreadableImage:
    return UnreadableImage(
        f"{name} is no OME-Zarr that this job can read: {fact}; write it again as NGFF 0.4 or 0.5."
    )
