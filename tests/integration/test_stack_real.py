"""The complete stack, with the programs that `kiosk up` runs."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import psutil
import pytest

from kiosk_tasks.stack import Stack, State


def get(url: str, *, login: str | None = None) -> bytes:
    headers = {}
    if login:
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        return bytes(answer.read())


def test_every_part_answers_and_none_is_left(tmp_path: Path) -> None:
    events: list[tuple[str, State]] = []
    before = set(psutil.Process().children(recursive=True))
    with Stack(
        tmp_path,
        queues=["predict"],
        concurrency=1,
        on_event=lambda part, state: events.append((part, state)),
    ) as stack:
        family = set(psutil.Process().children(recursive=True)) - before
        with grpc.insecure_channel(stack.values["KIOSK_MODEL_SERVER"]) as channel:
            grpc.channel_ready_future(channel).result(timeout=10)

        flower = urlsplit(stack.values["KIOSK_FLOWER_URL"])
        root = f"http://{flower.hostname}:{flower.port}"
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            get(f"{root}/api/workers")
        refused.value.close()
        login = f"{flower.username}:{flower.password}"
        workers = json.loads(get(f"{root}/api/workers?refresh=1", login=login))
        ((name, worker),) = workers.items()
        assert name.startswith("kiosk@")
        assert [queue["name"] for queue in worker["active_queues"]] == ["predict"]
        stack.check()
    told = [part for part, state in events if state is State.STOPPED]
    assert set(told) == {"flower", "reaper", "worker", "model server", "broker"}
    assert told[-1] == "broker"
    assert events.index(("worker", State.STARTING)) < events.index(("model server", State.READY))
    assert not any(process.is_running() for process in family)
    (run,) = (tmp_path / "run").iterdir()
    assert "Traceback" not in (run / "worker.log").read_text()
