"""The client and the embedded model server, as processes, with real SavedModels."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk_tasks.errors import ModelMismatch, ModelServerUnavailable, UnknownModel
from kiosk_tasks.serving.channel import Connection
from kiosk_tasks.serving.client import TensorFlowServing
from kiosk_tasks.serving.launch import ModelServerProcess
from kiosk_tasks.serving.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
)
from kiosk_tasks.serving.tensors import to_proto
from kiosk_tasks.serving.versions import VersionState
from tests.built_models import build
from tests.ports import free_port

OPTIONS = ("--poll-s", "0.05", "--max-wait-ms", "20", "--max-runs", "1", "--max-batch", "8")


class Server:
    """A running server: its address, its log, and a folder of models that tests may change."""

    def __init__(self, target: str, log: Path, changing: Path, toys: Path) -> None:
        self.target, self.log, self.changing, self.toys = target, log, changing, toys

    def runs(self, model: str) -> list[int]:
        """Return how many requests each run of the model served, oldest first."""
        found = re.findall(rf"event=run model={model} \S+ requests=(\d+)", self.log.read_text())
        return [int(number) for number in found]

    def install(self, toy: str, toy_version: int, name: str, version: int) -> Path:
        """Put a toy under another name; it appears at once, complete."""
        path = self.changing / name / str(version)
        staged = self.changing.parent / "staged"
        shutil.copytree(self.toys / toy / str(toy_version), staged)
        path.parent.mkdir(exist_ok=True)
        staged.rename(path)
        return path


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("toy_models", tmp_path_factory.mktemp("toys"))


@pytest.fixture(scope="session")
def server(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    changing, log = folder / "changing", folder / "log"
    changing.mkdir()
    with (
        log.open("wb") as file,
        ModelServerProcess([changing, toys], options=OPTIONS, log=file) as process,
    ):
        yield Server(process.target, log, changing, toys)


@pytest.fixture
def client(server: Server) -> Iterator[TensorFlowServing]:
    client = TensorFlowServing(server.target, metadata_ttl_s=0)
    yield client
    client.close()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until the server has noticed a change, at most 15 s."""
    for _ in range(750):
        if condition():
            return
        threading.Event().wait(0.02)
    pytest.fail("It did not happen.")


def image(*shape: int) -> NDArray[Any]:
    return np.random.default_rng(0).random(shape, "f4")


def ask(client: TensorFlowServing, name: str, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
    (outputs,) = client.predict(client.signature(name), [inputs])
    return outputs


def refused(target: str, request: Any, method: str = "Predict") -> grpc.RpcError:
    """Send a request of our own making; return how the server refuses it."""
    connection = Connection(target)
    try:
        with pytest.raises(grpc.RpcError) as error:
            getattr(connection.prediction, method)(request, timeout=10)
    finally:
        connection.close()
    return error.value


def test_heads_of_the_nuclear_signature(client: TensorFlowServing) -> None:
    signature = client.signature("NuclearSegmentation")
    assert signature.inputs["image"].shape == (-1, -1, -1, 1)
    pixels = image(2, 32, 48, 1)
    heads = ask(client, "NuclearSegmentation", image=pixels)["heads"]
    np.testing.assert_array_equal(heads, np.concatenate([pixels, pixels / 2, -pixels], -1))


def test_the_newest_version_is_the_default_and_others_can_be_named(
    client: TensorFlowServing,
) -> None:
    for version, number, factor in ((None, 3, 6), (3, 3, 6), (1, 1, 2)):
        signature = client.signature("Doubled", version)
        assert signature.version == number
        (outputs,) = client.predict(signature, [{"image": np.ones((1, 2, 2, 1), "f4")}])
        assert (outputs["image"] == factor).all()


def test_order_is_kept_with_several_batches_in_flight(server: Server) -> None:
    client = TensorFlowServing(server.target, in_flight=4)
    signature = client.signature("Identity")
    batches = ({"image": np.full((1, 4, 4, 1), number, "f4")} for number in range(20))
    got = [float(outputs["image"][0, 0, 0, 0]) for outputs in client.predict(signature, batches)]
    assert got == list(range(20))
    client.close()


def test_other_dtypes(client: TensorFlowServing) -> None:
    half = ask(client, "Half", image=np.array([[0.25, 1.5]], "f4"))["image"]
    assert half.dtype == np.float16
    assert half.tolist() == [[1.25, 2.5]]
    small, large = np.array([[200, 3]], "u1"), np.array([[70000, -5]], "i4")
    assert ask(client, "Integers", small=small, large=large)["sum"].tolist() == [[70200, -2]]
    assert ask(client, "Words", word=np.array(["µm", "px"]))["word"].tolist() == [
        "µm".encode(),
        b"px",
    ]


def test_what_does_not_fit_is_refused_before_it_is_sent(
    server: Server, client: TensorFlowServing
) -> None:
    before = len(server.runs("Fixed"))
    for bad in (image(3, 3), np.zeros((2, 2), "i8"), image(2, 2, 1)):
        with pytest.raises(ModelMismatch, match="model Fixed version 1 takes image"):
            ask(client, "Fixed", image=bad)
    ask(client, "Fixed", image=image(2, 2))
    wait_for(lambda: len(server.runs("Fixed")) == before + 1)


def test_concurrent_requests_share_runs(server: Server) -> None:
    clients = [TensorFlowServing(server.target) for _ in range(12)]
    signatures = [client.signature("Slow") for client in clients]
    start = threading.Barrier(len(clients))

    def request(index: int) -> float:
        start.wait(10)
        rounds = np.full((1, 1), 10 + index, "f4")
        (outputs,) = clients[index].predict(signatures[index], [{"rounds": rounds}])
        return float(outputs["rounds"][0, 0])

    with ThreadPoolExecutor(len(clients)) as pool:
        answers = list(pool.map(request, range(len(clients))))
    assert answers == [10 + index for index in range(len(clients))]
    wait_for(lambda: sum(server.runs("Slow")) == len(clients))
    assert len(server.runs("Slow")) < len(clients)
    assert max(server.runs("Slow")) <= 8
    for client in clients:
        client.close()


def test_a_bad_request_does_not_fail_its_neighbours(server: Server) -> None:
    client = TensorFlowServing(server.target)
    signature = client.signature("Picky")
    start = threading.Barrier(6)

    def request(value: int) -> float | str:
        start.wait(10)
        try:
            (outputs,) = client.predict(signature, [{"image": np.full((1, 3), value, "f4")}])
        except ModelMismatch as exc:
            return str(exc)
        return float(outputs["image"][0, 0])

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(request, [1, 2, 4, 5, 6, -3]))
    assert answers[:5] == [1, 2, 4, 5, 6]
    assert "InvalidArgumentError: assertion failed: [negative pixel" in str(answers[5])
    client.close()


def test_a_model_that_claims_another_shape_than_it_gives(server: Server) -> None:
    client = TensorFlowServing(server.target)
    signature = client.signature("WrongShape")
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(
            lambda _: next(client.predict(signature, [{"image": np.ones((2, 3), "f4")}])), range(4)
        )
        assert [outputs["first"].tolist() for outputs in found] == [[[2, 2, 2]]] * 4
    client.close()


def test_sentences_about_what_is_not_served(server: Server) -> None:
    client = TensorFlowServing(server.target, known_models=lambda: {"Identity": [1]})
    with pytest.raises(UnknownModel) as error:
        client.signature("Doubled", 9)
    assert str(error.value) == "model Doubled version 9 is not served; served are 1, 3."
    with pytest.raises(UnknownModel) as error:
        client.signature("Identify")
    assert str(error.value) == (
        "model Identify is not served. Did you mean Identity? Served are Identity."
    )
    client.close()


def test_versions_come_and_go_while_the_server_runs(
    server: Server, client: TensorFlowServing
) -> None:
    first = server.install("Doubled", 1, "Mine", 1)
    wait_for(lambda: _is_served(client, "Mine", 1))
    old = client.signature("Mine")
    server.install("Doubled", 3, "Mine", 2)
    wait_for(lambda: client.signature("Mine").version == 2)
    assert float(ask(client, "Mine", image=np.ones((1, 1, 1, 1), "f4"))["image"].item()) == 6
    first.rename(server.changing.parent / "removed")
    wait_for(lambda: len(client.status("Mine")) == 1)
    with pytest.raises(UnknownModel, match="model Mine version 1 is not served; served are 2"):
        list(client.predict(old, [{"image": np.ones((1, 1, 1, 1), "f4")}]))


def test_a_damaged_model_is_reported_and_harms_nobody(
    server: Server, client: TensorFlowServing
) -> None:
    for version, content in ((1, b"not a model"), (2, b"")):
        path = server.changing / "Damaged" / str(version)
        path.mkdir(parents=True)
        (path / "saved_model.pb").write_bytes(content)
    wait_for(lambda: _ended(client, "Damaged") == 2)
    with pytest.raises(UnknownModel, match=r"served are none\. It could not be loaded: \w+"):
        client.signature("Damaged")
    assert ask(client, "Identity", image=image(1, 2, 2, 1))["image"].shape == (1, 2, 2, 1)


def test_a_prediction_that_takes_too_long(server: Server) -> None:
    client = TensorFlowServing(server.target, deadline_s=0.05)
    signature = client.signature("Slow")
    with pytest.raises(ModelServerUnavailable, match=r"did not answer within 0\.05 s"):
        list(client.predict(signature, [{"rounds": np.full((2, 1), 300, "f4")}]))
    client.close()


def test_refusals_are_those_of_tensorflow_serving(server: Server) -> None:
    request = predict_pb2.PredictRequest()
    error = refused(server.target, request)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    request.model_spec.name = "Nothing"
    error = refused(server.target, request)
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == "Servable not found for request: Latest(Nothing)"
    request.model_spec.name = "Identity"
    error = refused(server.target, request)
    assert "Missing but required: {image}" in error.details()
    request.inputs["image"].CopyFrom(to_proto(np.zeros((1, 1, 1, 1), "i4")))
    assert "must be float32, not int32" in refused(server.target, request).details()
    request.output_filter.append("none")
    assert "output tensor alias not found" in refused(server.target, request).details()
    request.model_spec.signature_name = "other"
    error = refused(server.target, request)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    request.model_spec.version_label = "stable"
    assert "labels are not offered" in refused(server.target, request).details()


def test_services_that_are_not_offered(server: Server) -> None:
    metadata = get_model_metadata_pb2.GetModelMetadataRequest()
    assert "must specify" in refused(server.target, metadata, "GetModelMetadata").details()
    metadata.metadata_field.append("assets")
    assert "not supported" in refused(server.target, metadata, "GetModelMetadata").details()
    for method in ("Classify", "Regress", "MultiInference"):
        kinds = {"Classify": "classification", "Regress": "regression"}
        module = sys.modules[f"tensorflow_serving.apis.{kinds.get(method, 'inference')}_pb2"]
        name = {"Classify": "ClassificationRequest", "Regress": "RegressionRequest"}
        request = getattr(module, name.get(method, "MultiInferenceRequest"))()
        error = refused(server.target, request, method)
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "use Predict" in error.details()
    with grpc.insecure_channel(server.target) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        reload = sys.modules["tensorflow_serving.apis.model_management_pb2"].ReloadConfigRequest()
        with pytest.raises(grpc.RpcError, match="reloaded when their folders change"):
            stub.HandleReloadConfigRequest(reload, timeout=10)
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = "Doubled"
        request.model_spec.version.value = 9
        with pytest.raises(grpc.RpcError, match="Could not find version 9 of model Doubled"):
            stub.GetModelStatus(request, timeout=10)


def test_a_reply_names_its_version_and_holds_only_what_was_asked(server: Server) -> None:
    request = predict_pb2.PredictRequest(output_filter=["image"])
    request.model_spec.name = "Doubled"
    request.inputs["image"].CopyFrom(to_proto(np.ones((1, 1, 1, 1), "f4")))
    connection = Connection(server.target)
    reply = connection.prediction.Predict(request, timeout=10)
    connection.close()
    assert (reply.model_spec.name, reply.model_spec.version.value) == ("Doubled", 3)
    assert list(reply.outputs) == ["image"]
    assert reply.outputs["image"].tensor_content == np.float32(6).tobytes()


def test_a_client_works_on_after_a_fork(server: Server) -> None:
    code = f"""
import os, numpy as np
from kiosk_tasks.serving.client import TensorFlowServing
client = TensorFlowServing({server.target!r})
def ask():
    signature = client.signature("Identity")
    (outputs,) = client.predict(signature, [{{"image": np.ones((1, 2, 2, 1), "f4")}}])
    assert (outputs["image"] == 1).all()
ask()
child = os.fork()
if child == 0:
    try:
        ask()
        client.close()
    except BaseException:
        os._exit(1)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
ask()
client.close()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_server_that_comes_up_late_answers_with_typed_values_and_ends_with_0(
    server: Server, tmp_path: Path
) -> None:
    for name in ("Identity", "Half", "Integers"):
        shutil.copytree(server.toys / name, tmp_path / "models" / name)
    port = free_port()
    client = TensorFlowServing(f"127.0.0.1:{port}", wait_s=100)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.signature, "Identity")
        options = ("--port", str(port), "--typed-values")
        with (
            (tmp_path / "log").open("wb") as log,
            ModelServerProcess([tmp_path / "models"], options=options, log=log) as process,
        ):
            assert waiting.result(100).version == 1
            pixels = image(2, 16, 16, 3)
            np.testing.assert_array_equal(ask(client, "Identity", image=pixels)["image"], pixels)
            assert ask(client, "Half", image=np.ones((1, 2), "f2"))["image"].tolist() == [[2, 2]]
            both = {"small": np.ones((1, 2), "u1"), "large": np.ones((1, 2), "i4")}
            assert ask(client, "Integers", **both)["sum"].tolist() == [[2, 2]]
            for _ in range(1000):  # one signal may come while another's handler runs
                os.kill(process.pid, signal.SIGTERM)
                time.sleep(1e-5)
            assert process.stop() == 0
    client.close()
    said = (tmp_path / "log").read_text().splitlines()
    assert "event=stop" in said[-1]
    assert all(line.startswith("time=") for line in said)


def _is_served(client: TensorFlowServing, name: str, version: int) -> bool:
    try:
        return client.signature(name).version == version
    except (UnknownModel, ModelServerUnavailable):
        return False


def _ended(client: TensorFlowServing, name: str) -> int:
    try:
        states = [status.state for status in client.status(name)]
    except UnknownModel:
        return 0
    return states.count(VersionState.END)
