"""Predictions as they travel: the pixels of a request and of a reply copied once, or not at all.

Protobuf would copy pixels into a message and the message into bytes, and back. Here only what is
small goes through protobuf. Wire format: protobuf.dev/programming-guides/encoding; fields:
tensorflow_serving/apis/predict.proto, tensorflow/core/framework/tensor.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.ports import Signature
from kiosk_tasks.serving.protos import predict_pb2, tensor_pb2
from kiosk_tasks.serving.signatures import SERVING_DEFAULT
from kiosk_tasks.serving.tensors import from_proto, to_proto

__all__ = ["Request", "Tensor", "read_reply", "read_request", "write_reply", "write_request"]

_INPUTS = 2  #: PredictRequest.inputs
_OUTPUTS = 1  #: PredictResponse.outputs
_KEY, _VALUE = 1, 2  #: of an entry of a map
_CONTENT, _FLOATS = 4, 5  #: TensorProto.tensor_content and float_val
_MOST_BYTES = 2**31 - 1  #: of a message; protobuf reads no larger one
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5  #: wire types


@dataclass(frozen=True)
class Tensor:
    """A TensorProto, and its pixels where they lie in the message; None: in the TensorProto."""

    proto: Any
    content: memoryview | None

    def array(self) -> NDArray[Any]:
        """Return the array, read-only; raises ModelMismatch as `tensors.from_proto` does."""
        return from_proto(self.proto, self.content)


@dataclass(frozen=True)
class Request:
    """A PredictRequest; `inputs` by name."""

    model_spec: Any
    output_filter: Sequence[str]
    inputs: Mapping[str, Tensor]


def write_request(signature: Signature, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the PredictRequest for one batch of arrays that fit the signature.

    It asks for the signature's outputs and no others: a caller that leaves some out is not sent
    them. Raises ModelMismatch if it would be larger than protobuf can read.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = signature.model
    request.model_spec.version.value = signature.version
    request.model_spec.signature_name = SERVING_DEFAULT
    request.output_filter.extend(sorted(signature.outputs))
    parts: list[Any] = [request.SerializeToString()]
    for name, array in arrays.items():
        parts += _entry(_INPUTS, name, array)
    return _whole(parts)


def write_reply(reply: Any, outputs: Mapping[str, NDArray[Any]], *, typed: bool = False) -> bytes:
    """Return a PredictResponse without outputs as bytes, with these outputs.

    typed: write `float_val` rather than `tensor_content`, as TensorFlow Serving does.
    Raises ModelMismatch as `write_request` does.
    """
    parts: list[Any] = [reply.SerializeToString()]
    for name, array in outputs.items():
        parts += _entry(_OUTPUTS, name, array, typed=typed)
    return _whole(parts)


def read_reply(data: bytes) -> dict[str, Tensor]:
    """Return the outputs in a PredictResponse, by name; their pixels stay where they are.

    Raises ValueError, or protobuf's DecodeError, for bytes that are none.
    """
    return _split(data, _OUTPUTS)[0]


def read_request(data: bytes) -> Request:
    """Return a PredictRequest; its pixels stay where they are. Raises as `read_reply` does."""
    inputs, rest = _split(data, _INPUTS)
    request = predict_pb2.PredictRequest.FromString(rest)
    return Request(request.model_spec, request.output_filter, inputs)


def _split(data: bytes, wanted: int) -> tuple[dict[str, Tensor], bytes]:
    """Return the tensors of a message's map of that number, and the bytes of its other fields."""
    view, tensors, rest = memoryview(data), dict[str, Tensor](), []
    for number, kind, first, start, stop in _fields(view, 0, len(view)):
        if (number, kind) == (wanted, _LENGTH):
            tensors |= _read_entry(view, start, stop)
        else:
            rest.append(view[first:stop])
    return tensors, b"".join(rest)


def _read_entry(view: memoryview, start: int, stop: int) -> dict[str, Tensor]:
    """Return the tensor in an entry of a map; one that is not a key and a value is protobuf's."""
    found = list(_fields(view, start, stop))
    fields = {(number, kind): (begin, end) for number, kind, _, begin, end in found}
    if len(found) != 2 or set(fields) != {(_KEY, _LENGTH), (_VALUE, _LENGTH)}:
        data = _start(_OUTPUTS, stop - start) + view[start:stop]
        plain = predict_pb2.PredictResponse.FromString(data)
        return {name: Tensor(proto, None) for name, proto in plain.outputs.items()}
    begin, end = fields[_KEY, _LENGTH]
    return {str(view[begin:end], "utf-8"): _tensor(view, *fields[_VALUE, _LENGTH])}


def _entry(number: int, name: str, array: NDArray[Any], *, typed: bool = False) -> list[Any]:
    """Return an entry of a map in pieces, one of which is the array itself where it can be."""
    plain = array.dtype.isnative and array.dtype.kind not in "SUO" and array.flags.c_contiguous
    if not plain or (typed and array.dtype != np.float32):
        tensor: list[Any] = [to_proto(array, typed=typed).SerializeToString()]
    else:
        field = _FLOATS if typed else _CONTENT
        pixels = array.reshape(-1).view("u1").data
        head = to_proto(array, content=False).SerializeToString()
        tensor = [head, _start(field, pixels.nbytes), pixels] if pixels.nbytes else [head]
    key = name.encode()
    key = _start(_KEY, len(key)) + key
    value = _start(_VALUE, sum(map(len, tensor)))
    size = len(key) + len(value) + sum(map(len, tensor))
    return [_start(number, size), key, value, *tensor]


def _whole(parts: list[Any]) -> bytes:
    """Return a message of its pieces."""
    size = sum(map(len, parts))
    if size > _MOST_BYTES:
        raise ModelMismatch(
            f"a message of {size} bytes is larger than a model server can read ({_MOST_BYTES}). "
            "Send fewer tiles at once (KIOSK_MAX_BATCH)."
        )
    return b"".join(parts)


def _tensor(view: memoryview, start: int, stop: int) -> Tensor:
    large = [
        (number, begin, first, last)
        for number, kind, begin, first, last in _fields(view, start, stop)
        if number in (_CONTENT, _FLOATS) and kind == _LENGTH
    ]
    if len(large) == 1:
        ((number, begin, first, last),) = large
        proto = tensor_pb2.TensorProto.FromString(bytes(view[start:begin]) + view[last:stop])
        if number == _CONTENT or _is_full_list(proto, last - first):
            return Tensor(proto, view[first:last])
    return Tensor(tensor_pb2.TensorProto.FromString(view[start:stop]), None)


def _is_full_list(proto: Any, length: int) -> bool:
    """Tell whether a list of floats has a value for each element: then it is an array's bytes."""
    count = 1
    for dim in proto.tensor_shape.dim:
        count *= dim.size
    return bool(proto.dtype == 1 and not proto.float_val and length == 4 * count)


def _fields(view: memoryview, position: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield number, wire type, start, and the bounds of the content of each field of a message."""
    while position < end:
        begin = position
        tag, position = _varint(view, position)
        kind = tag & 7
        if kind == _VARINT:
            start, (_, stop) = position, _varint(view, position)
        elif kind == _LENGTH:
            length, start = _varint(view, position)
            stop = start + length
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            start, stop = position, position + (8 if kind == _EIGHT_BYTES else 4)
        else:
            raise ValueError(f"wire type {kind} at byte {begin} is unknown.")
        if stop > end:
            raise ValueError(f"the field at byte {begin} ends after its message.")
        yield tag >> 3, kind, begin, start, stop
        position = stop


def _varint(view: memoryview, position: int) -> tuple[int, int]:
    """Return the number that starts there, and where it ends."""
    value = shift = 0
    while shift < 70 and position < len(view):
        byte = view[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError(f"the number that ends at byte {position} has no end.")


def _start(number: int, length: int) -> bytes:
    """Return what comes before the bytes of a field: its number, and their count."""
    encoded = bytearray([number << 3 | _LENGTH])
    while length > 0x7F:
        encoded.append(length & 0x7F | 0x80)
        length >>= 7
    encoded.append(length)
    return bytes(encoded)
