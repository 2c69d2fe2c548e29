"""Chunks within shards: where they are says the shard's index, which is kept."""

from __future__ import annotations

from collections import OrderedDict
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.regions.spans import Span
from kiosk_tasks.imaging.regions.values import Files
from kiosk_tasks.imaging.regions.zarr_array import ZarrArray
from kiosk_tasks.imaging.regions.zarr_codecs import unpack
from kiosk_tasks.imaging.regions.zarr_files import ZarrFiles

__all__ = ["Shards"]

_MISSING = 2**64 - 1
_KEPT_BYTES = 2**24  # of indices
_MOST_CHUNKS = 2**18  # of a shard


class Shards:
    """The shards of an array. One thread at a time uses it."""

    def __init__(self, files: Files, inside: ZarrFiles, path: str, array: ZarrArray) -> None:
        """path: of the array, with a slash. Raises ValueError for shards of too many chunks."""
        sharding = array.sharding
        if sharding is None:
            raise ValueError("its chunks are in no shards")
        self._files = files
        self._inside = inside
        self._path = path
        self._array = array
        self._sharding = sharding
        self._grid = tuple(a // b for a, b in zip(sharding.shape, array.chunk, strict=True))
        if prod(self._grid) > _MOST_CHUNKS:
            raise ValueError(f"its shards hold {prod(self._grid)} chunks")
        self._index_bytes = 16 * prod(self._grid) + 4 * len(sharding.index)
        self._kept: OrderedDict[str, NDArray[np.uint64] | None] = OrderedDict()

    def span(self, number: tuple[int, ...], most: int, what: Any) -> Span | None:
        """Return where a chunk is; None if it is not there. Raises ValueError for damage."""
        shard = [at // per for at, per in zip(number, self._grid, strict=True)]
        path = self._path + self._array.path(shard)
        index = self._index(path)
        if index is None:
            return None
        within = tuple(at % per for at, per in zip(number, self._grid, strict=True))
        start, length = (int(value) for value in index[within])
        if start == length == _MISSING:
            return None
        if length > most or start >= 2**63:
            raise ValueError(f"a chunk of {self._array.chunk_bytes} bytes takes {length}")
        span = self._inside.part(path, start, length, what)
        if span is None:
            raise ValueError("a shard ends before its chunks do")
        return span

    def _index(self, path: str) -> NDArray[np.uint64] | None:
        if path not in self._kept:
            self._kept[path] = self._read(path)
            while len(self._kept) > max(1, _KEPT_BYTES // self._index_bytes):
                self._kept.popitem(last=False)
        self._kept.move_to_end(path)
        return self._kept[path]

    def _read(self, path: str) -> NDArray[np.uint64] | None:
        size_bytes = self._inside.size(path)
        if size_bytes is None:
            return None
        start = size_bytes - self._index_bytes if self._sharding.at_end else 0
        where = self._inside.part(path, start, self._index_bytes, None) if start >= 0 else None
        data = self._files.read_range(where.key, where.start, where.length) if where else b""
        if len(data) < self._index_bytes:
            raise ValueError("a shard is shorter than its index")
        plain = unpack(data, self._sharding.index, 16 * prod(self._grid))
        return np.frombuffer(plain, "<u8").reshape((*self._grid, 2))
