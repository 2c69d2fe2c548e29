"""The one file that a job leaves of a unit: the labels of its blocks, and what is known of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from kiosk_tasks.errors import InternalError
from kiosk_tasks.imaging.labels import Labels
from kiosk_tasks.ports import Storage
from kiosk_tasks.segmenting.large import BlockFacts
from kiosk_tasks.workspace import decode, encode

__all__ = ["PartsReader", "PartsWriter"]

_LEVEL = 1  # of zstd: labels are runs, and pack ten to one
_END = 8  # bytes that say how long the index is


class PartsWriter:
    """A context that writes the file: labels as they come, facts and an index behind them."""

    def __init__(self, target: Path) -> None:
        self._file = target.open("wb")
        self._index: dict[str, tuple[int, int]] = {}
        self._facts: list[tuple[str, bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name, data in self._facts:
            self._write(name, data)
        index = json.dumps(self._index).encode()
        self._file.write(index + len(index).to_bytes(_END, "little"))
        self._file.close()

    def add(self, result: int, block: int, labels: Labels, facts: BlockFacts) -> None:
        """Add a block. result: which of the job's label images it belongs to."""
        narrow = labels.astype(np.uint16 if len(facts.sums) < 2**16 else np.uint32)
        self._write(f"labels {result} {block}", encode(narrow))
        packed = _packed(encode(facts))
        self._facts.append((f"facts {result} {block}", packed))

    def _write(self, name: str, data: bytes) -> None:
        packed = data if name.startswith("facts") else _packed(data)
        self._index[name] = (self._file.tell(), len(packed))
        self._file.write(packed)


class PartsReader:
    """Reads such a file from the bucket, by ranges."""

    def __init__(self, storage: Storage, key: str) -> None:
        self._storage, self._key = storage, key
        size = storage.size(key)
        end = storage.read_range(key, size - _END, _END)
        length = int.from_bytes(end, "little")
        self._index = json.loads(storage.read_range(key, size - _END - length, length))

    def labels(self, result: int, block: int) -> Labels:
        """Return the labels of a block's core, numbered 1..n."""
        start, length = self._place(f"labels {result} {block}")
        packed = self._storage.read_range(self._key, start, length)
        narrow = decode(_unpacked(packed))
        labels: Labels = narrow.astype(np.int32)
        return labels

    def facts(self, result: int) -> Iterator[tuple[int, BlockFacts]]:
        """Yield number and facts of each block; they are fetched at once."""
        mark = f"facts {result} "
        places = {
            int(n.removeprefix(mark)): p for n, p in self._index.items() if n.startswith(mark)
        }
        first = min(start for start, _length in places.values())
        last = max(start + length for start, length in places.values())
        data = self._storage.read_range(self._key, first, last - first)
        for block, (start, length) in places.items():
            yield block, decode(_unpacked(data[start - first : start - first + length]))

    def _place(self, name: str) -> tuple[int, int]:
        if name not in self._index:
            raise InternalError(f"{self._key} lacks {name}.")
        start, length = self._index[name]
        return start, length


def _packed(data: bytes) -> bytes:
    # Imported here, as below: a worker that waits does without it.
    from imagecodecs import zstd_encode

    return bytes(zstd_encode(data, level=_LEVEL))


def _unpacked(data: bytes) -> bytes:
    from imagecodecs import zstd_decode

    return bytes(zstd_decode(data))
