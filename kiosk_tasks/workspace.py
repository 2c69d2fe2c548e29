"""Where values wait between the links of a job: artifacts by key, over any bucket.

An artifact is a JSON header and the raw bytes of its arrays: read without unpickling anything, so
that what lies in a bucket can never run code. Values are frozen dataclasses of arrays, numbers,
strings, and tuples, lists and dicts of these. Arrays come back read-only.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InternalError
from kiosk_tasks.ports import Storage

__all__ = ["Workspace", "decode", "encode"]

_ALIGN = 64


class Workspace:
    """Artifacts of jobs under one prefix of a bucket; all of a job's go when the job ends."""

    def __init__(self, storage: Storage) -> None:
        """storage: any bucket; the artifacts are its only content."""
        self._storage = storage

    def put(self, job_id: str, stage: str, value: Any) -> str:
        """Store the value that goes into `stage`, whole or not at all; return its key."""
        key = f"{job_id}/{stage}.artifact"
        self._storage.put(key, encode(value))
        return key

    def get(self, key: str) -> Any:
        """Return the value of an artifact; raises MissingObject if it is gone."""
        return decode(self._storage.get(key))

    def clear(self, job_id: str) -> None:
        """Delete every artifact of a job."""
        self._storage.delete_all(f"{job_id}/")

    def remove_partials(self, older_than_s: float) -> int:
        """Remove what writers that died have left; return how many."""
        return self._storage.remove_partials(older_than_s)

    def keys(self) -> list[str]:
        """Return the keys of all artifacts, for those who look for leftovers."""
        return list(self._storage.list())


def encode(value: Any) -> bytes:
    """Return the value as bytes; raises InternalError for a type that artifacts cannot hold."""
    arrays: list[NDArray[Any]] = []
    tree = json.dumps(_to_tree(value, arrays)).encode()
    head = len(tree).to_bytes(8, "little") + tree
    parts = [head, bytes(-len(head) % _ALIGN)]
    for array in arrays:
        parts += [array.tobytes(), bytes(-array.nbytes % _ALIGN)]
    return b"".join(parts)


def decode(data: bytes) -> Any:
    """Return the value that `encode` was given; its arrays are views of `data`."""
    length = int.from_bytes(data[:8], "little")
    return _from_tree(json.loads(data[8 : 8 + length]), _Reader(data, 8 + length))


class _Reader:
    """Hands out the arrays in the order in which they were written."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data, self._offset = data, offset

    def next(self, dtype: str, shape: list[int]) -> NDArray[Any]:
        self._offset += -self._offset % _ALIGN
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(self._data, np.dtype(dtype), count, self._offset).reshape(shape)
        self._offset += array.nbytes
        return array


def _to_tree(value: Any, arrays: list[NDArray[Any]]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and not value.dtype.hasobject and value.dtype.kind != "V":
        arrays.append(value)
        return {"array": [value.dtype.str, list(value.shape)]}
    if isinstance(value, np.generic):
        return _to_tree(value.item(), arrays)
    if isinstance(value, dict):
        return {"dict": [[_to_tree(k, arrays), _to_tree(v, arrays)] for k, v in value.items()]}
    if isinstance(value, tuple | list):
        kind_of_list = "tuple" if isinstance(value, tuple) else "list"
        return {kind_of_list: [_to_tree(item, arrays) for item in value]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        fields = {
            f.name: _to_tree(getattr(value, f.name), arrays)
            for f in dataclasses.fields(value)
            if f.init
        }
        return {"record": [kind.__module__, kind.__qualname__, fields]}
    raise InternalError(
        f"a value of type {type(value).__name__} cannot wait between two links; "
        f"stages exchange frozen dataclasses of arrays, numbers and strings."
    )


def _from_tree(tree: Any, reader: _Reader) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, body),) = tree.items()
    if kind == "array":
        return reader.next(*body)
    if kind == "dict":
        return {_from_tree(k, reader): _from_tree(v, reader) for k, v in body}
    if kind == "tuple":
        return tuple(_from_tree(item, reader) for item in body)
    if kind == "list":
        return [_from_tree(item, reader) for item in body]
    module, name, fields = body
    return _record_type(module, name)(**{k: _from_tree(v, reader) for k, v in fields.items()})


def _record_type(module: str, name: str) -> Any:
    # Only what is imported already: an artifact must not be able to name code to run.
    record_type = getattr(sys.modules.get(module), name, None)
    if not (isinstance(record_type, type) and dataclasses.is_dataclass(record_type)):
        raise InternalError(f"an artifact names {module}.{name}, which is not a record.")
    return record_type
