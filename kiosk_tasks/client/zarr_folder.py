"""The folder of an OME-Zarr, as one file that can be sent."""

from __future__ import annotations

import os
import tempfile
import weakref
import zipfile
from pathlib import Path

from kiosk_tasks.client.errors import CannotSend
from kiosk_tasks.client.wire import Upload

__all__ = ["is_zarr_folder", "zipped"]

_METADATA = ("zarr.json", ".zattrs")


def is_zarr_folder(name: str) -> bool:
    """Tell by its name whether a folder is an OME-Zarr."""
    return name.lower().endswith(".zarr")


def zipped(folder: Path, name: str | None) -> Upload:
    """Return a zip file of a folder, which goes when the upload is forgotten.

    Its files are stored, and not packed again, so that the server reads parts of it; the same
    folder gives the same bytes. name: what results are named after; default: the folder's name.
    Raises CannotSend for a folder that is no OME-Zarr.
    """
    if not any((folder / file).is_file() for file in _METADATA):
        raise CannotSend(
            f"{folder} is no OME-Zarr: it has neither zarr.json nor .zattrs in it; "
            "give the folder that has them."
        )
    handle, place = tempfile.mkstemp(prefix="kiosk-", suffix=".zarr.zip")
    path = Path(place)
    upload = Upload(_ending_as_zip(name or folder.name), path)
    weakref.finalize(upload, path.unlink, missing_ok=True)
    with os.fdopen(handle, "wb") as target, zipfile.ZipFile(target, "w") as archive:
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        # The image's metadata first, as NGFF's rules for zip files have it.
        for file in sorted(files, key=lambda file: (file.parent != folder, file.name)):
            entry = zipfile.ZipInfo(file.relative_to(folder).as_posix())  # of one and the same date
            with archive.open(entry, "w", force_zip64=True) as member, file.open("rb") as source:
                while data := source.read(2**20):
                    member.write(data)
    return upload


def _ending_as_zip(name: str) -> str:
    if name.lower().endswith((".zarr.zip", ".ozx")):
        return name
    return f"{name}.zip" if is_zarr_folder(name) else f"{name}.zarr.zip"
