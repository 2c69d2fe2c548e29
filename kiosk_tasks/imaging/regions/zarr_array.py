"""What a Zarr array's metadata says, of format 2 and 3, checked before a chunk is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from kiosk_tasks.imaging.regions.zarr_codecs import Codec, check_codecs

__all__ = ["Sharding", "ZarrArray", "array_v2", "array_v3"]

_MOST_DIMENSIONS = 8
_MOST_CHUNK_BYTES = 2**27  # decoded: four of them fit into a worker's memory
_LONGEST_FILL = 40  # letters; those of the smallest 64-bit fraction are 24
_KINDS = "buif"
_V3_TYPES = frozenset(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)) | {
    "bool",
    "float16",
    "float32",
    "float64",
}


@dataclass(frozen=True)
class Sharding:
    """Chunks that lie together in one file, behind or before an index.

    shape: of a shard, px. index: how the index is packed. at_end: where it is.
    """

    shape: tuple[int, ...]
    index: tuple[Codec, ...]
    at_end: bool


@dataclass(frozen=True)
class ZarrArray:
    """An array.

    shape, chunk: lengths, px. dtype: in native byte order.
    stored: how pixels lie in a chunk: byte order, and Fortran's order if `order` is "F".
    permuted: in which order a chunk's dimensions lie.
    codecs: how a chunk is packed, in the order of packing.
    prefix, separator: of a chunk's path.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: Any
    stored: np.dtype[Any]
    codecs: tuple[Codec, ...]
    prefix: str
    separator: str
    permuted: tuple[int, ...] | None = None
    sharding: Sharding | None = None

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk, decoded."""
        return prod(self.chunk) * self.dtype.itemsize

    def path(self, number: Sequence[int]) -> str:
        """Return the path of a chunk, or of a shard, within the array's folder."""
        return self.prefix + self.separator.join(map(str, number))


def array_v2(found: dict[str, Any]) -> ZarrArray:
    """Return what a `.zarray` says; raises ValueError with what it is that cannot be read."""
    if found.get("filters"):
        raise ValueError("it has filters beside compression")
    stored = _dtype(found.get("dtype"))
    compressor = found.get("compressor")
    codecs: tuple[Codec, ...] = ()
    if compressor is not None:
        if not isinstance(compressor, dict):
            raise ValueError("its compressor is no JSON object")
        codecs = (Codec(str(compressor.get("id")), "v2"),)
    shape, chunk = _sizes(found.get("shape")), _sizes(found.get("chunks"))
    array = ZarrArray(
        shape=shape,
        chunk=chunk,
        dtype=stored.newbyteorder("="),
        fill=_fill(found.get("fill_value"), stored),
        stored=stored,
        codecs=codecs,
        prefix="",
        separator=_separator(found.get("dimension_separator", ".")),
        permuted=tuple(reversed(range(len(shape)))) if found.get("order") == "F" else None,
    )
    return _checked(array)


def array_v3(found: dict[str, Any]) -> ZarrArray:
    """Return what a `zarr.json` of an array says; raises ValueError as `array_v2` does."""
    kind = found.get("data_type")
    if kind not in _V3_TYPES:
        raise ValueError(f"its pixels are of the type {str(kind)[:40]!r}")
    grid, keys = found["chunk_grid"], found.get("chunk_key_encoding", {"name": "default"})
    if grid["name"] != "regular" or keys["name"] not in ("default", "v2"):
        raise ValueError("its chunks are of unequal size, or named in an unknown way")
    dtype = np.dtype(kind)
    is_default = keys["name"] == "default"
    separator = _separator(
        (keys.get("configuration") or {}).get("separator", "/" if is_default else ".")
    )
    array = ZarrArray(
        shape=_sizes(found["shape"]),
        chunk=_sizes(grid["configuration"]["chunk_shape"]),
        dtype=dtype,
        fill=_fill(found.get("fill_value"), dtype),
        stored=dtype,
        codecs=(),
        prefix=f"c{separator}" if is_default else "",
        separator=separator,
    )
    return _checked(_with_codecs(array, found["codecs"]))


def _with_codecs(array: ZarrArray, codecs: Sequence[dict[str, Any]]) -> ZarrArray:
    """Return the array with what its list of codecs says."""
    packing: list[Codec] = []
    for number, one in enumerate(codecs):
        codec, given = str(one["name"]), one.get("configuration") or {}
        if codec == "transpose":
            order = tuple(int(axis) for axis in given["order"])
            if array.permuted is not None or sorted(order) != list(range(len(array.shape))):
                raise ValueError("its dimensions are permuted in an unknown way")
            array = replace(array, permuted=order)
        elif codec == "bytes":
            is_big = given.get("endian") == "big"
            array = replace(array, stored=array.dtype.newbyteorder(">" if is_big else "<"))
        elif codec == "sharding_indexed":
            if number or len(codecs) > 1 or array.sharding is not None:
                raise ValueError("its shards are packed once more")
            return _sharded(array, given)
        else:
            packing.append(Codec(codec, "v3"))
    return replace(array, codecs=tuple(packing))


def _sharded(array: ZarrArray, given: dict[str, Any]) -> ZarrArray:
    index = _with_codecs(replace(array, dtype=np.dtype("u8")), given["index_codecs"])
    if index.stored != np.dtype("<u8") or index.permuted is not None:
        raise ValueError("its shards have an unknown index")
    at = given.get("index_location", "end")
    if at not in ("start", "end"):
        raise ValueError("its shards have an index nobody knows where")
    sharding = Sharding(array.chunk, index.codecs, at == "end")
    inner = replace(array, chunk=_sizes(given["chunk_shape"]), sharding=sharding)
    if len(inner.chunk) != len(sharding.shape) or any(
        whole % part for whole, part in zip(sharding.shape, inner.chunk, strict=True)
    ):
        raise ValueError("its shards hold no whole number of chunks")
    return _with_codecs(inner, given["codecs"])


def _checked(array: ZarrArray) -> ZarrArray:
    if len(array.shape) != len(array.chunk) or not 2 <= len(array.shape) <= _MOST_DIMENSIONS:
        raise ValueError(f"it has {len(array.shape)} dimensions, and chunks {len(array.chunk)}")
    if array.chunk_bytes > _MOST_CHUNK_BYTES:
        raise ValueError(
            f"its chunks have {array.chunk_bytes} bytes once decoded, and {_MOST_CHUNK_BYTES} "
            "are read; write it with smaller chunks"
        )
    check_codecs(array.codecs)
    if array.sharding is not None:
        check_codecs(array.sharding.index)
        if any(codec.name != "crc32c" for codec in array.sharding.index):
            raise ValueError("its shards have a packed index")
    return array


def _sizes(found: Any) -> tuple[int, ...]:
    if not isinstance(found, list) or not all(
        type(size) is int and 0 < size < 2**48 for size in found
    ):
        raise ValueError(f"its lengths are {str(found)[:60]}")
    return tuple(found)


def _dtype(found: Any) -> np.dtype[Any]:
    try:
        dtype = np.dtype(found if isinstance(found, str) else None)
    except TypeError as exc:
        raise ValueError(f"its pixels are of the type {str(found)[:40]!r}") from exc
    if not isinstance(found, str) or dtype.kind not in _KINDS or dtype.itemsize > 8:
        raise ValueError(f"its pixels are of the type {str(found)[:40]!r}")
    return dtype


def _fill(found: Any, dtype: np.dtype[Any]) -> Any:
    value = 0 if found is None else found
    if not isinstance(value, (bool, int, float, str)) or len(str(value)) > _LONGEST_FILL:
        raise ValueError(f"its fill value is {str(found)[:40]!r}")
    if isinstance(value, str) and value.startswith("0x"):
        pixel = bytes.fromhex(value[2:])
        if len(pixel) != dtype.itemsize:
            raise ValueError(f"its fill value is {value!r}")
        return np.frombuffer(pixel, dtype.newbyteorder(">"))[0]
    return np.array(value).astype(dtype)[()] if isinstance(value, str) else dtype.type(value)


def _separator(found: Any) -> str:
    if found not in (".", "/"):
        raise ValueError("its chunks are named in an unknown way")
    return str(found)
