"""Live progress over HTTP: what a client is told, and what many clients cost."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from kiosk_tasks.job import Status
from tests.conftest import Broker, wait_for
from tests.ports import free_port
from tests.processes import child
from tests.web_service import WebService, packed, web_service


@pytest.fixture
def web(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebService]:
    with web_service(broker, tmp_path, monkeypatch) as service:
        yield service


class Stream:
    """A client that follows a job on a thread of its own."""

    def __init__(self, url: str, job_id: str) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.comments = 0
        self.headers: dict[str, str] = {}
        self.error: Exception | None = None
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._follow, args=(f"{url}/jobs/{job_id}/events",))
        self._thread.start()

    def _follow(self, url: str) -> None:
        try:
            with httpx.stream("GET", url, trust_env=False, timeout=30) as answer:
                self.headers = dict(answer.headers)
                self._socket = answer.extensions["network_stream"].get_extra_info("socket")
                event = ""
                for line in answer.iter_lines():
                    name, _, value = line.partition(": ")
                    event = value if name == "event" else event
                    self.comments += line.startswith(":")
                    if name == "data" and event == "job":
                        self.jobs.append(json.loads(value))
        except httpx.HTTPError as exc:
            self.error = exc

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def close(self) -> None:
        """Go away in the middle."""
        if self._socket is not None and not self.ended:
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)


Follow = Callable[[str, str], Stream]


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Return a maker of streams, of a service's URL and a job; they are closed afterwards."""
    with ExitStack() as streams:

        def start(url: str, job_id: str) -> Stream:
            stream = Stream(url, job_id)
            streams.callback(stream.close)
            return stream

        yield start


def open_streams(web: WebService) -> int:
    """Return how many streams the service says are open."""
    line = next(
        one
        for one in web.http.get("/metrics").text.splitlines()
        if one.startswith("kiosk_web_open_streams ")
    )
    return int(float(line.split()[1]))


def test_a_client_is_told_each_change_and_the_end(web: WebService, follow: Follow) -> None:
    job_id = web.submit()
    stream = follow(web.url, job_id)
    wait_for(lambda: stream.jobs)
    assert stream.jobs[0] == web.http.get(f"/jobs/{job_id}").json()
    claim = web.claim(job_id)
    for status, progress in ((Status.PREDICTING, "40"), (Status.SAVING, "90")):
        web.ledger.write(claim, {"status": status, "progress": progress})
        wait_for(lambda p=progress: stream.jobs[-1]["progress"] == int(p))  # type: ignore[misc]
    web.finish(job_id, result=packed({}))
    wait_for(lambda: stream.ended)
    assert stream.error is None
    assert stream.jobs[-1]["status"] == "done"
    assert stream.jobs[-1]["urls"]["result"] == f"/jobs/{job_id}/result"
    assert stream.jobs[-1] == web.http.get(f"/jobs/{job_id}").json() | {
        "output_url": stream.jobs[-1]["output_url"]
    }
    told = [(job["status"], job["progress"]) for job in stream.jobs]
    assert len(told) == len(set(told)), "only changes are told"


def test_no_proxy_holds_the_events_back(web: WebService, follow: Follow) -> None:
    stream = follow(web.url, web.submit())
    wait_for(lambda: stream.jobs)
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["x-accel-buffering"] == "no"
    assert stream.headers["cache-control"] == "no-store"


def test_a_job_that_has_ended_is_told_once_and_a_browser_does_not_come_back(
    web: WebService,
) -> None:
    job_id = web.submit()
    web.finish(job_id, reason="the image is constant.")
    answer = web.http.get(f"/jobs/{job_id}/events")
    assert answer.text.count("event: job") == 1
    assert "the image is constant." in answer.text
    assert "id: ended" in answer.text
    again = web.http.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": "ended"})
    assert again.status_code == 204


def test_an_unknown_job_is_404_and_no_stream(web: WebService) -> None:
    answer = web.http.get(f"/jobs/{'0' * 32}/events")
    assert (answer.status_code, answer.json()["error"]) == (404, "UnknownJob")


def test_a_job_whose_record_goes_ends_the_stream(
    web: WebService, follow: Follow, broker: Broker
) -> None:
    job_id = web.submit()
    stream = follow(web.url, job_id)
    wait_for(lambda: stream.jobs)
    broker.client.delete(f"{broker.prefix}job:{job_id}")
    wait_for(lambda: stream.ended)
    assert stream.error is None


def test_a_heartbeat_comes_while_nothing_changes(
    web: WebService, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kiosk_tasks.web.routes.events._HEARTBEAT_S", 0.05)
    stream = follow(web.url, web.submit())
    wait_for(lambda: stream.comments >= 2)
    assert len(stream.jobs) == 1


def test_many_clients_cost_one_look_at_the_ledger(
    web: WebService, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []
    from kiosk_tasks.web import job_watch

    stamps = job_watch.stamps
    monkeypatch.setattr(
        job_watch, "stamps", lambda ledger, ids: looks.append(len(ids)) or stamps(ledger, ids)
    )
    jobs = [web.submit() for _ in range(5)]
    streams = [follow(web.url, jobs[number % 5]) for number in range(30)]
    wait_for(lambda: all(stream.jobs for stream in streams))
    wait_for(lambda: open_streams(web) == 30)
    looks.clear()
    begun = time.monotonic()
    wait_for(lambda: len(looks) >= 4)
    assert set(looks) == {5}
    assert len(looks) <= (time.monotonic() - begun) / 0.25 + 1
    for job_id in jobs:
        web.finish(job_id, result=packed({}))
    wait_for(lambda: all(stream.ended for stream in streams))
    assert {stream.jobs[-1]["status"] for stream in streams} == {"done"}
    looks.clear()
    wait_for(lambda: open_streams(web) == 0)


def test_clients_that_leave_leave_nothing(web: WebService) -> None:
    job_id = web.submit()
    with ExitStack() as streams:
        for _ in range(10):
            answer = httpx.stream("GET", f"{web.url}/jobs/{job_id}/events", trust_env=False)
            streams.enter_context(answer)
        wait_for(lambda: open_streams(web) == 10)
    wait_for(lambda: open_streams(web) == 0)


def test_streams_go_on_after_the_broker_was_away(
    web: WebService, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kiosk_tasks.errors import BrokerUnavailable
    from kiosk_tasks.web import job_watch

    job_id, stamps, away = web.submit(), job_watch.stamps, threading.Event()
    failed = threading.Event()

    def look(*args: Any) -> Any:
        if away.is_set():
            failed.set()
            raise BrokerUnavailable("the broker does not answer.")
        return stamps(*args)

    monkeypatch.setattr(job_watch, "stamps", look)
    stream = follow(web.url, job_id)
    wait_for(lambda: stream.jobs)
    away.set()
    assert failed.wait(10)
    web.finish(job_id, result=packed({}))
    away.clear()
    wait_for(lambda: stream.ended)
    assert stream.jobs[-1]["status"] == "done"


def test_the_service_stops_at_once_though_clients_follow_jobs(
    web: WebService, follow: Follow, tmp_path: Path
) -> None:
    port = free_port()
    log, url = tmp_path / "log", f"http://127.0.0.1:{port}"
    argv = [sys.executable, "-m", "kiosk_tasks", "web", "--port", str(port)]
    jobs = [web.submit() for _ in range(5)]
    with child(argv, log=log, env=dict(os.environ)) as process:
        wait_for(lambda: answers(url) or process.poll() is not None, limit_s=60)
        assert process.poll() is None, log.read_text()
        streams = [follow(url, job_id) for job_id in jobs]
        wait_for(lambda: all(stream.jobs for stream in streams))
        process.send_signal(signal.SIGTERM)
        process.wait(10)
        wait_for(lambda: all(stream.ended for stream in streams))
    assert [stream.error for stream in streams] == [None] * 5, "streams end in order"
    assert "Traceback" not in log.read_text()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False
