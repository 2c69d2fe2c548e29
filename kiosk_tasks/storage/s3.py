"""A bucket at Amazon S3, MinIO, or another server of that protocol.

Objects are private: no access rule is ever set, and a link to one is signed and ends. A large
object goes up in parts and is there once all are.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from kiosk_tasks.errors import MissingObject
from kiosk_tasks.ports import any_size
from kiosk_tasks.storage import check_key, check_prefix, full_name
from kiosk_tasks.storage.per_process import PerProcess
from kiosk_tasks.storage.s3_client import make_client
from kiosk_tasks.storage.s3_errors import code_of, mapped_errors, no_bucket, not_deleted
from kiosk_tasks.storage.s3_options import S3Options, parse_s3_url
from kiosk_tasks.storage.s3_parts import PartsUpload
from kiosk_tasks.storage.s3_reader import Reader
from kiosk_tasks.storage.s3_remains import abort_idle
from kiosk_tasks.storage.s3_writer import PARTS_AT_ONCE, Writer
from kiosk_tasks.storage.streams import PIECE_BYTES, Body, attachment, in_parts

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

__all__ = ["S3Storage"]

_CHUNKS_IN_QUEUE = 16
"""Of 256 KiB, between the connections and the file; the SDK's own limit is 25 MB."""


class S3Storage:
    """Objects below one prefix of a bucket."""

    def __init__(self, bucket: str, prefix: str = "", options: S3Options | None = None) -> None:
        """prefix: without slashes at its ends; nothing is asked of the server yet."""
        self.bucket = bucket
        self.options = options or S3Options()
        self._prefix = f"{prefix}/" if prefix else ""
        self._clients: PerProcess[str | None, S3Client] = PerProcess(
            partial(make_client, self.options)
        )
        self._bucket_is_there = False

    @classmethod
    def from_url(cls, url: str) -> S3Storage:
        """Return the bucket at `s3://bucket/prefix?option=value&…`; see S3Options."""
        return cls(*parse_s3_url(url))

    def get(self, key: str) -> bytes:
        """Return the object's bytes."""
        with self._errors(key):
            return self._client.get_object(Bucket=self.bucket, Key=self._name(key))["Body"].read()

    def open(self, key: str) -> Iterator[bytes]:
        """Return the object's bytes chunk by chunk."""
        with self._errors(key):
            pieces = self._reader(key).pieces(PIECE_BYTES)
        return (self._read(key, *piece) for piece in pieces)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return at most `length` bytes from `start` on."""
        return self._read(key, start, length)

    def download(self, key: str, target: Path, *, check: Callable[[int], None] = any_size) -> None:
        """Copy the object to a file: a small one with one request, a large one part by part.

        check: told its size before.
        """
        part_bytes = self.options.part_bytes
        config = TransferConfig(
            multipart_threshold=part_bytes,
            multipart_chunksize=part_bytes,
            max_concurrency=PARTS_AT_ONCE,
            max_io_queue=_CHUNKS_IN_QUEUE,
        )
        with self._errors(key):
            if self._reader(key).copied(target, most=part_bytes, check=check):
                return
            self._client.download_file(self.bucket, self._name(key), str(target), Config=config)

    def put(self, key: str, data: bytes) -> None:
        """Write an object, whole or not at all."""
        self._write(key, Body.of(data), new=False)

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        """Write an object from chunks, whole or not at all."""
        upload = PartsUpload(self._writer(key))
        with ExitStack() as undo:
            undo.callback(upload.abort)
            for part, last in in_parts(chunks, self.options.part_bytes):
                # Only here: an error of the chunks' own is none of the bucket's.
                with self._errors(key):
                    upload.send(part, last=last)
            undo.pop_all()

    def upload(self, key: str, source: Path) -> None:
        """Write an object from a file, whole or not at all."""
        self._upload(key, source, new=False)

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object where there is none; False if one is there."""
        return self._write(key, Body.of(data), new=True)

    def upload_new(self, key: str, source: Path) -> bool:
        """Write an object from a file where there is none; False if one is there."""
        check_key(key)
        with Body.of_file(source) as body:
            # a small one is sent at once: the server takes it, or says that there is one
            if body.size > self.options.part_bytes and self.exists(key):
                return False
            return self._write(key, body, new=True)

    def exists(self, key: str) -> bool:
        """Tell whether the object is there."""
        try:
            with self._errors(key):
                self._client.head_object(Bucket=self.bucket, Key=self._name(key))
        except MissingObject:
            return False
        return True

    def size(self, key: str) -> int:
        """Return how many bytes the object has."""
        with self._errors(key):
            answer = self._client.head_object(Bucket=self.bucket, Key=self._name(key))
        return answer["ContentLength"]

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        with self._errors(key):
            self._client.delete_object(Bucket=self.bucket, Key=self._name(key))

    def delete_all(self, prefix: str) -> int:
        """Remove the objects whose keys start with `prefix`; return how many there were."""
        removed = 0
        for names in self._pages(check_prefix(prefix, whole_bucket=False)):
            with self._errors(prefix):
                answer = self._client.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": name} for name in names], "Quiet": True},
                )
            for error in answer.get("Errors", []):
                raise not_deleted(self.bucket, error.get("Key", prefix), error.get("Code", ""))
            removed += len(names)
        return removed

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that start with `prefix`, sorted."""
        for names in self._pages(check_prefix(prefix)):
            # A name that ends in a slash is how consoles show an empty folder.
            yield from (name[len(self._prefix) :] for name in names if not name.endswith("/"))

    def remove_partials(self, older_than_s: float) -> int:
        """Abort uploads in parts to which nothing was added for that long; return how many."""
        latest = datetime.now(UTC) - timedelta(seconds=older_than_s)
        with self._errors(self._prefix):
            return abort_idle(self._client, self.bucket, self._prefix, latest=latest)

    def url(self, key: str, *, name: str | None = None) -> str:
        """Return a signed link to the object; whoever has it can fetch the object until it ends."""
        shown = {"ResponseContentDisposition": attachment(name)} if name else {}
        return self._link("get_object", key, shown)

    def upload_url(self, key: str) -> str:
        """Return a signed link; whoever has it can write the object until it ends."""
        return self._link("put_object", key, {})

    @property
    def _client(self) -> S3Client:
        return self._clients.get(None)

    def _link(self, call: str, key: str, more: dict[str, str]) -> str:
        with self._errors(key):
            return self._clients.get(self.options.public_endpoint).generate_presigned_url(
                call,
                Params={"Bucket": self.bucket, "Key": self._name(key), **more},
                ExpiresIn=self.options.url_lifetime_s,
            )

    def _name(self, key: str) -> str:
        return full_name(self._prefix, check_key(key))

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            with mapped_errors(self.bucket, key):
                yield
        except MissingObject:
            self._require_bucket()
            raise

    def _require_bucket(self) -> None:
        """Raise StorageDenied if there is no bucket: S3 does not always say which is missing."""
        if self._bucket_is_there:
            return
        with mapped_errors(self.bucket, self._prefix):
            try:
                self._client.head_bucket(Bucket=self.bucket)
            except ClientError as exc:
                if code_of(exc) == "404":
                    raise no_bucket(self.bucket) from exc
                if code_of(exc) != "403":  # it is there, and that is all this worker may know
                    raise
        self._bucket_is_there = True

    def _upload(self, key: str, source: Path, *, new: bool) -> bool:
        check_key(key)
        with Body.of_file(source) as body:
            return self._write(key, body, new=new)

    def _write(self, key: str, body: Body, *, new: bool) -> bool:
        writer = self._writer(key)
        with self._errors(key):
            return writer.write_new(body) if new else writer.write(body)

    def _writer(self, key: str) -> Writer:
        return Writer(self._client, self.bucket, self._name(key), self.options.part_bytes)

    def _reader(self, key: str) -> Reader:
        return Reader(self._client, self.bucket, self._name(key), self.options.attempts)

    def _read(self, key: str, start: int, length: int, etag: str | None = None) -> bytes:
        with self._errors(key):
            return self._reader(key).read(start, length, etag)

    def _pages(self, prefix: str) -> Iterator[builtins.list[str]]:
        """Yield the full names that start with `prefix`, sorted, up to a thousand at once."""
        with self._errors(prefix):
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self.bucket, Prefix=self._prefix + prefix):
                names = [entry["Key"] for entry in page.get("Contents", [])]
                if names:
                    yield names
