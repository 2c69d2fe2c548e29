"""Reading one object from S3 piece by piece: a reader that is slow keeps no connection waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from kiosk_tasks.storage.s3_errors import code_of
from kiosk_tasks.storage.streams import ranges

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

__all__ = ["Reader"]


@dataclass(frozen=True)
class Reader:
    """Reads one name in a bucket; errors are the SDK's."""

    client: S3Client
    bucket: str
    name: str
    attempts: int  #: per piece whose answer breaks off; the SDK tries again until it begins only

    def pieces(self, piece_bytes: int) -> Iterator[tuple[int, int, str]]:
        """Return start, length and version of each piece; asks for the object's size now."""
        found = self.client.head_object(Bucket=self.bucket, Key=self.name)
        etag = found["ETag"]
        return ((at, length, etag) for at, length in ranges(found["ContentLength"], piece_bytes))

    def read(self, start: int, length: int, etag: str | None = None) -> bytes:
        """Return a piece; none past the end. With an etag, only that version is read."""
        if length <= 0:
            return b""
        condition: dict[str, Any] = {"IfMatch": etag} if etag else {}
        span = f"bytes={start}-{start + length - 1}"
        for tries in range(1, self.attempts + 1):
            try:
                answer = self.client.get_object(
                    Bucket=self.bucket, Key=self.name, Range=span, **condition
                )
            except ClientError as exc:
                if code_of(exc) == "InvalidRange":
                    return b""
                raise
            try:
                return answer["Body"].read()
            except (HTTPClientError, IncompleteReadError):
                if tries == self.attempts:
                    raise
        return b""

    def copied(self, target: Path, *, most: int, check: Callable[[int], None]) -> bool:
        """Copy the whole object to a file, with one request; False if it is larger than `most`.

        check: told its size before.
        """
        for tries in range(1, self.attempts + 1):
            answer = self.client.get_object(Bucket=self.bucket, Key=self.name)
            with closing(answer["Body"]) as body:
                check(answer["ContentLength"])
                if answer["ContentLength"] > most:
                    return False
                try:
                    data = body.read()
                    break
                except (HTTPClientError, IncompleteReadError):
                    if tries == self.attempts:
                        raise
        with ExitStack() as undo:
            undo.callback(target.unlink, missing_ok=True)
            target.write_bytes(data)
            undo.pop_all()
        return True
