"""A bucket in a local folder, which may be one that several machines share."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kiosk_tasks.errors import InvalidParameter, MissingObject, UnsupportedByBucket
from kiosk_tasks.ports import any_size
from kiosk_tasks.storage import check_key, check_prefix, part_files
from kiosk_tasks.storage.local_errors import mapped, reading, writing
from kiosk_tasks.storage.streams import CHUNK_BYTES

__all__ = ["LocalStorage"]


class LocalStorage:
    """Files below one folder; an object is written beside its place and then put into it."""

    def __init__(self, root: Path) -> None:
        """root: the folder; it is made when the first object is written."""
        self.root = root

    @classmethod
    def from_url(cls, url: str) -> LocalStorage:
        """Return the bucket at a `file:///folder` URL.

        Raises InvalidParameter for one that names another machine, or no whole path.
        """
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
            raise InvalidParameter(
                f'"file://{parts.netloc.rpartition("@")[2]}{parts.path}" names no folder; write '
                f"three slashes and the whole path, for example file:///srv/kiosk/bucket."
            )
        return cls(Path(unquote(parts.path)))

    def get(self, key: str) -> bytes:
        """Return the object's bytes."""
        with reading(key):
            return self._path(key).read_bytes()

    def open(self, key: str) -> Iterator[bytes]:
        """Return the object's bytes chunk by chunk."""
        chunks = self._chunks(key)
        next(chunks)  # opens the file, or says why not
        return chunks

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return at most `length` bytes from `start` on."""
        with reading(key), self._path(key).open("rb") as file:
            file.seek(start)
            return file.read(min(length, max(0, os.fstat(file.fileno()).st_size - start)))

    def download(self, key: str, target: Path, *, check: Callable[[int], None] = any_size) -> None:
        """Copy the object to a file; check: told its size before."""
        source = self._path(key)
        with reading(key), source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
        check(size)  # it is there; what goes wrong from here on is the target's fault
        try:
            shutil.copyfile(source, target)
        except OSError as exc:
            with suppress(OSError):
                target.unlink(missing_ok=True)
            raise mapped(exc, key) from exc

    def put(self, key: str, data: bytes) -> None:
        """Write an object, whole or not at all."""
        with self._part(key) as part:
            part.write_bytes(data)
            part_files.replace(part, self._path(key))

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        """Write an object from chunks, whole or not at all."""
        path = self._path(key)
        part = part_files.beside(path)
        with writing(key):
            part_files.create(part)
        try:
            with part.open("ab", buffering=0) as file:
                for chunk in chunks:  # an error of the chunks' own is none of the bucket's
                    with writing(key):
                        _write_all(file, chunk)
            with writing(key):
                part_files.replace(part, path)
        finally:
            part.unlink(missing_ok=True)

    def upload(self, key: str, source: Path) -> None:
        """Write an object from a file, whole or not at all."""
        with self._copy(key, source) as part:
            part_files.replace(part, self._path(key))

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object where there is none; False if one is there."""
        if self.exists(key):
            return False
        with self._part(key) as part:
            part.write_bytes(data)
            return part_files.place_new(part, self._path(key))

    def upload_new(self, key: str, source: Path) -> bool:
        """Write an object from a file where there is none; False if one is there."""
        if self.exists(key):
            return False
        with self._copy(key, source) as part:
            return part_files.place_new(part, self._path(key))

    def exists(self, key: str) -> bool:
        """Tell whether the object is there."""
        with reading(key):
            return self._path(key).is_file()

    def size(self, key: str) -> int:
        """Return how many bytes the object has."""
        if not self.exists(key):  # a folder has a size, too
            raise MissingObject(f"the bucket has no object {key!r}.")
        with reading(key):
            return self._path(key).stat().st_size

    def delete(self, key: str) -> None:
        """Remove the object if it is there, and folders that become empty."""
        path = self._path(key)
        with writing(key):
            _unlink(path)
            self._remove_empty_folders(path)

    def delete_all(self, prefix: str) -> int:
        """Remove the objects whose keys start with `prefix`; return how many there were."""
        keys = list(self.list(check_prefix(prefix, whole_bucket=False)))
        for key in keys:
            self.delete(key)
        return len(keys)

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that start with `prefix`, sorted."""
        start = self.root / check_prefix(prefix).rpartition("/")[0]
        with reading(prefix):
            files = [file for file in _files(start) if not part_files.is_part_file(file.name)]
        keys = (file.relative_to(self.root).as_posix() for file in files)
        yield from sorted(key for key in keys if key.startswith(prefix))

    def remove_partials(self, older_than_s: float) -> int:
        """Remove part files that nobody has written to for that long; return how many."""
        removed = 0
        latest = time.time() - older_than_s
        for part in _files(self.root):
            if part_files.is_part_file(part.name):
                # One that is gone by now was finished by a writer that lives.
                with writing(part.name), suppress(FileNotFoundError):
                    if part.stat().st_mtime < latest:
                        part.unlink()
                        removed += 1
                        self._remove_empty_folders(part)
        return removed

    def url(self, key: str, *, name: str | None = None) -> str:  # noqa: ARG002  # the port's name
        """Return a file:// URL."""
        return self._path(key).absolute().as_uri()

    def upload_url(self, key: str) -> str:
        """Raise UnsupportedByBucket: nobody answers a PUT to a folder."""
        raise UnsupportedByBucket(
            f"{check_key(key)!r} lies in a folder, to which no link can lead an upload; "
            f"send the file to the web service."
        )

    def _chunks(self, key: str) -> Iterator[bytes]:
        """Yield nothing, once, when the file is open; then its chunks."""
        with reading(key), self._path(key).open("rb") as file:
            yield b""
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    @contextmanager
    def _part(self, key: str) -> Iterator[Path]:
        """Yield an empty file beside the object's place; it is gone afterwards."""
        part = part_files.beside(self._path(key))
        with writing(key):
            try:
                part_files.create(part)
                yield part
            finally:
                part.unlink(missing_ok=True)

    @contextmanager
    def _copy(self, key: str, source: Path) -> Iterator[Path]:
        """Yield a part file with what is in the source."""
        check_key(key)
        with source.open("rb"):
            pass  # if it is not there, that error is none of the bucket's
        with self._part(key) as part:
            shutil.copyfile(source, part)
            yield part

    def _remove_empty_folders(self, path: Path) -> None:
        for folder in path.parents:
            if folder == self.root:
                break
            try:
                folder.rmdir()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as exc:
                if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                break


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _unlink(path: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        if not path.is_dir():
            path.unlink()


def _files(start: Path) -> Iterator[Path]:
    """Yield every file below a folder; what vanishes meanwhile is passed over."""
    for folder, _, names in os.walk(start, onerror=_refuse_but_vanished):
        yield from (file for name in names if (file := Path(folder, name)).is_file())


def _refuse_but_vanished(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise mapped(error, str(error.filename)) from error
