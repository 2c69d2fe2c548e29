"""Keys in the bucket, and the names of results."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

from kiosk_tasks.imaging.zarr_names import ZARR_FILES

__all__ = ["numbered", "output_folder", "parts_folder", "stem_of"]

_LONGEST_STEM = 150
_NO_LETTER = {"Cc", "Zl", "Zp"}
"""Unicode's categories of what no key may hold: control characters and line breaks."""
_IMAGES_AND_ARCHIVES = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".zip", ".ozx", ".trk", ".trks")


def output_folder(job_id: str) -> str:
    """Return what the key of a job's one output begins with."""
    return f"output/{job_id}/"


def parts_folder(job_id: str) -> str:
    """Return what keys begin with under which a job leaves inputs for its children.

    What lies there goes when the job has ended.
    """
    return f"parts/{job_id}/"


def stem_of(name: str) -> str:
    """Return a file's name without the extensions of images: `a.ome.tif`, `a.ome.zarr` give `a`.

    A stem is at most `_LONGEST_STEM` bytes, so that it fits a key and a file system; what breaks
    lines becomes an underscore.
    """
    path = PurePosixPath(name)
    if path.suffix.lower() in _IMAGES_AND_ARCHIVES:
        path = path.with_suffix("")
    if path.suffix.lower() == ".zarr":
        path = path.with_suffix("")
    stem = path.with_suffix("").name if path.suffix.lower() == ".ome" else path.name
    if not stem.strip("."):  # of `...zip`; it would be a folder, and not the one meant
        stem = "_" * len(stem)
    plain = "".join("_" if unicodedata.category(c) in _NO_LETTER else c for c in stem)
    return plain.encode(errors="replace")[:_LONGEST_STEM].decode(errors="ignore")


def numbered(name: str, number: int) -> str:
    """Return a file's name with a number behind its stem, whose end is cut off to make room.

    Different numbers give different stems, however long the name is.
    """
    end = f"-{number}"
    kinds = (*ZARR_FILES, ".zarr")  # by which they are told from archives and files
    kind = next((kind for kind in kinds if name.lower().endswith(kind)), PurePosixPath(name).suffix)
    stem = stem_of(name).encode()[: _LONGEST_STEM - len(end)].decode(errors="ignore")
    return f"{stem}{end}{kind}"
