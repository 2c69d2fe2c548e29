"""Writing one object to Google Cloud Storage: at once if it is small, in parts if not."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from google.cloud.storage import Blob
from google.cloud.storage.fileio import BlobWriter

from kiosk_tasks.storage.gcs_client import Reach
from kiosk_tasks.storage.gcs_errors import VENDOR_ERRORS, status_of
from kiosk_tasks.storage.streams import Body, media_type, ranges

__all__ = ["PartsUpload", "Writer"]

_WRITE_ID = "kiosk-write"


@dataclass
class PartsUpload:
    """Takes one part after the other; the object is there after the last. Errors are the SDK's."""

    reach: Reach
    name: str
    new: bool = False  #: write only where there is no object
    id: str = field(default_factory=lambda: uuid4().hex)

    def __post_init__(self) -> None:
        """Nothing is asked of the server yet."""
        self._stream: _Stream | None = None

    def send(self, part: bytes | bytearray, *, last: bool) -> None:
        """Send the next part; all but the last have the options' `part_bytes`."""
        if last and self._stream is None:
            self._blob().upload_from_string(bytes(part), **self._how())
            return
        if self._stream is None:
            self._stream = _Stream(
                self._blob(), chunk_size=self.reach.options.part_bytes, **self._how()
            )
        self._stream.write(part)
        if last:
            self._stream.close()

    def abort(self) -> None:
        """Give up what was sent."""
        if self._stream is not None:
            self._stream.terminate()

    def _blob(self) -> Blob:
        blob = self.reach.blob(self.name)
        blob.metadata = {_WRITE_ID: self.id}
        return blob

    def _how(self) -> dict[str, Any]:
        condition = {"if_generation_match": 0} if self.new else {}
        kind = media_type(self.name)
        return {"content_type": kind, "checksum": "crc32c", **condition, **self.reach.call}


@dataclass(frozen=True)
class Writer:
    """Writes to one name in a bucket; errors are the SDK's."""

    reach: Reach
    name: str

    def write(self, body: Body) -> bool:
        """Write the object, replacing one that is there; return True."""
        return self._send(body, new=False)

    def write_new(self, body: Body) -> bool:
        """Write the object where there is none, else return False.

        Google decides: the request that makes the object visible holds only where there is none.
        """
        return self._send(body, new=True)

    def _send(self, body: Body, *, new: bool) -> bool:
        upload = PartsUpload(self.reach, self.name, new)
        steps = list(ranges(body.size, self.reach.options.part_bytes)) or [(0, 0)]
        with ExitStack() as undo:
            undo.callback(upload.abort)
            try:
                for start, length in steps:
                    upload.send(body.read(start, length), last=start + length == body.size)
            except VENDOR_ERRORS as exc:
                if not (new and status_of(exc) == 412):
                    raise
                # The SDK asks again when an answer is lost; then the object there may be ours.
                return self._is_there(upload.id)
            undo.pop_all()
        return True

    def _is_there(self, write_id: str) -> bool:
        blob = self.reach.blob(self.name)
        try:
            blob.reload(**self.reach.call)
        except VENDOR_ERRORS as exc:
            if status_of(exc) == 404:
                return False
            raise
        return (blob.metadata or {}).get(_WRITE_ID) == write_id


class _Stream(BlobWriter):  # type: ignore[misc]  # the SDK has no types
    """A resumable upload that is never ended but on purpose."""

    given_up = False

    def close(self) -> None:
        """End the upload: the object is there. Python, too, calls this when it frees a stream."""
        if not self.given_up:
            super().close()

    def terminate(self) -> None:
        """Give the upload up; what the server does not hear of, it forgets within a week."""
        self.given_up = True
        with suppress(*VENDOR_ERRORS):
            super().terminate()
