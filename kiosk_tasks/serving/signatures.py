"""What a served version takes and gives, and the checks of arrays against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.ports import Signature, TensorSpec
from kiosk_tasks.serving.protos import get_model_metadata_pb2, saved_model_pb2
from kiosk_tasks.serving.tensors import dtype_of

__all__ = ["SERVING_DEFAULT", "fit_inputs", "parse_signature", "read_signature", "shape_text"]

SERVING_DEFAULT = "serving_default"


def parse_signature(reply: Any, name: str, version: int) -> Signature:
    """Read `serving_default` out of a GetModelMetadataResponse.

    Raises ModelMismatch if the version has no such signature or a type that arrays cannot hold.
    """
    signatures = get_model_metadata_pb2.SignatureDefMap()
    reply.metadata["signature_def"].Unpack(signatures)
    return _signature(signatures.signature_def, name, version)


def read_signature(folder: Path, name: str, version: int) -> Signature:
    """Read `serving_default` out of `<folder>/saved_model.pb`, without TensorFlow.

    Raises ModelMismatch as `parse_signature` does, and for a file that is no SavedModel.
    """
    try:
        saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    except (OSError, DecodeError) as exc:
        raise ModelMismatch(f"{folder / 'saved_model.pb'} cannot be read: {exc}.") from exc
    for graph in saved.meta_graphs:
        if "serve" in graph.meta_info_def.tags:
            return _signature(graph.signature_def, name, version)
    raise ModelMismatch(
        f"model {name} version {version} has no graph with the tag serve, so it cannot be served."
    )


def fit_inputs(signature: Signature, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays in the dtypes of the signature, after checking names and shapes.

    A dtype is changed only where no value can change, or from one float to another.
    Raises ModelMismatch with a sentence that names the input.
    """
    model = f"model {signature.model} version {signature.version}"
    if set(arrays) != set(signature.inputs):
        raise ModelMismatch(
            f"{model} takes the inputs {_listed(signature.inputs)}, not {_listed(arrays)}."
        )
    fitted = {}
    for name, spec in signature.inputs.items():
        array = arrays[name]
        if not _fits_shape(array.shape, spec.shape):
            raise ModelMismatch(
                f"{model} takes {name} of shape {shape_text(spec.shape)}, not {array.shape}."
            )
        if not _fits_dtype(array.dtype, spec.dtype):
            raise ModelMismatch(f"{model} takes {name} as {spec.dtype}, not {array.dtype}.")
        fitted[name] = array if spec.dtype.kind == "O" else array.astype(spec.dtype, copy=False)
    return fitted


def _signature(definitions: Mapping[str, Any], name: str, version: int) -> Signature:
    if SERVING_DEFAULT not in definitions:
        found = ", ".join(sorted(definitions)) or "none"
        raise ModelMismatch(
            f"model {name} version {version} has no signature {SERVING_DEFAULT}; it has {found}."
        )
    chosen = definitions[SERVING_DEFAULT]
    return Signature(name, version, inputs=_specs(chosen.inputs), outputs=_specs(chosen.outputs))


def _specs(tensors: Mapping[str, Any]) -> dict[str, TensorSpec]:
    specs = {}
    for name, tensor in sorted(tensors.items()):
        shape = tensor.tensor_shape
        known = None if shape.unknown_rank else tuple(int(dim.size) for dim in shape.dim)
        specs[name] = TensorSpec(name, dtype_of(tensor.dtype), known)
    return specs


def _fits_shape(actual: tuple[int, ...], wanted: tuple[int, ...] | None) -> bool:
    if wanted is None:
        return True
    return len(actual) == len(wanted) and all(
        want in (-1, have) for have, want in zip(actual, wanted, strict=True)
    )


def _fits_dtype(actual: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    if wanted.kind == "O":
        return actual.kind in "SUO"
    if actual.kind in "SUO":
        return False
    floats = _is_float(actual) and _is_float(wanted)
    return floats or np.can_cast(actual, wanted, "safe")


def _is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or dtype.name == "bfloat16"


def shape_text(shape: tuple[int, ...] | None) -> str:
    """Return a shape as a person reads it; an axis of any length is "any"."""
    return "?" if shape is None else f"({', '.join('any' if n < 0 else str(n) for n in shape)})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
