"""What the service offers, over HTTP: job types, models, how it is asked, whether it is well."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from kiosk_tasks.errors import BrokerUnavailable, StorageUnavailable
from kiosk_tasks.jobs import job_types
from kiosk_tasks.serving.protos import get_model_status_pb2, model_service_pb2_grpc
from kiosk_tasks.serving.versions import VersionState
from tests.conftest import Broker, wait_for
from tests.ports import free_port
from tests.web_service import WebService, packed, web_service


@pytest.fixture
def web(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebService]:
    nobody = {"MODEL_SERVER": f"127.0.0.1:{free_port()}"}
    with web_service(broker, tmp_path, monkeypatch, **nobody) as service:
        yield service


class Models(model_service_pb2_grpc.ModelServiceServicer):
    """A model server that tells what it has."""

    def __init__(self, **served: tuple[int, ...]) -> None:
        self.served = served
        self.asked = 0

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked += 1
        if request.model_spec.name not in self.served:
            context.abort(grpc.StatusCode.NOT_FOUND, "none")
        reply = get_model_status_pb2.GetModelStatusResponse()
        for version in self.served[request.model_spec.name]:
            reply.model_version_status.add(version=version, state=VersionState.AVAILABLE)
        return reply


@contextmanager
def model_server(models: Models) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(models, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def test_job_types_come_with_a_schema_in_the_order_of_a_form(web: WebService) -> None:
    listed = web.http.get("/job-types").json()["job_types"]
    assert [one["name"] for one in listed] == list(job_types())
    predict = next(one for one in listed if one["name"] == "predict")
    assert predict["aliases"] == list(job_types()["predict"].aliases)
    assert list(predict["schema"]["properties"])[:4] == [
        *("model_name", "model_version", "axes", "mpp"),
    ]
    assert predict["schema"]["properties"]["mpp"]["x-unit"] == "µm/px"


def test_models_are_those_that_the_model_server_answers_with(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = Models(NuclearSegmentation=(1, 3), Mine=(2,), Unheard=(1,))
    with (
        model_server(models) as address,
        web_service(broker, tmp_path, monkeypatch, MODEL_SERVER=address) as web,
    ):
        web.bucket.put("models/Mine/2/saved_model.pb", b"")
        served = web.http.get("/models").json()
        assert served == {"models": {"Mine": ["2"], "NuclearSegmentation": ["1", "3"]}}
        asked = models.asked
        with ThreadPoolExecutor(8) as many:
            again = list(many.map(lambda _: web.http.get("/models").json(), range(8)))
        assert again == [served] * 8
        assert models.asked == asked, "what was said a moment ago is not asked again"


def test_a_model_server_that_is_away_is_said_in_a_sentence(web: WebService) -> None:
    begun = time.monotonic()
    with ThreadPoolExecutor(6) as many:
        answers = list(many.map(lambda _: web.http.get("/models"), range(6)))
    assert {answer.status_code for answer in answers} == {503}
    assert answers[0].json()["error"] == "ModelServerUnavailable"
    assert "did not answer" in answers[0].json()["message"]
    assert "retry-after" in answers[0].headers
    assert time.monotonic() - begun < 11, "nobody waits for everybody"  # six times two seconds


def test_the_page_of_operations_needs_nothing_but_the_service(web: WebService) -> None:
    answer = web.http.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<script" not in answer.text
    assert set(re.findall(r'(?:href|src)="([^"#][^"]*)"', answer.text)) == {"/", "/openapi.json"}
    document = web.http.get("/openapi.json").json()
    for path, item in document["paths"].items():
        for method in item:
            assert f"<b>{method.upper()}</b> <code>{path}</code>" in answer.text
    targets = set(re.findall(r'href="#([^"]+)"', answer.text))
    assert targets <= set(re.findall(r'id="([^"]+)"', answer.text))


def test_a_service_that_lives_and_can_work_says_so(web: WebService) -> None:
    assert web.http.get("/healthz").json() == {"status": "ok"}
    ready = web.http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ok", "broker": "ok", "bucket": "ok"}


def test_what_is_missing_is_named_and_nobody_waits_long(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,  # it accepts, and never answers
        web_service(
            *(broker, tmp_path, monkeypatch),
            BROKER_URL=f"redis://127.0.0.1:{deaf.getsockname()[1]}/0",
            LEDGER_URL=broker.url,
        ) as web,
    ):
        monkeypatch.setattr(web.bucket, "exists", _refuse)
        begun = time.monotonic()
        with ThreadPoolExecutor(8) as many:
            answers = list(many.map(lambda _: web.http.get("/readyz"), range(8)))
        assert time.monotonic() - begun < 12  # not eight times two seconds
        assert {answer.status_code for answer in answers} == {503}
        said = answers[0].json()
        assert said["status"] == "unavailable"
        assert "does not answer" in said["broker"]
        assert said["bucket"] == "the bucket is away."
        assert web.http.get("/healthz").status_code == 200


def _refuse(_: str) -> bool:
    raise StorageUnavailable("the bucket is away.")


def samples(web: WebService) -> dict[str, float]:
    """Return every sample of the metrics, by its name and labels as they are written."""
    lines = web.http.get("/metrics").text.splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def test_requests_count_under_the_route_as_it_is_declared(web: WebService) -> None:
    job_id = web.submit()
    for _ in range(3):
        web.http.get(f"/jobs/{job_id}")
    web.http.get("/jobs/none")
    for path in ("/no/such", "/no/other"):
        web.http.get(path)
    web.http.request("BREW", "/healthz")
    found = samples(web)

    def count(method: str, route: str, status: int) -> float:
        labels = f'{{method="{method}",route="{route}",status="{status}"}}'
        return found.get(f"kiosk_http_requests_total{labels}", 0)

    assert count("GET", "/jobs/{job_id}", 200) == 3
    assert count("GET", "/jobs/{job_id}", 404) == 1
    assert not [name for name in found if job_id in name or "/no/" in name or "BREW" in name]
    timed = 'kiosk_http_request_seconds_bucket{le="+Inf",method="GET",route="/jobs/{job_id}"}'
    assert found[timed] == 4


def test_queues_and_jobs_are_counted(web: WebService) -> None:
    for _ in range(3):
        web.submit()
    running = web.submit()
    web.claim(running)
    web.finish(web.submit(), result=packed({}))
    found = samples(web)
    assert found['kiosk_jobs{state="waiting"}'] == 3
    assert found['kiosk_jobs{state="running"}'] == 1
    assert found['kiosk_queue_waiting{queue="predict"}'] == 3
    assert found['kiosk_queue_waiting{queue="mesmer"}'] == 0
    assert found['kiosk_queue_in_flight{queue="predict"}'] == 1
    assert found['kiosk_queue_wanted_workers{queue="predict"}'] >= 1
    assert found['kiosk_queue_wanted_workers{queue="mesmer"}'] == 0
    assert found['kiosk_jobs_submitted_total{job_type="predict"}'] == 5
    assert found['kiosk_jobs_ended_total{job_type="predict",status="done"}'] == 1
    assert found["kiosk_broker_up"] == 1
    told = web.http.get("/queues.json").json()
    assert told["queues"]["predict"]["waiting"] == 3
    assert told["queues"]["mesmer"]["wanted_workers"] == 0
    assert told["model_servers_wanted"] == 1


def test_numbers_come_without_a_broker_too(
    web: WebService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise BrokerUnavailable("away")

    monkeypatch.setattr("kiosk_tasks.metrics.source.numbers_of", away)
    found = samples(web)
    assert found["kiosk_broker_up"] == 0
    assert "kiosk_web_open_streams" in found


def test_the_numbers_cost_the_broker_a_few_commands_however_many_jobs_there_are(
    web: WebService, broker: Broker
) -> None:
    def commands() -> int:
        return int(broker.client.info("stats")["total_commands_processed"])

    samples(web)

    def cost() -> int:
        before = commands()
        samples(web)
        return commands() - before

    few = cost()
    for _ in range(50):
        web.submit()
    wait_for(lambda: cost() <= few + 5)
    assert few < 40


def test_answers_that_begin_late_are_seen_in_the_histogram(web: WebService) -> None:
    with httpx.Client(base_url=web.url, trust_env=False) as http:
        http.get("/models")  # nobody answers there for two seconds
    found = samples(web)
    of_models = 'method="GET",route="/models"}'
    assert found[f'kiosk_http_request_seconds_bucket{{le="1.0",{of_models}'] == 0
    assert found[f'kiosk_http_request_seconds_bucket{{le="+Inf",{of_models}'] == 1
