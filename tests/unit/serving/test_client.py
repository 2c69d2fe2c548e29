"""The client against a scripted server on the loopback: order, retries, sentences, cancelling."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest

from kiosk_tasks.errors import ModelMismatch, ModelServerUnavailable, UnknownModel
from kiosk_tasks.ports import Signature
from kiosk_tasks.serving.client import TensorFlowServing
from kiosk_tasks.serving.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from kiosk_tasks.serving.tensors import from_proto, to_proto
from kiosk_tasks.serving.versions import VersionState

Reply = Callable[[Any, Any], Any]


class Script:
    """A server that serves models "M" as told; each prediction is answered by `answer`."""

    def __init__(self) -> None:
        self.states: dict[int, tuple[int, str]] = {1: (30, ""), 3: (30, "")}
        self.metadata_calls = 0
        self.predictions = 0
        self.answer: Reply = self.echo

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.model_spec.name != "M" or not self.states:
            context.abort(grpc.StatusCode.NOT_FOUND, "Could not find any versions of model")
        reply = get_model_status_pb2.GetModelStatusResponse()
        for version, (state, error) in self.states.items():
            entry = reply.model_version_status.add(version=version, state=state)
            entry.status.error_message = error
        return reply

    def GetModelMetadata(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        self.metadata_calls += 1
        definitions = get_model_metadata_pb2.SignatureDefMap()
        chosen = definitions.signature_def["serving_default"]
        for tensor in (chosen.inputs["x"], chosen.outputs["y"]):
            tensor.dtype = 1
            tensor.tensor_shape.dim.add(size=-1)
        reply = get_model_metadata_pb2.GetModelMetadataResponse()
        reply.metadata["signature_def"].Pack(definitions)
        return reply

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.predictions += 1
        return self.answer(request, context)

    def echo(self, request: Any, _context: Any) -> Any:
        reply = predict_pb2.PredictResponse()
        reply.outputs["y"].CopyFrom(request.inputs["x"])
        return reply

    def refuse(self, code: grpc.StatusCode, message: str) -> None:
        self.answer = lambda _request, context: context.abort(code, message)

    Classify = Regress = MultiInference = HandleReloadConfigRequest = Predict


def start(script: Script, port: int = 0) -> tuple[grpc.Server, int]:
    """Serve the script on a free port, or on that one."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(script, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(script, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, port


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def port(script: Script) -> Iterator[int]:
    server, port = start(script)
    yield port
    server.stop(None).wait()


@pytest.fixture
def client(port: int) -> Iterator[TensorFlowServing]:
    client = TensorFlowServing(f"127.0.0.1:{port}", deadline_s=10, wait_s=10)
    yield client
    client.close()


def batch(*values: float) -> dict[str, Any]:
    return {"x": np.array(values, "f4")}


def one(client: TensorFlowServing, signature: Signature) -> dict[str, Any]:
    (outputs,) = client.predict(signature, [batch(1, 2)])
    return outputs


def test_the_newest_available_version_is_the_default(
    script: Script, client: TensorFlowServing
) -> None:
    script.states = {1: (30, ""), 3: (30, ""), 4: (20, ""), 5: (50, "damaged")}
    assert client.signature("M").version == 3
    assert client.signature("M", 1).version == 1
    states = [status.state for status in client.status("M")]
    assert states == [VersionState(number) for number in (30, 30, 20, 50)]


def test_signatures_are_kept_for_a_while(script: Script, port: int) -> None:
    for ttl, calls in ((60, 1), (0, 3)):
        script.metadata_calls = 0
        client = TensorFlowServing(f"127.0.0.1:{port}", metadata_ttl_s=ttl)
        for _ in range(3):
            client.signature("M")
        assert script.metadata_calls == calls
        client.close()


def test_sentences_about_versions(script: Script, client: TensorFlowServing) -> None:
    with pytest.raises(UnknownModel) as error:
        client.signature("M", 9)
    assert str(error.value) == "model M version 9 is not served; served are 1, 3."
    script.states = {2: (50, "damaged")}
    with pytest.raises(UnknownModel, match=r"model M is not served; served are none.*: damaged"):
        client.signature("M")
    script.states = {2: (20, "")}
    with pytest.raises(ModelServerUnavailable, match="model M is still being loaded"):
        client.signature("M")


def test_sentences_about_names(port: int) -> None:
    client = TensorFlowServing(f"127.0.0.1:{port}")
    with pytest.raises(UnknownModel, match=r"^model Nuclei is not served\.$"):
        client.signature("Nuclei")
    client.close()
    known = {"Nuclear": [1], "Cytoplasm": [2]}
    client = TensorFlowServing(f"127.0.0.1:{port}", known_models=lambda: known)
    with pytest.raises(UnknownModel) as error:
        client.status("Nuclei")
    assert str(error.value) == (
        "model Nuclei is not served. Did you mean Nuclear? Served are Cytoplasm, Nuclear."
    )
    client.close()


def test_replies_keep_the_order_of_the_batches(script: Script, port: int) -> None:
    second_came = threading.Event()

    client = TensorFlowServing(f"127.0.0.1:{port}", in_flight=3)
    signature = client.signature("M")

    def ordered(request: Any, context: Any) -> Any:
        if from_proto(request.inputs["x"])[0] == 1:
            second_came.set()
        elif from_proto(request.inputs["x"])[0] == 0:
            assert second_came.wait(10)
        return script.echo(request, context)

    script.answer = ordered
    got = [outputs["y"][0] for outputs in client.predict(signature, map(batch, range(8)))]
    assert got == list(range(8))
    client.close()


@pytest.mark.parametrize("in_flight", [1, 2])
def test_with_one_in_flight_the_next_is_sent_when_a_reply_is_there(
    script: Script, client: TensorFlowServing, in_flight: int
) -> None:
    signature = client.signature("M")
    second_came, first_read = threading.Event(), threading.Event()
    together = []

    def watched(request: Any, context: Any) -> Any:
        if from_proto(request.inputs["x"])[0] == 0:
            together.append(second_came.wait(1))
        else:
            second_came.set()
            assert first_read.wait(10)
        return script.echo(request, context)

    script.answer = watched
    replies = client.predict(signature, map(batch, range(2)), in_flight=in_flight)
    assert next(replies)["y"][0] == 0
    assert second_came.wait(10)  # before anybody asks for its reply
    first_read.set()
    assert next(replies)["y"][0] == 1
    assert together == [in_flight == 2]


def test_batches_are_drawn_lazily_and_cancelled_when_nobody_reads(
    script: Script, client: TensorFlowServing
) -> None:
    signature = client.signature("M")
    drawn: list[int] = []
    held, gone = threading.Event(), threading.Event()

    def hold(request: Any, context: Any) -> Any:
        if from_proto(request.inputs["x"])[0] > 0:
            context.add_callback(gone.set)
            held.set()
            gone.wait(10)
        return script.echo(request, context)

    def batches() -> Iterator[dict[str, Any]]:
        for number in range(100):
            drawn.append(number)
            yield batch(number)

    script.answer = hold
    replies = client.predict(signature, batches())
    next(replies)
    assert drawn == [0, 1, 2]
    assert held.wait(10)
    assert not gone.is_set()
    replies.close()  # type: ignore[attr-defined]
    assert gone.wait(10)


def test_replies_are_let_go_before_the_next_are_awaited(client: TensorFlowServing) -> None:
    signature = client.signature("M")
    given: list[weakref.ref[Any]] = []

    def none_is_held() -> None:
        assert not any(one() is not None for one in given)

    for outputs in client.predict(signature, map(batch, range(6)), check=none_is_held):
        given.append(weakref.ref(outputs["y"]))
        del outputs
    assert len(given) == 6


def test_nothing_is_sent_that_does_not_fit(script: Script, client: TensorFlowServing) -> None:
    signature = client.signature("M")
    for bad in ({"x": np.zeros((1, 1), "f4")}, {"x": np.zeros(1, "i8")}, {}):
        with pytest.raises(ModelMismatch, match="model M version 3 takes"):
            list(client.predict(signature, [bad]))
    assert script.predictions == 0


def test_a_reply_without_an_output_is_refused(script: Script, client: TensorFlowServing) -> None:
    def other(_request: Any, _context: Any) -> Any:
        return predict_pb2.PredictResponse(outputs={"z": to_proto(np.zeros(1, "f4"))})

    script.answer = other
    with pytest.raises(ModelMismatch, match="did not answer with y; it gave z"):
        one(client, client.signature("M"))


@pytest.mark.parametrize(
    ("code", "error", "sentence"),
    [
        ("INVALID_ARGUMENT", ModelMismatch, "refused the request: why"),
        ("FAILED_PRECONDITION", ModelMismatch, "refused the request: why"),
        ("UNIMPLEMENTED", ModelMismatch, "is not a TensorFlow Serving: why"),
        ("DEADLINE_EXCEEDED", ModelServerUnavailable, "did not answer within 10 s"),
        ("RESOURCE_EXHAUSTED", ModelServerUnavailable, "has no room for more: why"),
        ("INTERNAL", ModelServerUnavailable, r"failed \(INTERNAL\): why"),
    ],
)
def test_status_codes_become_errors_of_our_own(
    script: Script,
    client: TensorFlowServing,
    code: str,
    error: type[Exception],
    sentence: str,
) -> None:
    script.refuse(grpc.StatusCode[code], "why\nand a long trace")
    with pytest.raises(error, match=sentence) as raised:
        one(client, client.signature("M"))
    assert "trace" not in str(raised.value)


def test_a_version_that_is_removed_meanwhile(script: Script, client: TensorFlowServing) -> None:
    signature = client.signature("M", 1)
    script.refuse(grpc.StatusCode.NOT_FOUND, "Servable not found for request: Specific(M, 1)")
    with pytest.raises(UnknownModel, match="version 1 was not served for a moment"):
        one(client, signature)
    del script.states[1]
    with pytest.raises(UnknownModel, match="model M version 1 is not served; served are 3"):
        one(client, signature)
    with pytest.raises(UnknownModel, match="served are 3"):
        client.signature("M", 1)


def test_a_crowded_server_is_asked_again(script: Script, client: TensorFlowServing) -> None:
    signature = client.signature("M")

    def once_full(request: Any, context: Any) -> Any:
        if script.predictions == 1:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return script.echo(request, context)

    script.answer = once_full
    large = {"x": np.zeros(300_000, "f4")}  # over gRPC's default limit of what is sent again
    assert len(list(client.predict(signature, [large]))) == 1
    assert script.predictions == 2


def test_a_slow_server_meets_the_deadline(script: Script, port: int) -> None:
    released = threading.Event()

    def hold(request: Any, context: Any) -> Any:
        released.wait(10)
        return script.echo(request, context)

    script.answer = hold
    client = TensorFlowServing(f"127.0.0.1:{port}", deadline_s=0.1)
    with pytest.raises(ModelServerUnavailable, match=r"did not answer within 0\.1 s"):
        one(client, client.signature("M"))
    released.set()
    client.close()


def test_a_cancelled_job_does_not_wait_for_the_reply(script: Script, port: int) -> None:
    never = threading.Event()
    left = threading.Event()

    def hang(_request: Any, context: Any) -> Any:
        context.add_callback(left.set)
        never.wait(20)
        context.abort(grpc.StatusCode.UNAVAILABLE, "too late")

    class StopError(Exception):
        pass

    def check() -> None:
        if script.predictions:
            raise StopError

    script.answer = hang
    client = TensorFlowServing(f"127.0.0.1:{port}", deadline_s=20)
    start_s = time.monotonic()
    with pytest.raises(StopError):
        next(client.predict(client.signature("M"), [batch(1)], check=check))
    assert time.monotonic() - start_s < 2
    assert left.wait(5), "the call was not cancelled at the server"
    never.set()
    client.close()


def test_a_cancelled_job_does_not_wait_for_a_server_that_is_down() -> None:
    script = Script()
    server, port = start(script)
    client = TensorFlowServing(f"127.0.0.1:{port}", deadline_s=20, wait_s=20)
    signature = client.signature("M")
    server.stop(None).wait()
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise InterruptedError

    start_s = time.monotonic()
    with pytest.raises(InterruptedError):
        next(client.predict(signature, [batch(1)], check=check))
    assert time.monotonic() - start_s < 8  # gRPC itself tries again for some seconds
    client.close()


def test_a_batch_survives_a_restart_of_the_server() -> None:
    first = Script()
    server, port = start(first)
    client = TensorFlowServing(f"127.0.0.1:{port}", wait_s=10)
    signature = client.signature("M")
    restarted: list[grpc.Server] = []

    def batches() -> Iterator[dict[str, Any]]:
        yield batch(1)
        server.stop(None).wait()
        restarted.append(start(Script(), port)[0])
        yield batch(2)

    got = [outputs["y"].tolist() for outputs in client.predict(signature, batches())]
    assert got == [[1], [2]]
    client.close()
    restarted[0].stop(None).wait()


def test_a_server_that_is_down_is_said_in_a_sentence() -> None:
    server, port = start(Script())
    client = TensorFlowServing(f"127.0.0.1:{port}", wait_s=0.2)
    signature = client.signature("M")
    server.stop(None).wait()
    sentence = (
        f"The model server at 127.0.0.1:{port} did not answer within 0.2 s. "
        "Start it (kiosk up) or set KIOSK_MODEL_SERVER."
    )
    with pytest.raises(ModelServerUnavailable) as error:
        client.status("M")
    assert str(error.value) == sentence
    with pytest.raises(ModelServerUnavailable) as error:
        one(client, signature)
    assert str(error.value) == sentence
    client.close()
    client.close()


def test_in_flight_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        TensorFlowServing("127.0.0.1:1", in_flight=0)
