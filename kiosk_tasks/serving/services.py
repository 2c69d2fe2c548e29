"""PredictionService and ModelService of TensorFlow Serving over a repository of loaded models.

Status codes and messages are those of the real server, so that a client cannot tell the two apart.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, Protocol

import grpc

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.serving.batching import Abandoned, Arrays, Batcher, QueueFull
from kiosk_tasks.serving.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
)
from kiosk_tasks.serving.repository import NotServed, Repository
from kiosk_tasks.serving.signatures import SERVING_DEFAULT
from kiosk_tasks.serving.tensors import dtype_of
from kiosk_tasks.serving.wire import Request, Tensor, write_reply

__all__ = ["ModelService", "PredictionService", "ServedModel"]

_Status = grpc.StatusCode
_FRAMES = ("Graph execution error", "Detected at node", "<stack traces", "[[{{node")
_BY_NUMBER = {status.value[0]: status for status in _Status}


class ServedModel(Protocol):
    """A loaded version, as the services need it."""

    @property
    def signatures(self) -> Mapping[str, Any]:
        """Signature name -> SignatureDef."""
        ...

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        """Return all outputs of that signature."""
        ...

    def can_batch(self, signature: str) -> bool:
        """Tell whether the first axis of every input and output is a batch of any length."""
        ...


class _Refusal(Exception):
    """A request that ends with a gRPC status."""

    def __init__(self, code: Any, message: str) -> None:
        super().__init__(message)
        self.code = code


def _answered(method: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """Turn what a method raises into the gRPC status that the real server would give."""

    @functools.wraps(method)
    def answer(self: Any, request: Any, context: Any) -> Any:
        try:
            return method(self, request, context)
        except _Refusal as exc:
            context.abort(exc.code, str(exc))
        except NotServed as exc:
            context.abort(_Status.NOT_FOUND, str(exc))
        except QueueFull as exc:
            context.abort(_Status.RESOURCE_EXHAUSTED, str(exc))
        except Abandoned as exc:
            context.abort(_Status.CANCELLED, str(exc))
        except (ModelMismatch, TypeError, ValueError) as exc:
            context.abort(_Status.INVALID_ARGUMENT, str(exc))
        except MemoryError as exc:
            context.abort(_Status.RESOURCE_EXHAUSTED, f"Out of memory: {exc}")
        except Exception as exc:  # TensorFlow's errors carry gRPC's own numbers
            code = _BY_NUMBER.get(getattr(exc, "error_code", None), _Status.INTERNAL)
            context.abort(code, _reason(exc))

    return answer


class PredictionService:
    """Predict and GetModelMetadata."""

    def __init__(
        self, repository: Repository[ServedModel], batcher: Batcher, *, typed_values: bool = False
    ) -> None:
        """Answer from the repository; `typed_values` fills `float_val` as the real server does."""
        self._repository = repository
        self._batcher = batcher
        self._typed_values = typed_values

    @_answered
    def Predict(self, request: Request, context: Any) -> bytes:  # noqa: N802
        """Run one signature of a model on the inputs; return the PredictResponse."""
        version, model = _find(self._repository, request.model_spec)
        signature = request.model_spec.signature_name or SERVING_DEFAULT
        definition = model.signatures.get(signature)
        if definition is None:
            _refuse(_Status.FAILED_PRECONDITION, f'Serving signature key "{signature}" not found.')
        wanted = _filtered(request.output_filter, definition.outputs)
        inputs = _inputs(request.inputs, definition.inputs)
        lengths = {array.shape[0] if array.ndim else -1 for array in inputs.values()}
        alone = not model.can_batch(signature) or len(lengths) != 1 or min(lengths) < 1
        shapes = tuple((name, array.dtype, array.shape[1:]) for name, array in inputs.items())
        outputs = self._batcher.submit(
            (request.model_spec.name, version, id(model), signature, shapes),
            functools.partial(model.run, signature),
            inputs,
            items=None if alone else lengths.pop(),
            wanted=context.is_active,
        )
        reply = predict_pb2.PredictResponse()
        _fill_spec(reply.model_spec, request, version, signature)
        answer = {name: outputs[name] for name in wanted}
        return write_reply(reply, answer, typed=self._typed_values)

    @_answered
    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Return the signatures of a version."""
        if not request.metadata_field:
            _refuse(_Status.INVALID_ARGUMENT, "GetModelMetadataRequest must specify a field.")
        for field in request.metadata_field:
            if field != "signature_def":
                _refuse(_Status.INVALID_ARGUMENT, f"Metadata field {field} is not supported")
        version, model = _find(self._repository, request.model_spec)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in model.signatures.items():
            signatures.signature_def[name].CopyFrom(definition)
        reply = get_model_metadata_pb2.GetModelMetadataResponse()
        _fill_spec(reply.model_spec, request, version, "")
        reply.metadata["signature_def"].Pack(signatures)
        return reply

    @_answered
    def Classify(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Refuse: no model of ours classifies examples."""
        _refuse(_Status.UNIMPLEMENTED, "Classify is not offered by this server; use Predict.")

    @_answered
    def Regress(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Refuse: no model of ours regresses examples."""
        _refuse(_Status.UNIMPLEMENTED, "Regress is not offered by this server; use Predict.")

    @_answered
    def MultiInference(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Refuse: it is for examples only."""
        _refuse(_Status.UNIMPLEMENTED, "MultiInference is not offered by this server; use Predict.")


class ModelService:
    """GetModelStatus."""

    def __init__(self, repository: Repository[ServedModel]) -> None:
        """Answer from the repository."""
        self._repository = repository

    @_answered
    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Return the states of all versions of a model, or of the one asked for; newest first."""
        spec = request.model_spec
        name, version = spec.name, _version(spec)
        found = [
            status for status in self._repository.status(name) if version in (None, status.version)
        ]
        if not found:
            which = f"version {version}" if version is not None else "any versions"
            _refuse(_Status.NOT_FOUND, f"Could not find {which} of model {name}")
        reply = get_model_status_pb2.GetModelStatusResponse()
        for status in found:
            entry = reply.model_version_status.add(version=status.version, state=int(status.state))
            if status.error:
                entry.status.error_code = _Status.UNKNOWN.value[0]
                entry.status.error_message = status.error
        return reply

    @_answered
    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        """Refuse: the folders are the configuration."""
        _refuse(_Status.UNIMPLEMENTED, "Models are reloaded when their folders change.")


def _find(repository: Repository[ServedModel], spec: Any) -> tuple[int, ServedModel]:
    if not spec.name:
        _refuse(_Status.INVALID_ARGUMENT, "ModelSpec has no name")
    return repository.get(spec.name, _version(spec))


def _version(spec: Any) -> int | None:
    if spec.WhichOneof("version_choice") == "version_label":
        _refuse(_Status.INVALID_ARGUMENT, f"Version labels are not offered: {spec.version_label}")
    return int(spec.version.value) if spec.HasField("version") else None


def _fill_spec(spec: Any, request: Any, version: int, signature: str) -> None:
    spec.name = request.model_spec.name
    spec.version.value = version
    spec.signature_name = signature


def _filtered(output_filter: Iterable[str], outputs: Mapping[str, Any]) -> list[str]:
    wanted = list(output_filter) or sorted(outputs)
    for name in wanted:
        if name not in outputs:
            _refuse(_Status.INVALID_ARGUMENT, f"output tensor alias not found in signature: {name}")
    return wanted


def _inputs(given: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> Arrays:
    """Read the inputs, after checking names and dtypes; the model itself checks shapes."""
    if set(given) != set(wanted):
        extra, missing = sorted(set(given) - set(wanted)), sorted(set(wanted) - set(given))
        _refuse(
            _Status.INVALID_ARGUMENT,
            f"input size does not match signature: {len(given)}!={len(wanted)}. "
            f"Sent extra: {{{', '.join(extra)}}}. "
            f"Missing but required: {{{', '.join(missing)}}}.",
        )
    for name, tensor in wanted.items():
        sent = given[name].proto.dtype
        if sent != tensor.dtype:
            _refuse(
                _Status.INVALID_ARGUMENT,
                f"input {name} must be {dtype_of(tensor.dtype)}, not {dtype_of(sent)}",
            )
    return {name: given[name].array() for name in sorted(wanted)}


def _reason(error: Exception) -> str:
    """Return the line that says what happened; TensorFlow puts others around it."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(_FRAMES)]
    return f"{type(error).__name__}: {telling[0] if telling else 'no reason given'}"


def _refuse(code: Any, message: str) -> NoReturn:
    raise _Refusal(code, message)
