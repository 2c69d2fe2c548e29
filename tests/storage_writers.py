"""Writers of one key, as a process of their own: the tests race them and kill them.

    python -m tests.storage_writers race URL KEY SIZE FIRST COUNT
    python -m tests.storage_writers stall URL KEY SIZE
    python -m tests.storage_writers copy URL KEY SOURCE TARGET

race: says "ready", waits for a line, then COUNT threads put_new SIZE bytes of FIRST, FIRST + 1, …;
prints the bytes that won. stall: uploads to a local bucket, and says "half" in the middle of it.
copy: uploads the file SOURCE, downloads it to TARGET, and lets it flow from the bucket into another
object and out of that one; prints the process's resident memory before that and at its peak, bytes,
the seconds that each step took, and the checksum of what flowed out.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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


def _copy(storage: Storage, key: str, source: Path, target: Path) -> dict[str, Any]:
    storage.put("warm/up", b"x")  # what is loaded once is loaded now
    storage.write("warm/through", storage.open("warm/up"))
    before = _memory_bytes("VmRSS")
    seconds: dict[str, float] = {}
    with _timed(seconds, "up"):
        storage.upload(key, source)
    with _timed(seconds, "down"):
        storage.download(key, target)
    with _timed(seconds, "through"):
        storage.write(f"{key} again", storage.open(key))
    digest = hashlib.sha256()
    with _timed(seconds, "out"):
        for chunk in storage.open(f"{key} again"):
            digest.update(chunk)
    peak = _memory_bytes("VmHWM")
    return {"before": before, "peak": peak, "seconds": seconds, "sha256": digest.hexdigest()}


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - start


def _memory_bytes(field: str) -> int:
    """Return this process's memory now ("VmRSS") or at its peak ("VmHWM"); Linux only."""
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(f"{field}:")
    )
    return int(line.split()[1]) * 1024


def _main(how: str, url: str, key: str, *numbers: str) -> None:
    storage = from_url(url)
    if how == "stall":
        _stall(storage, key, int(numbers[0]))
        return
    if how == "copy":
        sys.stdout.write(json.dumps(_copy(storage, key, Path(numbers[0]), Path(numbers[1]))))
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
