"""What kind of file a result has, by the end of its name."""

from __future__ import annotations

from pathlib import PurePosixPath

__all__ = ["IMAGES", "media_type"]

IMAGES = {
    ".png": "image/png",
    ".gif": "image/gif",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
"""What every browser shows, and what cannot run in it."""

_OTHERS = {
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".csv": "text/csv; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".json": "application/json",
    ".geojson": "application/geo+json",
    ".zip": "application/zip",
}


def media_type(name: str) -> str:
    """Return the media type; of an ending that is not listed, bytes that are only saved.

    None of them is a kind that a browser would run.
    """
    end = PurePosixPath(name).suffix.lower()
    return {**IMAGES, **_OTHERS}.get(end, "application/octet-stream")
