"""A bucket at Google Cloud Storage, or at a server of that protocol such as an emulator.

Objects are private: no access rule is ever set, and a link to one is signed and ends. A large
object goes up in parts and is there once all are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from google.cloud.storage import Client

from kiosk_tasks.errors import MissingObject, StorageUnavailable
from kiosk_tasks.ports import any_size
from kiosk_tasks.storage import check_key, check_prefix, full_name
from kiosk_tasks.storage.gcs_client import Reach, make_client
from kiosk_tasks.storage.gcs_errors import VENDOR_ERRORS, mapped_errors, no_bucket, status_of
from kiosk_tasks.storage.gcs_links import Links, link
from kiosk_tasks.storage.gcs_options import GCSOptions, parse_gcs_url
from kiosk_tasks.storage.gcs_reader import Whole, find, read
from kiosk_tasks.storage.gcs_writer import PartsUpload, Writer
from kiosk_tasks.storage.per_process import PerProcess
from kiosk_tasks.storage.streams import Body, attachment, in_parts

__all__ = ["GCSStorage"]

_DELETIONS_AT_ONCE = 8
_PAGE = 1000


class GCSStorage:
    """Objects below one prefix of a bucket."""

    def __init__(self, bucket: str, prefix: str = "", options: GCSOptions | None = None) -> None:
        """prefix: without slashes at its ends; nothing is asked of the server yet."""
        self.bucket = bucket
        self.options = options or GCSOptions()
        self._prefix = f"{prefix}/" if prefix else ""
        self._clients: PerProcess[GCSOptions, Client] = PerProcess(make_client)
        self._links = Links()
        self._bucket_is_there = False

    @classmethod
    def from_url(cls, url: str) -> GCSStorage:
        """Return the bucket at `gs://bucket/prefix?option=value&…`; see GCSOptions."""
        return cls(*parse_gcs_url(url))

    def get(self, key: str) -> bytes:
        """Return the object's bytes."""
        with self._errors(key):
            blob = self._reach.blob(self._name(key))
            data: bytes = blob.download_as_bytes(raw_download=True, **self._reach.call)
        return data

    def open(self, key: str) -> Iterator[bytes]:
        """Return the object's bytes chunk by chunk."""
        return self._find(key).pieces(self._reach, key)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return at most `length` bytes from `start` on."""
        with self._errors(key):
            return read(self._reach, self._name(key), start, length)

    def download(self, key: str, target: Path, *, check: Callable[[int], None] = any_size) -> None:
        """Copy the object to a file; check: told its size before."""
        whole = self._find(key)
        check(whole.size)
        pieces = whole.pieces(self._reach, key)
        with ExitStack() as undo:
            undo.callback(target.unlink, missing_ok=True)
            with mapped_errors(self.bucket, key), target.open("wb") as file:
                for piece in pieces:
                    file.write(piece)
            undo.pop_all()

    def put(self, key: str, data: bytes) -> None:
        """Write an object, whole or not at all."""
        self._write(key, Body.of(data), new=False)

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        """Write an object from chunks, whole or not at all."""
        with self._errors(key):
            upload = PartsUpload(self._reach, self._name(key))
        with ExitStack() as undo:
            undo.callback(upload.abort)
            for part, last in in_parts(chunks, self.options.part_bytes):
                # Only here: an error of the chunks' own is none of the bucket's.
                with self._writing(key):
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
            self._find(key)
        except MissingObject:
            return False
        return True

    def size(self, key: str) -> int:
        """Return how many bytes the object has."""
        return self._find(key).size

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        with self._errors(key):
            self._delete(self._name(key))

    def delete_all(self, prefix: str) -> int:
        """Remove the objects whose keys start with `prefix`; return how many there were."""
        names = list(self._names(check_prefix(prefix, whole_bucket=False)))
        with self._errors(prefix), ThreadPoolExecutor(_DELETIONS_AT_ONCE) as pool:
            list(pool.map(self._delete, names))
        return len(names)

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that start with `prefix`, sorted."""
        for name in self._names(check_prefix(prefix)):
            # A name that ends in a slash is how consoles show an empty folder.
            if not name.endswith("/"):
                yield name[len(self._prefix) :]

    def remove_partials(self, older_than_s: float) -> int:  # noqa: ARG002  # the port's name
        """Return 0: Google shows no upload that has not ended, and forgets it after a week."""
        return 0

    def url(self, key: str, *, name: str | None = None) -> str:
        """Return a signed link to the object; whoever has it can fetch the object until it ends."""
        return self._link(key, "GET", attachment(name) if name else None)

    def upload_url(self, key: str) -> str:
        """Return a signed link; whoever has it can write the object until it ends."""
        return self._link(key, "PUT", None)

    def _link(self, key: str, method: str, shown: str | None) -> str:
        with self._errors(key):
            full = self._name(key)
            return self._links.get(
                (full, method, shown or ""),
                self.options.url_lifetime_s,
                lambda: link(self._reach, full, method=method, disposition=shown),
            )

    @property
    def _reach(self) -> Reach:
        return Reach(self._clients.get(self.options), self.bucket, self.options)

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

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        try:
            with self._errors(key):
                yield
        except MissingObject as exc:  # the bucket is there; what is not is the upload in parts
            raise StorageUnavailable(
                f"the bucket {self.bucket!r} has forgotten the upload of {key!r}."
            ) from exc

    def _require_bucket(self) -> None:
        """Raise StorageDenied if there is no bucket: the status does not say which is missing."""
        if self._bucket_is_there:
            return
        with mapped_errors(self.bucket, self._prefix):
            try:
                self._reach.client.get_bucket(self.bucket, **self._reach.call)
            except VENDOR_ERRORS as exc:
                if status_of(exc) == 404:
                    raise no_bucket(self.bucket) from exc
                if status_of(exc) != 403:  # it is there, and that is all this worker may know
                    raise
        self._bucket_is_there = True

    def _find(self, key: str) -> Whole:
        with self._errors(key):
            return find(self._reach, self._name(key))

    def _upload(self, key: str, source: Path, *, new: bool) -> bool:
        check_key(key)
        with Body.of_file(source) as body:
            return self._write(key, body, new=new)

    def _write(self, key: str, body: Body, *, new: bool) -> bool:
        with self._writing(key):
            writer = Writer(self._reach, self._name(key))
            return writer.write_new(body) if new else writer.write(body)

    def _delete(self, name: str) -> None:
        try:
            self._reach.blob(name).delete(**self._reach.call)
        except VENDOR_ERRORS as exc:
            if status_of(exc) != 404:
                raise
            self._require_bucket()

    def _names(self, prefix: str) -> Iterator[str]:
        """Yield the full names that start with `prefix`, sorted."""
        with self._errors(prefix):
            found = self._reach.client.list_blobs(
                self.bucket,
                prefix=self._prefix + prefix,
                fields="items(name),nextPageToken",
                page_size=_PAGE,
                **self._reach.call,
            )
            for blob in found:
                yield str(blob.name)
