"""Movies with tracks as `.trk` files, written frame by frame."""

from __future__ import annotations

import json
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging._npy import npy_start

__all__ = ["TrkWriter"]

_LEVEL = 1  # camera noise does not pack better with more
_GZIP_WINDOW = 31  # zlib's word for a gzip header and trailer around the stream
_COPY_BYTES = 2**20


class TrkWriter(AbstractContextManager["TrkWriter"]):
    """A context that writes a `.trk` file: tar packed with gzip; no more than a frame in memory.

    The tar file's parts are packed as gzip members of their own, written side by side and put
    together at the end, for two arrays grow at once and a tar file holds one after the other.
    Equal calls give equal bytes. The file is there once `finish` was called.
    """

    def __init__(
        self, path: Path, shape: tuple[int, int, int], *, raw: np.dtype[Any], tracked: np.dtype[Any]
    ) -> None:
        """shape: (T, Y, X). raw, tracked: types of the pixels and of the labels."""
        self._path = path
        self._raw = _PackedArray(path.with_suffix(".raw"), "raw.npy", raw, shape)
        self._tracked = _PackedArray(path.with_suffix(".tracked"), "tracked.npy", tracked, shape)

    def __exit__(self, *error: object) -> None:
        for part in (self._raw, self._tracked):
            part.file.close()
            part.path.unlink()

    def add(self, raw: NDArray[Any], tracked: NDArray[Any]) -> None:
        """Write the next frame; both (Y, X)."""
        self._raw.add(raw)
        self._tracked.add(tracked)

    def finish(self, lineage: Mapping[str, Any]) -> None:
        """Write the lineage and close the file; every frame must have been added."""
        text = json.dumps(lineage, separators=(",", ":")).encode()
        rest = _gzip(_tar_header("lineage.json", len(text)) + text + _padding(len(text)))
        for part in (self._raw, self._tracked):
            part.finish()
        with self._path.open("wb") as target:
            for part in (self._raw, self._tracked):
                with part.path.open("rb") as source:
                    shutil.copyfileobj(source, target, _COPY_BYTES)
            target.write(rest + _gzip(bytes(tarfile.RECORDSIZE)))


class _PackedArray:
    """One array of the tar file, with its headers, as one gzip member."""

    def __init__(
        self, path: Path, name: str, kind: np.dtype[Any], shape: tuple[int, int, int]
    ) -> None:
        self.path = path
        self.file: IO[bytes] = path.open("wb")
        self._kind = kind.newbyteorder("<")
        self._missing = shape[0]
        self._packer = zlib.compressobj(_LEVEL, wbits=_GZIP_WINDOW)
        start = npy_start(self._kind, (*shape, 1))
        self._size_bytes = len(start) + prod(shape) * kind.itemsize
        self._write(_tar_header(name, self._size_bytes) + start)

    def add(self, frame: NDArray[Any]) -> None:
        self._missing -= 1
        self._write(np.ascontiguousarray(frame, self._kind).tobytes())

    def finish(self) -> None:
        if self._missing:
            raise ValueError(f"{self._missing} frames have not been added.")
        self._write(_padding(self._size_bytes))
        self.file.write(self._packer.flush())
        self.file.close()

    def _write(self, data: bytes) -> None:
        self.file.write(self._packer.compress(data))


def _tar_header(name: str, size_bytes: int) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = size_bytes  # GNU's format has room for more than 8 GiB
    return entry.tobuf(tarfile.GNU_FORMAT)


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % tarfile.BLOCKSIZE)


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP_WINDOW)
    return packer.compress(data) + packer.flush()
