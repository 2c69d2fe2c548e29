"""A bucket in this process's memory: the twin of every other adapter, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from threading import Lock
from typing import ClassVar

from kiosk_tasks.errors import MissingObject, UnsupportedByBucket
from kiosk_tasks.ports import any_size
from kiosk_tasks.storage import check_key, check_prefix
from kiosk_tasks.storage.streams import CHUNK_BYTES, ranges

__all__ = ["MemoryStorage"]


class MemoryStorage:
    """Objects in a dict."""

    _named: ClassVar[dict[str, MemoryStorage]] = {}

    def __init__(self) -> None:
        """Start empty."""
        self.objects: dict[str, bytes] = {}
        self._writing = Lock()

    @classmethod
    def named(cls, name: str) -> MemoryStorage:
        """Return the bucket of that name; the same one each time in this process."""
        return cls._named.setdefault(name, cls())

    def get(self, key: str) -> bytes:
        """Return the object's bytes."""
        try:
            return self.objects[check_key(key)]
        except KeyError:
            raise MissingObject(f"the bucket has no object {key!r}.") from None

    def open(self, key: str) -> Iterator[bytes]:
        """Return the object's bytes chunk by chunk."""
        data = self.get(key)
        steps = ranges(len(data), CHUNK_BYTES)
        return (data[start : start + length] for start, length in steps)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """Return at most `length` bytes from `start` on."""
        return self.get(key)[start : start + length]

    def download(self, key: str, target: Path, *, check: Callable[[int], None] = any_size) -> None:
        """Copy the object to a file; check: told its size before."""
        data = self.get(key)
        check(len(data))
        target.write_bytes(data)

    def put(self, key: str, data: bytes) -> None:
        """Write an object."""
        with self._writing:
            self.objects[check_key(key)] = bytes(data)

    def write(self, key: str, chunks: Iterable[bytes]) -> None:
        """Write an object from chunks."""
        self.put(check_key(key), b"".join(chunks))

    def upload(self, key: str, source: Path) -> None:
        """Write an object from a file."""
        self.put(check_key(key), source.read_bytes())

    def put_new(self, key: str, data: bytes) -> bool:
        """Write an object where there is none; False if one is there."""
        with self._writing:
            if self.exists(key):
                return False
            self.objects[key] = bytes(data)
            return True

    def upload_new(self, key: str, source: Path) -> bool:
        """Write an object from a file where there is none; False if one is there."""
        return self.put_new(check_key(key), source.read_bytes())

    def exists(self, key: str) -> bool:
        """Tell whether the object is there."""
        return check_key(key) in self.objects

    def size(self, key: str) -> int:
        """Return how many bytes the object has."""
        return len(self.get(key))

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        self.objects.pop(check_key(key), None)

    def delete_all(self, prefix: str) -> int:
        """Remove the objects whose keys start with `prefix`; return how many there were."""
        keys = list(self.list(check_prefix(prefix, whole_bucket=False)))
        return sum(self.objects.pop(key, None) is not None for key in keys)

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that start with `prefix`, sorted."""
        check_prefix(prefix)
        yield from sorted(key for key in tuple(self.objects) if key.startswith(prefix))

    def remove_partials(self, older_than_s: float) -> int:  # noqa: ARG002  # the port's name
        """Return 0: what is written here is there at once."""
        return 0

    def url(self, key: str, *, name: str | None = None) -> str:  # noqa: ARG002  # the port's name
        """Return a URL that only this process understands."""
        return f"memory:///{check_key(key)}"

    def upload_url(self, key: str) -> str:
        """Raise UnsupportedByBucket: nobody else reaches this process's memory."""
        raise UnsupportedByBucket(f"{check_key(key)!r} can only be written by this process.")
