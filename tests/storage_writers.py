"""Writers of one key, as a process of their own: the tests race them and kill them.

    python -m tests.storage_writers race URL KEY SIZE FIRST COUNT
    python -m tests.storage_writers stall URL KEY SIZE

race: says "ready", waits for a line, then COUNT threads put_new SIZE bytes of FIRST, FIRST + 1, …;
prints the bytes that won. stall: uploads to a local bucket, and says "half" in the middle of it.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

from kiosk_tasks.ports import Storage
from kiosk_tasks.storage import from_url

__all__ = ["race"]


def race(storage: Storage, key: str, *, size: int, writers: range) -> list[int]:
    """Let threads write the key at the same moment; return those that were told they did."""
    start = Barrier(len(writers))

    def write(number: int) -> bool:
        data = bytes([number]) * size
        start.wait()
        return storage.put_new(key, data)

    with ThreadPoolExecutor(len(writers)) as pool:
        return [
            number for number, won in zip(writers, pool.map(write, writers), strict=True) if won
        ]


def _stall(storage: Storage, key: str, size: int) -> None:
    def copy_half(source: Any, target: Any, **_: Any) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[: size // 2])
        sys.stdout.write("half\n")
        sys.stdout.flush()
        sys.stdin.readline()
        Path(target).write_bytes(Path(source).read_bytes())

    shutil.copyfile = copy_half  # type: ignore[assignment]
    with tempfile.NamedTemporaryFile() as source:
        source.write(b"x" * size)
        source.flush()
        storage.upload(key, Path(source.name))


def _main(how: str, url: str, key: str, *numbers: str) -> None:
    storage = from_url(url)
    if how == "stall":
        _stall(storage, key, int(numbers[0]))
        return
    size, first, count = map(int, numbers)
    storage.exists(key)  # whatever is made on first use is made now
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    won = race(storage, key, size=size, writers=range(first, first + count))
    sys.stdout.write(json.dumps(won) + "\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
