"""The Python client and a real `kiosk web`: tokens, limits, keys, events. No worker runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from kiosk_tasks.client import AsyncClient, Client, JobCancelled, Refused, TooManyJobs, Unauthorized
from kiosk_tasks.client.wire import Upload
from kiosk_tasks.napari.sending import Place, Sending
from kiosk_tasks.napari.work import run_job
from tests.conftest import place_on, wait_for
from tests.web_process import WebProcess, web_process

SETTINGS = {
    "API_TOKENS": "ann:token-of-ann,ben:token-of-ben,cat:token-of-cat",
    "WEB_RATE": "0",
    "WEB_OPEN_JOBS": "3",
    "MAX_FILE_BYTES": "20000",
}
PIXELS = (np.arange(900).reshape(30, 30) % 251).astype(np.uint8)


@pytest.fixture(scope="module")
def web(valkey: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    folder = tmp_path_factory.mktemp("web")
    with place_on(valkey) as broker, web_process(broker, folder, **SETTINGS) as process:
        yield process


def test_who_may_come_in(web: WebProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    for token, user in ((None, None), ("token-of-anne", None), ("token-of-ann", "ben")):
        with (
            Client(web.url, token, user) as client,
            pytest.raises(Unauthorized, match="set KIOSK_TOKEN") as refused,
        ):
            client.jobs()
        assert "token-of" not in str(refused.value)
    with Client(web.url, "token-of-ann", "ann") as client:
        assert "predict" in client.job_types()
    monkeypatch.setenv("KIOSK_TOKEN", "token-of-ann")
    with Client(web.url) as client:
        assert client.jobs() == []
        assert client.segment(PIXELS).state.user == "ann"


def test_limits_are_told_in_the_servers_words(web: WebProcess, rng: np.random.Generator) -> None:
    noise = rng.integers(0, 255, (200, 200)).astype(np.uint8)
    with Client(web.url, "token-of-ben", retries=0) as client:
        with pytest.raises(Refused, match="bytes") as large:
            client.segment(noise)
        assert large.value.status == 413
        jobs = [client.segment(PIXELS) for _ in range(3)]
        with pytest.raises(TooManyJobs):
            client.segment(PIXELS)
        assert jobs[0].cancel()
        assert client.segment(PIXELS).status == "new"
        assert {job.id for job in jobs} <= {job.id for job in client.jobs()}


def test_a_busy_server_is_asked_again_until_it_has_room(web: WebProcess) -> None:
    answers: list[int] = []

    def note(response: httpx.Response) -> None:
        answers.append(response.status_code)

    with Client(web.url, "token-of-cat", event_hooks={"response": [note]}) as client:
        jobs = [client.segment(PIXELS) for _ in range(3)]
        made: list[Any] = []
        waiting = threading.Thread(target=lambda: made.append(client.segment(PIXELS)))
        waiting.start()
        wait_for(lambda: 429 in answers, what="there is no room")
        assert not made
        jobs[0].cancel()
        waiting.join(timeout=30)
        assert [job.status for job in made] == ["new"]
        for job in (*jobs, *made):
            job.cancel()


def test_one_key_is_one_job(web: WebProcess) -> None:
    with Client(web.url, "token-of-cat") as client:
        upload = Upload("x.tif", b"II*\0pixels")
        ids = {
            client._transport.run(client._calls.submit("predict", upload, {}, key="k1")).id
            for _ in range(3)
        }
        (job_id,) = ids
        assert client.job(job_id).cancel()


def test_the_end_is_told_by_an_event_and_not_asked_for(web: WebProcess) -> None:
    asked: list[str] = []

    def note(request: httpx.Request) -> None:
        asked.append(f"{request.method} {request.url.path}")

    with (
        Client(web.url, "token-of-cat", event_hooks={"request": [note]}) as client,
        Client(web.url, "token-of-cat") as other,
    ):
        job = client.segment(PIXELS)
        del asked[:]
        waiting = threading.Thread(target=job.wait, kwargs={"progress": False})
        waiting.start()
        wait_for(lambda: asked, what="the client listens")
        other.job(job.id).cancel()
        waiting.join(timeout=20)
        assert job.status == "cancelled"
        assert asked == [f"GET /jobs/{job.id}/events"]


def test_a_viewer_that_is_closed_need_not_wait_for_the_job(
    web: WebProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kiosk_tasks.napari.work._SILENCE_S", 0.2)
    place = Place("YX", PIXELS.shape, (1.0, 1.0), (0.0, 0.0))
    jobs: list[Any] = []
    image = Sending("x", (PIXELS,), "YX", place)
    run = run_job(partial(Client, web.url, "token-of-cat"), "predict", image, {}, jobs.append)
    assert [next(run).status for _ in range(3)] == ["new"] * 3  # napari ends a thread at a yield
    run.close()
    with Client(web.url, "token-of-cat") as client:
        assert client.job(jobs[0].id).status == "new"
        assert client.job(jobs[0].id).cancel()


def test_a_wait_outlives_a_service_that_is_started_anew(valkey: str, tmp_path: Path) -> None:
    with place_on(valkey) as broker, ExitStack() as clients:
        with web_process(broker, tmp_path / "web", **SETTINGS) as web:
            client = clients.enter_context(Client(web.url, "token-of-ann"))
            job = client.segment(PIXELS)
            listening = threading.Event()
            waiting = threading.Thread(
                target=job.wait, args=(60, lambda _: listening.set()), daemon=True
            )
            waiting.start()
            assert listening.wait(20)
            psutil.Process(web.pid).kill()
        assert waiting.is_alive()
        with (
            web_process(broker, tmp_path / "web", port=web.port, **SETTINGS) as again,
            Client(again.url, "token-of-ann") as other,
        ):
            assert other.job(job.id).cancel()
            waiting.join(timeout=40)
    assert job.status == "cancelled"


def test_the_same_on_an_event_loop(web: WebProcess) -> None:
    async def go() -> list[str]:
        async with AsyncClient(web.url, "token-of-cat") as client:
            job = await client.submit("segmentation", PIXELS, name="mine.tif")
            found = [job.name, (await job.refresh()).status]
            assert job.id in [one.id for one in await client.jobs(limit=1)]
            async for state in job.watch():
                found.append(state.status)
                assert await (await client.job(job.id)).cancel()
            again = await job.retry()
            assert again.id != job.id
            assert await again.cancel()
            with pytest.raises(JobCancelled):
                await again.result()
            return [*found, job.status, *sorted(await client.job_types())[:1]]

    assert asyncio.run(go()) == ["mine.tif", "new", "new", "cancelled", "cancelled", "mesmer"]
