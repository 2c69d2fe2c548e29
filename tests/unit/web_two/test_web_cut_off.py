"""Requests that are answered before they are over, and those that the service gives up."""

from __future__ import annotations

import asyncio
import socket
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from kiosk_tasks.ledger import Owner
from kiosk_tasks.settings import Settings
from kiosk_tasks.web.app import create_app
from kiosk_tasks.web.routes import jobs
from kiosk_tasks.web.server import PatientProtocol
from kiosk_tasks.web.submission import Submission
from kiosk_tasks.web.uploads import Form
from tests.fakes import fake_adapters
from tests.served import served

BODY = b"x" * 900_000
HEAD = (
    b"POST /jobs/none HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; "
    b"boundary=b\r\nContent-Length: 900000\r\n\r\n"
)


class Impatient(PatientProtocol):
    """Reads less than two bodies in vain."""

    most_in_vain = 1_000_000


def test_a_connection_may_be_refused_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIOSK_BUCKET", "memory://x")
    app = create_app(Settings.load(), outside=fake_adapters())
    with served(app, http=Impatient) as url:
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            for _ in range(5):
                connection.sendall(HEAD)
                answer = b""
                while not answer.endswith(b"}"):
                    answer += connection.recv(65_536) or b"}"
                assert answer.startswith(b"HTTP/1.1 404")
                connection.sendall(BODY)


def test_who_is_turned_away_reads_why_though_the_connection_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KIOSK_BUCKET", "memory://x")
    monkeypatch.setattr("kiosk_tasks.web.turnstile._MOST", 0)
    app = create_app(Settings.load(), outside=fake_adapters())
    head = HEAD.replace(b"/none", b"/predict").replace(
        b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"
    )
    with served(app, http=Impatient) as url:
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            connection.sendall(head)
            for start in range(0, len(BODY), 1000):
                connection.sendall(BODY[start : start + 1000])
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 503")
    assert answer.endswith(b"}")


def test_a_job_that_is_recorded_while_the_service_stops_keeps_its_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recording, go_on = threading.Event(), threading.Event()
    removed: list[str] = []

    def submit_for(*_: Any) -> Any:
        recording.set()
        go_on.wait(20)

    async def receive(*_: Any, **__: Any) -> Form:
        return Form({}, "uploads/1/a.tif", "a.tif")

    async def remove(key: str) -> None:
        removed.append(key)

    async def stop() -> None:
        uploads = SimpleNamespace(receive=receive, remove=remove)
        site: Any = SimpleNamespace(uploads=uploads, submitting=None)
        submission = Submission(fake_adapters().ledger, "", "")
        upload = jobs._upload("predict", SimpleNamespace(), site, submission, Owner())  # type: ignore[arg-type]
        task = asyncio.create_task(upload)
        await asyncio.to_thread(recording.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()

    monkeypatch.setattr("kiosk_tasks.service.submit_for", submit_for)
    asyncio.run(stop())
    assert recording.is_set()
    assert removed == []
