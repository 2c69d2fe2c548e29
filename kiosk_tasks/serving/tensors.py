"""Numpy arrays to TensorProto and back.

Arrays travel as `tensor_content`, the raw little-endian bytes. TensorFlow Serving itself answers
with typed lists (`float_val`, ...), which are read as well. The rules of those lists are those of
TensorFlow's `Tensor::FromProto` (tensorflow/core/framework/tensor.cc): missing trailing values
repeat the last one, and an empty list means zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.serving.protos import tensor_pb2, types_pb2

__all__ = ["dtype_of", "from_proto", "to_proto"]


@dataclass(frozen=True)
class _Kind:
    """How a dtype is stored: in which list of TensorProto, and in which bit pattern, if any."""

    dtype: np.dtype[Any]
    field: str
    bits: np.dtype[Any] | None = None


def _kinds() -> dict[int, _Kind]:
    plain = {
        "FLOAT": ("f4", "float_val"),
        "DOUBLE": ("f8", "double_val"),
        "INT8": ("i1", "int_val"),
        "INT16": ("i2", "int_val"),
        "INT32": ("i4", "int_val"),
        "INT64": ("i8", "int64_val"),
        "UINT8": ("u1", "int_val"),
        "UINT16": ("u2", "int_val"),
        "UINT32": ("u4", "uint32_val"),
        "UINT64": ("u8", "uint64_val"),
        "QINT8": ("i1", "int_val"),
        "QINT16": ("i2", "int_val"),
        "QINT32": ("i4", "int_val"),
        "QUINT8": ("u1", "int_val"),
        "QUINT16": ("u2", "int_val"),
        "BOOL": ("?", "bool_val"),
        "COMPLEX64": ("c8", "scomplex_val"),
        "COMPLEX128": ("c16", "dcomplex_val"),
        "STRING": ("O", "string_val"),
    }
    named = {
        types_pb2.DataType.Value(f"DT_{name}"): _Kind(np.dtype(code), field)
        for name, (code, field) in plain.items()
    }
    return named | {types_pb2.DT_HALF: _Kind(np.dtype("f2"), "half_val", _PATTERN)}


_PATTERN = np.dtype("<u2")
_KINDS = _kinds()
_ENUMS = {kind.dtype: enum for enum, kind in reversed(_KINDS.items())}
_WIRE_TAGS = {np.dtype("f4"): b"\x2a", np.dtype("f8"): b"\x32"}  # fields 5 and 6, length-delimited


def dtype_of(enum: int) -> np.dtype[Any]:
    """Return the numpy dtype of a TensorFlow DataType number; strings are objects (bytes).

    Raises ModelMismatch for one that numpy cannot hold (resource, variant, 4-bit and 8-bit floats).
    """
    return _kind_of(enum).dtype


def to_proto(
    array: NDArray[Any], *, typed: bool = False, into: Any = None, content: bool = True
) -> Any:
    """Return `array`, of any shape, as a TensorProto.

    into: an empty TensorProto to fill, such as one inside a request: saves a copy of the content.
    typed: fill the typed list (`float_val`, ...) rather than `tensor_content`, as TensorFlow
        Serving does in its replies.
    content: False leaves the content out; not for strings.
    Raises ModelMismatch if TensorFlow has no such dtype.
    """
    proto = tensor_pb2.TensorProto() if into is None else into
    if array.dtype.kind in "SUO":
        return _strings_to_proto(array, proto)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    enum = _enum_of(native.dtype)
    if enum is None:
        raise ModelMismatch(f"Arrays of {array.dtype} cannot be sent to a model.")
    proto.dtype = enum
    if typed:
        _fill_list(proto, _kind_of(enum), native.reshape(-1))
    elif content:
        proto.tensor_content = native.tobytes()
    _set_shape(proto, array.shape)
    return proto


def from_proto(proto: Any, content: memoryview | None = None) -> NDArray[Any]:
    """Return the array in a TensorProto; read-only, since it may share the message's bytes.

    content: in place of the `tensor_content` of the TensorProto.
    Raises ModelMismatch if the shape is unknown or the content does not fill it.
    """
    kind = _kind_of(proto.dtype)
    shape = tuple(int(dim.size) for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(length < 0 for length in shape):
        raise ModelMismatch("A tensor of unknown shape cannot be read.")
    content = proto.tensor_content if content is None else content
    if not content:
        values = _from_list(proto, kind, math.prod(shape))
    elif kind.dtype.kind == "O":
        values = _split_strings(bytes(content), math.prod(shape))
    else:
        stored = kind.bits or kind.dtype
        if len(content) != math.prod(shape) * stored.itemsize:
            raise ModelMismatch(
                f"A tensor of shape {shape} and type {kind.dtype} has {len(content)} bytes; "
                f"it needs {math.prod(shape) * stored.itemsize}."
            )
        values = _from_bits(np.frombuffer(content, stored), kind)
    array = values.reshape(shape)
    array.flags.writeable = False
    return array


def _kind_of(enum: int) -> _Kind:
    kind = _bfloat16() if enum == types_pb2.DT_BFLOAT16 else _KINDS.get(enum)
    if kind is None:
        name = types_pb2.DataType.Name(enum) if enum in types_pb2.DataType.values() else str(enum)
        raise ModelMismatch(f"The model uses the type {name}, which cannot be held in an array.")
    return kind


def _enum_of(dtype: np.dtype[Any]) -> int | None:
    enum = _ENUMS.get(dtype)
    return types_pb2.DT_BFLOAT16 if enum is None and dtype.name == "bfloat16" else enum


@cache
def _bfloat16() -> _Kind:
    """Return what few models take or give; without ml_dtypes it is read as float32."""
    try:  # not with the module: it is 2 MB of every worker
        from ml_dtypes import bfloat16
    except ImportError:
        return _Kind(np.dtype("f4"), "half_val", _PATTERN)
    return _Kind(np.dtype(bfloat16), "half_val", _PATTERN)


def _set_shape(proto: Any, shape: tuple[int, ...]) -> None:
    for length in shape:
        proto.tensor_shape.dim.add(size=length)


def _strings_to_proto(array: NDArray[Any], proto: Any) -> Any:
    proto.dtype = types_pb2.DT_STRING
    for value in array.reshape(-1).tolist():
        if not isinstance(value, (str, bytes)):
            raise ModelMismatch(f"An array of objects holds {type(value).__name__}, not strings.")
        proto.string_val.append(value.encode() if isinstance(value, str) else value)
    _set_shape(proto, array.shape)
    return proto


def _fill_list(proto: Any, kind: _Kind, values: NDArray[Any]) -> None:
    """Append `values` (n,) to the list of their dtype."""
    if values.dtype in _WIRE_TAGS and values.size:
        # A packed list is, on the wire, the array's bytes: no Python object per element.
        content = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
        proto.MergeFromString(_WIRE_TAGS[values.dtype] + _varint(len(content)) + content)
        return
    if kind.bits is not None:
        values = values.view(kind.bits)
    elif values.dtype.kind == "c":
        values = values.view(values.real.dtype)
    getattr(proto, kind.field).extend(values.tolist())


def _from_list(proto: Any, kind: _Kind, size: int) -> NDArray[Any]:
    """Return (size,) values of the typed list, the missing ones filled in."""
    field = getattr(proto, kind.field)
    stored = kind.bits or kind.dtype
    if kind.dtype.kind == "c":
        part = np.dtype(f"f{kind.dtype.itemsize // 2}")
        pairs = np.array(field, part)
        values: NDArray[Any] = pairs[: pairs.size // 2 * 2].view(kind.dtype)
    elif kind.dtype.kind == "O":
        values = np.fromiter(field, object, len(field))
    else:
        values = np.array(field, stored)
    if values.size > size:
        raise ModelMismatch(f"A tensor of {size} elements has {values.size} values.")
    if values.size < size:
        last = values[-1:] if values.size else _zero(stored)
        values = np.concatenate([values, np.repeat(last, size - values.size)])
    return _from_bits(values, kind)


def _zero(dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.array([b""], object) if dtype.kind == "O" else np.zeros(1, dtype)


def _from_bits(values: NDArray[Any], kind: _Kind) -> NDArray[Any]:
    """Turn bit patterns (n,) into the numbers that they stand for."""
    if kind.bits is None:
        return values
    if kind.dtype.itemsize == kind.bits.itemsize:
        return values.view(kind.dtype)
    return (values.astype("u4") << 16).view(kind.dtype)  # bfloat16 is the upper half of a float32


def _varint(number: int) -> bytes:
    """Encode a length as protobuf does: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _split_strings(content: bytes, size: int) -> NDArray[Any]:
    """Read `tensor_content` of strings: all lengths as varints, then all bytes."""
    lengths, position = [], 0
    values = np.empty(size, object)
    try:
        for _ in range(size):
            length = shift = 0
            while True:
                byte = content[position]
                position += 1
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            lengths.append(length)
    except IndexError as exc:
        raise ModelMismatch(f"A tensor of {size} strings ends early.") from exc
    for index, length in enumerate(lengths):
        values[index] = content[position : position + length]
        position += length
    if position != len(content):
        raise ModelMismatch(f"A tensor of {size} strings has {len(content)} bytes, not {position}.")
    return values
