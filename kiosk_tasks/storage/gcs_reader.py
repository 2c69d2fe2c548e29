"""Reading one object from Google Cloud Storage piece by piece, all of one generation."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass

import google_crc32c
from google.api_core.exceptions import RequestRangeNotSatisfiable

from kiosk_tasks.errors import MissingObject, StorageUnavailable
from kiosk_tasks.storage.gcs_client import Reach
from kiosk_tasks.storage.gcs_errors import mapped_errors
from kiosk_tasks.storage.streams import PIECE_BYTES, ranges

__all__ = ["Whole", "find", "read"]


@dataclass(frozen=True)
class Whole:
    """An object as it is at one moment: its size in bytes, which generation, and its checksum."""

    name: str
    size: int
    generation: int
    crc32c: str | None

    def pieces(self, reach: Reach, key: str) -> Iterator[bytes]:
        """Yield all bytes in pieces; raises StorageUnavailable if they are not what was written."""
        checksum = google_crc32c.Checksum()
        for start, length in ranges(self.size, PIECE_BYTES):
            piece = self._piece(reach, key, start, length)
            checksum.update(piece)
            yield piece
        if self.crc32c and self.crc32c != base64.b64encode(checksum.digest()).decode():
            raise StorageUnavailable(f"{key!r} arrived damaged; resubmit.")

    def _piece(self, reach: Reach, key: str, start: int, length: int) -> bytes:
        try:
            with mapped_errors(reach.bucket, key):
                return read(reach, self.name, start, length, generation=self.generation)
        except MissingObject as exc:
            raise StorageUnavailable(f"{key!r} was replaced while it was read.") from exc


def find(reach: Reach, name: str) -> Whole:
    """Return what the object is now; errors are the SDK's."""
    blob = reach.blob(name)
    blob.reload(**reach.call)
    return Whole(name, int(blob.size or 0), int(blob.generation or 0), blob.crc32c)


def read(
    reach: Reach, name: str, start: int, length: int, *, generation: int | None = None
) -> bytes:
    """Return at most `length` bytes from `start` on; errors are the SDK's."""
    if length <= 0:
        return b""
    blob = reach.blob(name, generation=generation)
    last = start + length - 1
    try:
        # Raw: an object that somebody has stored compressed has the size that it has.
        data: bytes = blob.download_as_bytes(
            start=start, end=last, raw_download=True, checksum=None, **reach.call
        )
    except RequestRangeNotSatisfiable:
        return b""
    return data
