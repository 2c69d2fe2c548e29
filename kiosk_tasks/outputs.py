"""What a finished job leaves: files made of its result, packed into one archive."""

from __future__ import annotations

import hashlib
import io
import json
import unicodedata
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import singledispatch
from pathlib import PurePosixPath
from typing import Any

from kiosk_tasks.errors import InternalError
from kiosk_tasks.imaging.io import write_labels
from kiosk_tasks.imaging.measure import measure_cells, to_csv
from kiosk_tasks.imaging.overlay import overlay_png
from kiosk_tasks.imaging.values import Segmentation

__all__ = ["OutputFile", "archive", "output_files", "output_folder", "stem_of"]

_LONGEST_STEM = 150
_NO_LETTER = {"Cc", "Zl", "Zp"}
"""Unicode's categories of what no key may hold: control characters and line breaks."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time stamp of archive members: the same result is the same bytes, whenever it was made."""


@dataclass(frozen=True)
class OutputFile:
    """One file of a result, whole."""

    name: str
    data: bytes

    def describe(self) -> dict[str, Any]:
        """Return size and checksum for the provenance record."""
        return {"bytes": len(self.data), "sha256": hashlib.sha256(self.data).hexdigest()}


@singledispatch
def output_files(result: object, stem: str) -> list[OutputFile]:
    """Return the files of a result, named after the input's stem; one function per result type."""
    raise InternalError(f"no output files are defined for {type(result).__name__} ({stem}).")


@output_files.register
def _of_segmentation(result: Segmentation, stem: str) -> list[OutputFile]:
    cells = measure_cells(result.labels, result.image.data)
    return [
        OutputFile(f"{stem}_labels.ome.tif", write_labels(result.labels)),
        OutputFile(f"{stem}_overlay.png", overlay_png(result.image.data, result.labels)),
        OutputFile(f"{stem}_cells.csv", to_csv(cells)),
    ]


def archive(files: list[OutputFile], record_name: str, record: Mapping[str, Any]) -> bytes:
    """Return a zip of the files and of the provenance record, which lists their checksums.

    Members are stored as they are: images are compressed already.
    """
    described = {**record, "outputs": {file.name: file.describe() for file in files}}
    text = json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as target:
        for file in (*files, OutputFile(record_name, text.encode())):
            target.writestr(zipfile.ZipInfo(file.name, _EPOCH), file.data)
    return packed.getvalue()


def output_folder(job_id: str) -> str:
    """Return what the key of a job's one output begins with."""
    return f"output/{job_id}/"


def stem_of(name: str) -> str:
    """Return a file's name without the extensions of images: `a.ome.tif` gives `a`.

    A stem is at most `_LONGEST_STEM` bytes, so that it fits a key and a file system; what breaks
    lines becomes an underscore.
    """
    path = PurePosixPath(name)
    if path.suffix.lower() in (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".zip"):
        path = path.with_suffix("")
    stem = path.with_suffix("").name if path.suffix.lower() == ".ome" else path.name
    plain = "".join("_" if unicodedata.category(c) in _NO_LETTER else c for c in stem)
    return plain.encode(errors="replace")[:_LONGEST_STEM].decode(errors="ignore")
