"""What OME-Zarr is called, as a folder and as one file."""

from __future__ import annotations

__all__ = ["ZARR_FILES", "is_ome_zarr", "is_zarr_folder", "is_zarr_input"]

ZARR_FILES = (".zarr.zip", ".ozx")
"""Endings of one file that has the folder in it; `.ome.zarr.zip` is one."""

_FOLDER = ".zarr"
_OTHERS = (".tif", ".tiff", ".png", ".jpg", ".jpeg")


def is_ome_zarr(name: str) -> bool:
    """Tell by its name whether something is an OME-Zarr: a folder, or a zip file of one."""
    return is_zarr_folder(name) or name.lower().endswith(ZARR_FILES)


def is_zarr_folder(name: str) -> bool:
    """Tell by its name whether something is the folder of an OME-Zarr."""
    return name.lower().rstrip("/").endswith(_FOLDER)


def is_zarr_input(key: str, name: str) -> bool:
    """Tell whether an input is an OME-Zarr, by its key in the bucket and by what a person calls it.

    A key may be cut off where a file's name is long; what is made of an image keeps its name.
    """
    return is_ome_zarr(key) or (is_ome_zarr(name) and not key.lower().endswith(_OTHERS))
