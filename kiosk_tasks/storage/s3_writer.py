"""Writing one object to S3: at once if it is small, in parts if not, and only if new on demand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from kiosk_tasks.storage.s3_errors import CONFLICTS, code_of
from kiosk_tasks.storage.streams import Body, Slice, media_type

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef

__all__ = ["CONFLICT_TRIES", "MAX_PARTS", "PARTS_AT_ONCE", "Writer"]

PARTS_AT_ONCE = 4
"""Of one object; of a file, none of them lies in memory."""

MAX_PARTS = 10_000
"""Of one object; S3's own limit."""

CONFLICT_TRIES = 5
_WRITE_ID = "kiosk-write"


@dataclass(frozen=True)
class Writer:
    """Writes to one name in a bucket; errors are the SDK's."""

    client: S3Client
    bucket: str
    name: str
    part_bytes: int

    def write(self, body: Body) -> bool:
        """Write the object, replacing one that is there; return True."""
        return self._settle(body, {})

    def write_new(self, body: Body) -> bool:
        """Write the object where there is none, else return False.

        S3 decides: the request that makes the object visible holds only where there is none.
        """
        return self._settle(body, {"IfNoneMatch": "*"})

    def is_there(self, write_id: str) -> bool:
        """Tell whether the object is the one that was written under that id."""
        try:
            found = self.client.head_object(**self.place())
        except ClientError as exc:
            if code_of(exc) == "404":
                return False
            raise
        return found["Metadata"].get(_WRITE_ID) == write_id

    def place(self) -> dict[str, Any]:
        """Return what names the object in every request."""
        return {"Bucket": self.bucket, "Key": self.name}

    def description(self, write_id: str) -> dict[str, Any]:
        """Return what is kept beside the object's bytes."""
        return {
            "ContentType": media_type(self.name),
            "Metadata": {_WRITE_ID: write_id},
        }

    def _settle(
        self, body: Body, condition: dict[str, Any], *, tries: int = CONFLICT_TRIES
    ) -> bool:
        write_id = uuid4().hex
        try:
            self._send(body, write_id, condition)
        except ClientError as exc:
            code = code_of(exc)
            # The SDK asks again when an answer is lost; then the object there may be ours.
            if code in ("PreconditionFailed", "NoSuchUpload") and self.is_there(write_id):
                return True
            if code == "PreconditionFailed" and condition:
                return False
            if code not in CONFLICTS or tries == 1:
                raise
            return self._settle(body, condition, tries=tries - 1)
        return True

    def _send(self, body: Body, write_id: str, condition: dict[str, Any]) -> None:
        if body.size > self.part_bytes:
            self._send_parts(body, write_id, condition)
            return
        whole: Any = Slice(body, 0, body.size)
        self.client.put_object(
            **self.place(),
            **self.description(write_id),
            **condition,
            Body=whole,
        )

    def _send_parts(self, body: Body, write_id: str, condition: dict[str, Any]) -> None:
        started = self.client.create_multipart_upload(**self.place(), **self.description(write_id))
        upload: dict[str, Any] = {**self.place(), "UploadId": started["UploadId"]}
        part_bytes = max(self.part_bytes, -(-body.size // MAX_PARTS))

        def send(number: int) -> CompletedPartTypeDef:
            start = (number - 1) * part_bytes
            part: Any = Slice(body, start, min(part_bytes, body.size - start))
            sent = self.client.upload_part(**upload, PartNumber=number, Body=part)
            return {"PartNumber": number, "ETag": sent["ETag"]}

        with ExitStack() as undo:
            undo.callback(self._abort, upload)
            with ThreadPoolExecutor(PARTS_AT_ONCE) as senders:
                parts = list(senders.map(send, range(1, -(-body.size // part_bytes) + 1)))
            self.client.complete_multipart_upload(
                **upload, **condition, MultipartUpload={"Parts": parts}
            )
            undo.pop_all()

    def _abort(self, upload: dict[str, Any]) -> None:
        # What cannot be aborted now is removed with other remains later.
        with suppress(ClientError, BotoCoreError):
            self.client.abort_multipart_upload(**upload)
