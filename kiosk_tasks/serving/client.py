"""The client of TensorFlow Serving: the adapter of `ports.ModelServer`."""

from __future__ import annotations

import difflib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import grpc
from numpy.typing import NDArray

from kiosk_tasks.errors import KioskError, ModelMismatch, ModelServerUnavailable, UnknownModel
from kiosk_tasks.ports import Signature, no_check
from kiosk_tasks.serving.calls import Call, OnReply
from kiosk_tasks.serving.channel import Connection
from kiosk_tasks.serving.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
)
from kiosk_tasks.serving.requests import choose_version
from kiosk_tasks.serving.signatures import fit_inputs, parse_signature
from kiosk_tasks.serving.versions import VersionState, VersionStatus
from kiosk_tasks.serving.wire import write_request

__all__ = ["TensorFlowServing"]

_CHECK_EVERY_S = 0.5  #: a cancelled job stops waiting for a reply after that
_MAX_RESENDS = 3  #: a batch on which the server dies each time is given up after so many


class TensorFlowServing:
    """A TensorFlow Serving endpoint. Threads may share it; a forked child opens its own channel."""

    def __init__(
        self,
        target: str,
        *,
        deadline_s: float = 60.0,
        wait_s: float = 30.0,
        metadata_ttl_s: float = 30.0,
        in_flight: int = 2,
        known_models: Callable[[], Mapping[str, Sequence[int]]] | None = None,
        on_reply: OnReply = lambda _model, _items, _seconds: None,
    ) -> None:
        """Open nothing yet.

        target: `host:port`, or any gRPC target.
        deadline_s: one prediction may take so long, waiting at the server included.
        wait_s: a server that is down is awaited for so long; also the deadline of metadata.
        metadata_ttl_s: how long a signature is trusted.
        in_flight: batches sent before the first reply is awaited.
        known_models: names and versions that are deployed, for the sentence about an unknown name.
        on_reply: told of each prediction; it must not wait for anything.
        """
        if in_flight < 1:
            raise ValueError(f"in_flight is {in_flight}; it must be at least 1.")
        self._connection = Connection(target)
        self._deadline_s = deadline_s
        self._wait_s = wait_s
        self._metadata_ttl_s = metadata_ttl_s
        self._in_flight = in_flight
        self._known_models = known_models
        self._on_reply = on_reply
        self._signatures: dict[tuple[str, int | None], tuple[float, Signature]] = {}

    def signature(self, name: str, version: int | None = None) -> Signature:
        """Return what is served under that name; None asks for the newest version.

        Raises UnknownModel with a sentence that lists what is served, ModelMismatch if it has no
        `serving_default`, and ModelServerUnavailable when nothing answers within `wait_s`.
        """
        fetched, known = self._signatures.get((name, version), (-float("inf"), None))
        if known is not None and time.monotonic() - fetched < self._metadata_ttl_s:
            return known
        chosen = choose_version(name, version, self.status(name))
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = name
        request.model_spec.version.value = chosen
        reply = self._ask(self._connection.prediction.GetModelMetadata, request, name)
        signature = parse_signature(reply, name, chosen)
        self._signatures[name, version] = (time.monotonic(), signature)
        return signature

    def status(self, name: str) -> tuple[VersionStatus, ...]:
        """Return every version of the model that the server knows, and its state; oldest first.

        Raises UnknownModel and ModelServerUnavailable as `signature` does.
        """
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        reply = self._ask(self._connection.model.GetModelStatus, request, name)
        found = (
            VersionStatus(entry.version, VersionState(entry.state), entry.status.error_message)
            for entry in reply.model_version_status
        )
        return tuple(sorted(found, key=lambda status: status.version))

    def predict(
        self,
        signature: Signature,
        batches: Iterable[Mapping[str, NDArray[Any]]],
        *,
        check: Callable[[], None] = no_check,
        in_flight: int | None = None,
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the outputs of each batch, in order; `in_flight` batches are under way at once.

        batches: one mapping of input name to array each, drawn lazily: one more than is in flight.
        check: called every `_CHECK_EVERY_S` while a reply is awaited; raises to stop.
        in_flight: in place of the client's own.
        The arrays yielded are read-only. Closing the iterator cancels what is under way.
        Raises ModelMismatch when an array does not fit the signature, before it is sent, or when an
        output is missing; UnknownModel when the version is gone; ModelServerUnavailable.
        """
        calls: deque[Call] = deque()
        try:
            for batch in batches:
                request = write_request(signature, fit_inputs(signature, batch))
                items = max((len(array) for array in batch.values() if array.ndim), default=1)
                outputs = None
                if len(calls) == (in_flight or self._in_flight):
                    outputs = self._receive(calls[0], signature, check)
                    calls.popleft()
                calls.append(Call(request, self._send, items=items))
                if outputs is not None:
                    yield outputs
                del batch, request, outputs  # else they would be held while others are awaited
            while calls:
                outputs = self._receive(calls[0], signature, check)
                calls.popleft()
                yield outputs
                del outputs
        finally:
            for call in calls:
                call.future.cancel()

    def close(self) -> None:
        """Close the channel. The next use opens another."""
        self._connection.close()

    def _ask(self, method: Any, request: Any, name: str) -> Any:
        """Call a method that answers at once, waiting for a server that is not up yet."""
        try:
            return method(request, timeout=self._wait_s, wait_for_ready=True)
        except grpc.RpcError as exc:
            if exc.code() is grpc.StatusCode.NOT_FOUND:
                raise UnknownModel(self._unknown(name)) from exc
            raise self._error(exc, self._wait_s) from exc

    def _send(self, request: Any) -> Any:
        return self._connection.predict.future(request, timeout=self._deadline_s)

    def _receive(
        self, call: Call, signature: Signature, check: Callable[[], None]
    ) -> dict[str, NDArray[Any]]:
        """Await the reply; a batch lost with a restarting server is sent again."""
        while True:
            try:
                check()
                reply = call.future.result(timeout=_CHECK_EVERY_S)
                break
            except grpc.FutureTimeoutError:
                continue
            except grpc.RpcError as exc:
                code = exc.code()
                if code is grpc.StatusCode.NOT_FOUND:
                    raise self._gone(signature) from exc
                lost = code is grpc.StatusCode.UNAVAILABLE and call.resends < _MAX_RESENDS
                if not lost or not self._comes_back(check):
                    raise self._error(exc, self._deadline_s) from exc
                call.send_again()
        self._on_reply(signature.model, call.items, call.seconds)
        missing = sorted(set(signature.outputs) - set(reply))
        if missing:
            raise ModelMismatch(
                f"model {signature.model} version {signature.version} did not answer with "
                f"{', '.join(missing)}; it gave {', '.join(sorted(reply)) or 'nothing'}."
            )
        return {name: reply[name].array() for name in signature.outputs}

    def _comes_back(self, check: Callable[[], None]) -> bool:
        """Wait for a server that is down; False if it is not back within `wait_s`."""
        ends = time.monotonic() + self._wait_s
        while not self._connection.wait(min(_CHECK_EVERY_S, self._wait_s)):
            check()
            if time.monotonic() >= ends:
                return False
        return True

    def _gone(self, signature: Signature) -> UnknownModel:
        """Say what is served now in place of a version that was removed meanwhile."""
        for key in [key for key in self._signatures if key[0] == signature.model]:
            self._signatures.pop(key, None)
        try:
            choose_version(signature.model, signature.version, self.status(signature.model))
        except UnknownModel as now:
            return now
        return UnknownModel(
            f"model {signature.model} version {signature.version} was not served for a moment."
        )

    def _unknown(self, name: str) -> str:
        served = self._known_models() if self._known_models is not None else {}
        near = difflib.get_close_matches(name, served, n=1, cutoff=0.5)
        sentence = f"model {name} is not served."
        if near:
            sentence += f" Did you mean {near[0]}?"
        if served:
            sentence += f" Served are {', '.join(sorted(served))}."
        return sentence

    def _error(self, error: Any, limit_s: float) -> KioskError:
        """Map a gRPC status to the error tree."""
        code, server = error.code(), f"The model server at {self._connection.target}"
        said = str(error.details() or code.name).strip().split("\n")[0][:300]
        match code:
            case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.FAILED_PRECONDITION:
                return ModelMismatch(f"{server} refused the request: {said}")
            case grpc.StatusCode.UNIMPLEMENTED:
                return ModelMismatch(f"{server} is not a TensorFlow Serving: {said}")
            case grpc.StatusCode.UNAVAILABLE:
                limit_s = self._wait_s
            case grpc.StatusCode.DEADLINE_EXCEEDED:
                pass
            case grpc.StatusCode.RESOURCE_EXHAUSTED:
                return ModelServerUnavailable(f"{server} has no room for more: {said}")
            case _:
                return ModelServerUnavailable(f"{server} failed ({code.name}): {said}")
        return ModelServerUnavailable(
            f"{server} did not answer within {limit_s:g} s. "
            "Start it (kiosk up) or set KIOSK_MODEL_SERVER."
        )
