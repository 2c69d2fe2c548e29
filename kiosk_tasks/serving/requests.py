"""What the client asks for: the request of a prediction, and the version of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from kiosk_tasks.errors import ModelServerUnavailable, UnknownModel
from kiosk_tasks.ports import Signature
from kiosk_tasks.serving.protos import predict_pb2
from kiosk_tasks.serving.signatures import SERVING_DEFAULT
from kiosk_tasks.serving.tensors import to_proto
from kiosk_tasks.serving.versions import VersionState, VersionStatus

__all__ = ["choose_version", "predict_request"]


def predict_request(signature: Signature, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Return the PredictRequest for one batch of arrays that fit the signature.

    It asks for the signature's outputs and no others: a caller that leaves some out is not sent
    them.
    """
    request = predict_pb2.PredictRequest()
    request.model_spec.name = signature.model
    request.model_spec.version.value = signature.version
    request.model_spec.signature_name = SERVING_DEFAULT
    request.output_filter.extend(sorted(signature.outputs))
    for name, array in arrays.items():
        to_proto(array, into=request.inputs[name])
    return request


def choose_version(name: str, version: int | None, statuses: Sequence[VersionStatus]) -> int:
    """Pick the version to use: the one asked for, or the newest that answers requests."""
    served = [entry.version for entry in statuses if entry.state is VersionState.AVAILABLE]
    if version is None and served:
        return max(served)
    if version in served:
        return version
    asked = [entry for entry in statuses if version in (None, entry.version)]
    if any(entry.state < VersionState.AVAILABLE for entry in asked):
        raise ModelServerUnavailable(f"model {name} is still being loaded.")
    which = f"model {name}" if version is None else f"model {name} version {version}"
    failed = next((entry.error for entry in reversed(asked) if entry.error), "")
    reason = f" It could not be loaded: {failed}" if failed else ""
    listed = ", ".join(str(entry) for entry in sorted(served)) or "none"
    raise UnknownModel(f"{which} is not served; served are {listed}.{reason}")
