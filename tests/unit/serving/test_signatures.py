"""Arrays are checked against the signature before anything is sent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.ports import Signature, TensorSpec
from kiosk_tasks.serving.protos import get_model_metadata_pb2
from kiosk_tasks.serving.signatures import fit_inputs, parse_signature


def signature(dtype: Any = "f4", shape: tuple[int, ...] | None = (-1, 4)) -> Signature:
    return Signature("M", 1, {"x": TensorSpec("x", np.dtype(dtype), shape)}, {})


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("f8", "f4"), ("f4", "f2"), ("u2", "f4"), ("u1", "i4"), ("?", "f4"), ("f4", "f4")],
)
def test_dtypes_that_lose_nothing_are_changed(given: str, wanted: str) -> None:
    array = np.ones((2, 4), given)
    fitted = fit_inputs(signature(wanted), {"x": array})["x"]
    assert fitted.dtype == np.dtype(wanted)
    assert (fitted == 1).all()
    assert np.shares_memory(fitted, array) == (given == wanted)


@pytest.mark.parametrize(
    ("given", "wanted"), [("f4", "i4"), ("i8", "i4"), ("i4", "f4"), ("c8", "f4"), ("S3", "f4")]
)
def test_dtypes_that_may_lose_something_are_refused(given: str, wanted: str) -> None:
    with pytest.raises(ModelMismatch, match=f"takes x as {np.dtype(wanted)}"):
        fit_inputs(signature(wanted), {"x": np.zeros((2, 4), given)})


def test_strings() -> None:
    assert fit_inputs(signature("O"), {"x": np.zeros((2, 4), "U3")})["x"].shape == (2, 4)
    with pytest.raises(ModelMismatch, match="takes x as object, not float32"):
        fit_inputs(signature("O"), {"x": np.zeros((2, 4), "f4")})


@pytest.mark.parametrize("shape", [(4,), (2, 5), (2, 4, 1)])
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelMismatch, match=r"takes x of shape \(any, 4\), not"):
        fit_inputs(signature(), {"x": np.zeros(shape, "f4")})


def test_any_shape_fits_an_unknown_rank() -> None:
    assert fit_inputs(signature(shape=None), {"x": np.zeros((), "f4")})["x"].shape == ()


@pytest.mark.parametrize("names", [[], ["y"], ["x", "y"]])
def test_inputs_of_other_names_are_refused(names: list[str]) -> None:
    with pytest.raises(ModelMismatch, match="takes the inputs x, not"):
        fit_inputs(signature(), {name: np.zeros((2, 4), "f4") for name in names})


def reply(name: str) -> Any:
    """Return a GetModelMetadataResponse with one signature, an input of unknown rank."""
    definitions = get_model_metadata_pb2.SignatureDefMap()
    tensor = definitions.signature_def[name].inputs["x"]
    tensor.dtype, tensor.tensor_shape.unknown_rank = 1, True
    answer = get_model_metadata_pb2.GetModelMetadataResponse()
    answer.metadata["signature_def"].Pack(definitions)
    return answer


def test_an_unknown_rank_is_none() -> None:
    parsed = parse_signature(reply("serving_default"), "M", 2)
    assert parsed.inputs["x"] == TensorSpec("x", np.dtype("f4"), None)
    assert (parsed.model, parsed.version) == ("M", 2)


def test_a_model_without_serving_default_is_refused() -> None:
    with pytest.raises(ModelMismatch, match="no signature serving_default; it has predict"):
        parse_signature(reply("predict"), "M", 2)
