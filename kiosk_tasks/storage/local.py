"""A bucket in a local folder."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from kiosk_tasks.errors import KioskError, MissingObject, StorageFull, StorageUnavailable
from kiosk_tasks.storage import check_key, check_prefix

__all__ = ["LocalStorage"]

_PART = ".part"


class LocalStorage:
    """Files below one folder; an object is written beside its place and renamed into it."""

    def __init__(self, root: Path) -> None:
        """root: the folder; it is made when the first object is written."""
        self.root = root

    @classmethod
    def from_url(cls, url: str) -> LocalStorage:
        """Return the bucket at a `file:///folder` URL."""
        return cls(Path(unquote(urlsplit(url).path)))

    def get(self, key: str) -> bytes:
        """Return the object's bytes."""
        with _mapped_errors(key):
            return self._path(key).read_bytes()

    def download(self, key: str, target: Path) -> None:
        """Copy the object to a file."""
        with _mapped_errors(key):
            shutil.copyfile(self._path(key), target)

    def put(self, key: str, data: bytes) -> None:
        """Write an object, whole or not at all."""
        with self._part(key) as part:
            part.write_bytes(data)

    def upload(self, key: str, source: Path) -> None:
        """Write an object from a file, whole or not at all."""
        with self._part(key) as part:
            shutil.copyfile(source, part)

    def exists(self, key: str) -> bool:
        """Tell whether the object is there."""
        return self._path(key).is_file()

    def delete(self, key: str) -> None:
        """Remove the object if it is there, and folders that become empty."""
        with _mapped_errors(key):
            path = self._path(key)
            if path.is_file():
                path.unlink(missing_ok=True)
            for folder in path.parents:
                if folder == self.root or not folder.is_dir() or any(folder.iterdir()):
                    break
                _remove_if_empty(folder)

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that start with `prefix`, sorted."""
        start = self.root / check_prefix(prefix).rpartition("/")[0]
        files = (f for f in start.rglob("*") if f.is_file() and f.suffix != _PART)
        keys = (f.relative_to(self.root).as_posix() for f in files)
        yield from sorted(key for key in keys if key.startswith(prefix))

    def url(self, key: str) -> str:
        """Return a file:// URL."""
        return self._path(key).absolute().as_uri()

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    @contextmanager
    def _part(self, key: str) -> Iterator[Path]:
        path = self._path(key)
        part = path.with_name(f".{path.name}.{uuid4().hex}{_PART}")
        with _mapped_errors(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                yield part
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)


@contextmanager
def _mapped_errors(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as exc:
        raise MissingObject(f"the bucket has no object {key!r}.") from exc
    except OSError as exc:
        raise _mapped(exc, key) from exc


def _mapped(error: OSError, key: str) -> KioskError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(
            f"the disk is full: {key!r} cannot be written. Free some space, then resubmit."
        )
    return StorageUnavailable(
        f"{key!r} cannot be read or written: {os.strerror(error.errno or 0)}."
    )


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError as exc:  # a twin put something there between the look and the removal
        if exc.errno not in (errno.ENOTEMPTY, errno.ENOENT):
            raise
