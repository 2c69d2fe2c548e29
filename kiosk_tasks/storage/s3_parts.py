"""Writing one object to S3 of which nobody knows yet how large it gets."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from botocore.exceptions import BotoCoreError, ClientError

from kiosk_tasks.errors import FileTooLarge
from kiosk_tasks.storage.s3_errors import CONFLICTS, code_of
from kiosk_tasks.storage.s3_writer import CONFLICT_TRIES, MAX_PARTS, Writer
from kiosk_tasks.storage.streams import Body

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import CompletedPartTypeDef

__all__ = ["PartsUpload"]


class PartsUpload:
    """Takes one part after the other; the object is there after the last. Errors are the SDK's."""

    def __init__(self, writer: Writer) -> None:
        """Nothing is asked of the server yet."""
        self._writer = writer
        self._id = uuid4().hex
        self._upload: dict[str, Any] = {}
        self._parts: list[CompletedPartTypeDef] = []

    def send(self, part: bytearray, *, last: bool) -> None:
        """Send the next part; all but the last have the writer's `part_bytes`."""
        if last and not self._upload:
            self._writer.write(Body.of(bytes(part)))
            return
        self._begin()
        number = len(self._parts) + 1
        if number > MAX_PARTS:
            limit = MAX_PARTS * self._writer.part_bytes
            raise FileTooLarge(f"the upload is over {limit} bytes; give the bucket ?part_bytes=….")
        body: Any = part
        sent = self._writer.client.upload_part(**self._upload, PartNumber=number, Body=body)
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        if last:
            self._complete()

    def abort(self) -> None:
        """Give up what was sent."""
        if self._upload:
            # What cannot be aborted now is removed with other remains later.
            with suppress(ClientError, BotoCoreError):
                self._writer.client.abort_multipart_upload(**self._upload)

    def _begin(self) -> None:
        if not self._upload:
            place = self._writer.place()
            started = self._writer.client.create_multipart_upload(
                **place, **self._writer.description(self._id)
            )
            self._upload = {**place, "UploadId": started["UploadId"]}

    def _complete(self, *, tries: int = CONFLICT_TRIES) -> None:
        try:
            self._writer.client.complete_multipart_upload(
                **self._upload, MultipartUpload={"Parts": self._parts}
            )
        except ClientError as exc:
            code = code_of(exc)
            # The SDK asks again when an answer is lost; then the object there may be ours.
            if code == "NoSuchUpload" and self._writer.is_there(self._id):
                return
            if code not in CONFLICTS or tries == 1:
                raise
            self._complete(tries=tries - 1)
