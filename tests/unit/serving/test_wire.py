"""What is written and read by hand is what protobuf writes and reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.ports import Signature, TensorSpec
from kiosk_tasks.serving import wire
from kiosk_tasks.serving.protos import predict_pb2
from kiosk_tasks.serving.tensors import from_proto, to_proto
from kiosk_tasks.serving.wire import read_reply, read_request, write_reply, write_request

SPEC = TensorSpec("x", np.dtype("f4"), None)
SIGNATURE = Signature("Møde", 7, {"x": SPEC}, {"b": SPEC, "a": SPEC})

some_arrays = st.sampled_from(["f4", "f8", "f2", "u1", "i4", "i8", "?", "c8"]).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0))
)


@settings(max_examples=25)
@given(some_arrays, some_arrays)
def test_protobuf_reads_the_request(one: NDArray[Any], other: NDArray[Any]) -> None:
    data = write_request(SIGNATURE, {"first": one, "second": other})
    request = predict_pb2.PredictRequest.FromString(data)
    assert request.model_spec.name == "Møde"
    assert request.model_spec.version.value == 7
    assert request.model_spec.signature_name == "serving_default"
    assert list(request.output_filter) == ["a", "b"]
    assert set(request.inputs) == {"first", "second"}
    for name, array in (("first", one), ("second", other)):
        found = from_proto(request.inputs[name])
        assert (found.dtype, found.shape, found.tobytes()) == (
            array.dtype,
            array.shape,
            array.tobytes(),
        )


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype="f4").reshape(3, 4).T,
        np.arange(3, dtype=">f4"),
        np.array([b"a", b"bc"], object),
    ],
)
def test_arrays_that_are_no_plain_bytes(array: NDArray[Any]) -> None:
    request = predict_pb2.PredictRequest.FromString(write_request(SIGNATURE, {"x": array}))
    np.testing.assert_array_equal(from_proto(request.inputs["x"]), array)


@settings(max_examples=25)
@given(some_arrays, some_arrays, st.booleans(), st.booleans())
def test_replies_are_those_of_protobuf(
    one: NDArray[Any], other: NDArray[Any], typed: bool, other_typed: bool
) -> None:
    reply = predict_pb2.PredictResponse(
        outputs={"é": to_proto(one, typed=typed), "o": to_proto(other, typed=other_typed)}
    )
    reply.model_spec.name = "any"
    found = {name: tensor.array() for name, tensor in read_reply(reply.SerializeToString()).items()}
    assert set(found) == {"é", "o"}
    for name, array in found.items():
        plain = from_proto(reply.outputs[name])
        assert (array.dtype, array.shape, array.tobytes()) == (
            plain.dtype,
            plain.shape,
            plain.tobytes(),
        )
        assert not array.flags.writeable


@settings(max_examples=25)
@given(some_arrays, some_arrays, st.booleans())
def test_a_server_reads_and_writes_what_a_client_writes_and_reads(
    one: NDArray[Any], other: NDArray[Any], typed: bool
) -> None:
    request = read_request(write_request(SIGNATURE, {"one": one, "other": other}))
    assert (request.model_spec.name, list(request.output_filter)) == ("Møde", ["a", "b"])
    sent = {name: tensor.array() for name, tensor in request.inputs.items()}
    reply = predict_pb2.PredictResponse()
    reply.model_spec.name = "any"
    data = write_reply(reply, sent, typed=typed)
    plain = predict_pb2.PredictResponse.FromString(data)
    assert plain.model_spec.name == "any"
    found = {name: tensor.array() for name, tensor in read_reply(data).items()}
    for name, array in (("one", one), ("other", other)):
        assert bool(plain.outputs[name].tensor_content) <= (not typed)
        for back in (sent[name], found[name], from_proto(plain.outputs[name])):
            assert (back.dtype, back.shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("typed", [False, True])
def test_pixels_stay_where_they_are(typed: bool) -> None:
    image = np.arange(64, dtype="f4").reshape(1, 8, 8, 1)
    reply = predict_pb2.PredictResponse(outputs={"x": to_proto(image, typed=typed)})
    data = reply.SerializeToString()
    array = read_reply(data)["x"].array()
    assert np.shares_memory(array, np.frombuffer(data, "u1"))


def test_lists_that_are_short_repeat_their_last_value() -> None:
    proto = to_proto(np.zeros((2, 3), "f4"), content=False)
    proto.float_val.extend([1.0, 2.0])
    reply = predict_pb2.PredictResponse(outputs={"x": proto})
    array = read_reply(reply.SerializeToString())["x"].array()
    np.testing.assert_array_equal(array, [[1, 2, 2], [2, 2, 2]])


def test_lists_in_pieces_are_whole() -> None:
    """A sender may split a packed list, and write some values one by one."""
    proto = to_proto(np.zeros(4, "f4"), content=False).SerializeToString()
    proto += b"\x2a\x08" + np.array([1, 2], "<f4").tobytes()
    proto += b"\x2d" + np.array([3], "<f4").tobytes()
    proto += b"\x2a\x04" + np.array([4], "<f4").tobytes()
    entry = b"\x0a\x01x\x12" + bytes([len(proto)]) + proto
    array = read_reply(b"\x0a" + bytes([len(entry)]) + entry)["x"].array()
    np.testing.assert_array_equal(array, [1, 2, 3, 4])


TENSOR = to_proto(np.array([1, 2], "f4")).SerializeToString()
KEY, VALUE = b"\x0a\x01x", b"\x12" + bytes([len(TENSOR)]) + TENSOR


@pytest.mark.parametrize(
    "entry",
    [
        KEY + VALUE,
        VALUE + KEY,
        KEY,
        VALUE,
        b"",
        KEY + VALUE + b"\x0a\x01y",
        KEY + VALUE + b"\x12\x02\x08\x02",
        KEY + VALUE + b"\x08\x05",
        KEY + b"\x10\x05",
        KEY + VALUE + b"\x1a\x01z",
        KEY + VALUE[:-2],
    ],
)
def test_entries_that_are_odd_are_read_as_protobuf_reads_them(entry: bytes) -> None:
    data = b"\x0a" + bytes([len(entry)]) + entry
    try:
        plain = predict_pb2.PredictResponse.FromString(data)
    except DecodeError:
        with pytest.raises((ValueError, DecodeError)):
            read_reply(data)
        return
    found = {name: _read(tensor.array) for name, tensor in read_reply(data).items()}
    assert found == {
        name: _read(partial(from_proto, proto)) for name, proto in plain.outputs.items()
    }


def _read(array: Callable[[], NDArray[Any]]) -> Any:
    try:
        return array().tolist()
    except ModelMismatch as exc:
        return str(exc)


def test_messages_that_protobuf_could_not_read_are_not_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image = {"x": np.zeros(100, "f4")}
    size = len(write_request(SIGNATURE, image))
    monkeypatch.setattr(wire, "_MOST_BYTES", size)
    write_request(SIGNATURE, image)
    monkeypatch.setattr(wire, "_MOST_BYTES", size - 1)
    with pytest.raises(ModelMismatch, match=rf"of {size} bytes .*KIOSK_MAX_BATCH"):
        write_request(SIGNATURE, image)
    monkeypatch.setattr(wire, "_MOST_BYTES", 400)
    with pytest.raises(ModelMismatch, match="larger"):
        write_reply(predict_pb2.PredictResponse(), image)


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x05abc", b"\x0b", b"\xff" * 12, b"\x0a\x03\x0a\x05a", b"\x0d\x00"]
)
def test_what_is_no_reply_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="byte"):
        read_reply(data)
