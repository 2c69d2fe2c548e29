"""Arrays survive the way to TensorProto and back, in every dtype and every form."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.serving import tensors
from kiosk_tasks.serving.protos import tensor_pb2, types_pb2
from kiosk_tasks.serving.tensors import dtype_of, from_proto, to_proto

DTYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def tensor(enum: int, shape: tuple[int, ...], **values: Any) -> Any:
    """Return a TensorProto made by hand."""
    proto = tensor_pb2.TensorProto(dtype=enum, **values)
    for length in shape:
        proto.tensor_shape.dim.add(size=length)
    return proto


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_round_trip_is_identity(dtype: str, typed: bool, data: st.DataObject) -> None:
    array = data.draw(hnp.arrays(np.dtype(dtype), SHAPES))
    proto = tensor_pb2.TensorProto.FromString(to_proto(array, typed=typed).SerializeToString())
    back = from_proto(proto)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    assert not back.flags.writeable


@given(data=st.lists(st.binary(max_size=300), max_size=5))
@settings(max_examples=20, deadline=None)
def test_strings_round_trip(data: list[bytes]) -> None:
    array = np.array([*data, b""], object)[:-1]
    np.testing.assert_array_equal(from_proto(to_proto(array)), array)


def test_text_is_sent_as_utf8_and_arrays_of_objects_are_refused() -> None:
    assert from_proto(to_proto(np.array("µm"))).tolist() == "µm".encode()
    with pytest.raises(ModelMismatch, match="holds int"):
        to_proto(np.array([1], object))


def test_arrays_are_sent_as_raw_bytes() -> None:
    array = np.arange(6, dtype="f4").reshape(2, 3)
    proto = to_proto(array)
    assert proto.tensor_content == array.tobytes()
    assert not proto.float_val


@pytest.mark.parametrize("order", [">", "<"])
def test_byte_order_and_strides_of_the_array_do_not_matter(order: str) -> None:
    array = np.arange(12, dtype=f"{order}f4").reshape(3, 4).T[::2]
    for typed in (False, True):
        np.testing.assert_array_equal(from_proto(to_proto(array, typed=typed)), array)


@pytest.mark.parametrize("typed", [False, True])
def test_bfloat16(monkeypatch: pytest.MonkeyPatch, typed: bool) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.array([[0.25, -1.5, 3e38]], ml_dtypes.bfloat16)
    proto = to_proto(array, typed=typed)
    assert proto.dtype == types_pb2.DT_BFLOAT16
    assert from_proto(proto).tolist() == array.tolist()
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    monkeypatch.setattr(tensors, "_bfloat16", tensors._bfloat16.__wrapped__)
    without = from_proto(proto)
    assert without.dtype == np.float32
    assert without.tolist() == array.tolist()


def test_half_values_are_bit_patterns() -> None:
    proto = tensor(types_pb2.DT_HALF, (3,), half_val=[0x3400, 0x3A00, 0x3E00])
    assert from_proto(proto).tolist() == [0.25, 0.75, 1.5]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([7.0], [7, 7, 7, 7]), ([1.0, 2.0], [1, 2, 2, 2]), ([], [0, 0, 0, 0])],
)
def test_missing_values_repeat_the_last(values: list[float], expected: list[float]) -> None:
    proto = tensor(types_pb2.DT_FLOAT, (2, 2), float_val=values)
    assert from_proto(proto).reshape(-1).tolist() == expected


def test_missing_complex_and_string_values_repeat_the_last() -> None:
    proto = tensor(types_pb2.DT_COMPLEX64, (3,), scomplex_val=[1, 2, 3, 4])
    assert from_proto(proto).tolist() == [1 + 2j, 3 + 4j, 3 + 4j]
    words = tensor(types_pb2.DT_STRING, (2,), string_val=[b"a"])
    assert from_proto(words).tolist() == [b"a", b"a"]
    assert from_proto(tensor(types_pb2.DT_STRING, (2,))).tolist() == [b"", b""]


def test_strings_in_tensor_content() -> None:
    long = b"x" * 300
    proto = tensor(types_pb2.DT_STRING, (2,), tensor_content=b"\x01\xac\x02a" + long)
    assert from_proto(proto).tolist() == [b"a", long]


@pytest.mark.parametrize("content", [b"\x01", b"\x01\x05abc", b"\x01\x01abc"])
def test_damaged_strings_are_refused(content: bytes) -> None:
    with pytest.raises(ModelMismatch, match="2 strings"):
        from_proto(tensor(types_pb2.DT_STRING, (2,), tensor_content=content))


@pytest.mark.parametrize(
    ("enum", "code"), [("DT_QINT8", "i1"), ("DT_QUINT16", "u2"), ("DT_QINT32", "i4")]
)
def test_quantised_integers_are_read_as_integers(enum: str, code: str) -> None:
    number = types_pb2.DataType.Value(enum)
    array = from_proto(tensor(number, (2,), tensor_content=np.array([1, 2], code).tobytes()))
    assert array.dtype == np.dtype(code)
    assert array.tolist() == [1, 2]


def test_unknown_rank_short_content_and_too_many_values_are_refused() -> None:
    unknown = tensor(types_pb2.DT_FLOAT, (), float_val=[1])
    unknown.tensor_shape.unknown_rank = True
    with pytest.raises(ModelMismatch, match="unknown shape"):
        from_proto(unknown)
    with pytest.raises(ModelMismatch, match="unknown shape"):
        from_proto(tensor(types_pb2.DT_FLOAT, (-1,), float_val=[1]))
    with pytest.raises(ModelMismatch, match="has 4 bytes; it needs 8"):
        from_proto(tensor(types_pb2.DT_FLOAT, (2,), tensor_content=b"\0" * 4))
    with pytest.raises(ModelMismatch, match="1 elements has 2 values"):
        from_proto(tensor(types_pb2.DT_FLOAT, (1,), float_val=[1, 2]))


def test_types_that_no_array_holds_are_named() -> None:
    with pytest.raises(ModelMismatch, match="DT_RESOURCE"):
        dtype_of(types_pb2.DT_RESOURCE)
    with pytest.raises(ModelMismatch, match="12345"):
        dtype_of(12345)
    with pytest.raises(ModelMismatch, match="datetime64"):
        to_proto(np.zeros(1, "M8[s]"))


def test_an_empty_tensor_keeps_its_shape() -> None:
    array: NDArray[Any] = np.zeros((0, 3), "f4")
    assert from_proto(to_proto(array)).shape == (0, 3)
