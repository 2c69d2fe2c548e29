"""What OME-Zarr is called, as a folder and as one file."""

from __future__ import annotations

__all__ = ["ZARR_FILE_ENDINGS", "ZARR_FOLDER_ENDING", "is_ome_zarr", "is_zarr_folder"]

ZARR_FILE_ENDINGS = (".zarr.zip", ".ozx")
"""Of one file that has the folder in it; `.ome.zarr.zip` is one."""

ZARR_FOLDER_ENDING = ".zarr"


def is_ome_zarr(name: str) -> bool:
    """Tell by its name whether something is an OME-Zarr: a folder, or a zip file of one."""
    return is_zarr_folder(name) or name.lower().endswith(ZARR_FILE_ENDINGS)


def is_zarr_folder(name: str) -> bool:
    """Tell by its name whether something is the folder of an OME-Zarr."""
    return name.lower().rstrip("/").endswith(ZARR_FOLDER_ENDING)
