"""What was fetched and drawn lately: files on disk, pictures in memory, as many as fit."""

from __future__ import annotations

import hashlib
import shutil
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from kiosk_tasks.scratch import scratch_folder

__all__ = ["FileCache", "Lately"]

T = TypeVar("T")


class Lately(Generic[T]):
    """The values that were asked for last. Threads may share it."""

    def __init__(self, most: int, *, size: Callable[[T], int] = lambda _value: 1) -> None:
        """most: sum of the values' sizes that is kept."""
        self._most, self._size = most, size
        self._kept: OrderedDict[str, T] = OrderedDict()
        self._total = 0
        self._lock = threading.Lock()

    def get(self, key: str) -> T | None:
        """Return a value, None where it is not kept (any more)."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: str, value: T) -> T:
        """Keep a value, and return it; others go, the longest unused first."""
        with self._lock:
            if key in self._kept:
                self._total -= self._size(self._kept.pop(key))
            self._kept[key] = value
            self._total += self._size(value)
            while self._total > self._most and len(self._kept) > 1:
                self._total -= self._size(self._kept.popitem(last=False)[1])
        return value


@dataclass
class _Entry:
    """A folder for one file. users: how many read it now. bytes: None until it is there."""

    folder: Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    bytes: int | None = None


class FileCache:
    """Files that were fetched from the bucket, in a scratch folder. Threads may share it.

    What is in use stays, however much it is.
    """

    def __init__(self, scratch: Path | None, *, max_bytes: int) -> None:
        """scratch: as `scratch_folder` takes it."""
        open_folder = ExitStack()
        self._folder = open_folder.enter_context(scratch_folder(scratch))
        self._remove = weakref.finalize(self, open_folder.close)  # when the process ends, at last
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Remove all files."""
        self._remove()

    @contextmanager
    def file(self, key: str, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """Enclose the use of a file.

        fetch: writes it, to a path that is not there yet; called where it is not kept.
        """
        entry = self._taken(key)
        path = entry.folder / "file"
        try:
            with entry.lock:
                if entry.bytes is None:
                    shutil.rmtree(entry.folder, ignore_errors=True)  # of one that has just failed
                    entry.folder.mkdir()
                    fetch(path)
                    entry.bytes = sum(one.stat().st_size for one in entry.folder.iterdir())
            yield path
        finally:
            self._give_back(key, entry)

    def _taken(self, key: str) -> _Entry:
        with self._lock:
            if key not in self._entries:
                name = hashlib.sha256(key.encode()).hexdigest()
                self._entries[key] = _Entry(self._folder / name)
            self._entries.move_to_end(key)
            self._entries[key].users += 1
            return self._entries[key]

    def _give_back(self, key: str, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            if entry.bytes is None and not entry.users:
                shutil.rmtree(entry.folder, ignore_errors=True)  # nobody counts what is in it
                del self._entries[key]
            total = sum(one.bytes or 0 for one in self._entries.values())
            for old, one in list(self._entries.items()):
                if total <= self._max_bytes:
                    break
                if not one.users:
                    total -= one.bytes or 0
                    shutil.rmtree(one.folder, ignore_errors=True)
                    del self._entries[old]
