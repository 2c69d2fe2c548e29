"""`kiosk web` as a process on a broker of the test's own: no worker, so jobs stay new."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.conftest import Broker, wait_for
from tests.processes import child

__all__ = ["WebProcess", "web_process"]


@dataclass(frozen=True)
class WebProcess:
    """A running `kiosk web`."""

    url: str
    pid: int
    bucket: Path
    log: Path

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def client(self, token: str | None = None) -> httpx.Client:
        """Return a client, logged in with a token."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, trust_env=False)

    def objects(self) -> list[str]:
        """Every file in the bucket, part files included."""
        files = (path for path in self.bucket.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self.bucket)) for path in files)

    def memory(self) -> int:
        """What the process holds, bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)


@contextmanager
def web_process(
    broker: Broker, folder: Path, *, port: int = 0, **settings: str
) -> Iterator[WebProcess]:
    """Run it with settings, named without `KIOSK_`; on a free port, if none is given."""
    folder.mkdir(parents=True, exist_ok=True)
    log, bucket = folder / "web.log", folder / "bucket"
    said_before = log.stat().st_size if log.exists() else 0  # by one that ran here before
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KIOSK_")}
    given = {
        "HOME": str(folder / "home"),
        "BROKER_URL": broker.url,
        "KEY_PREFIX": broker.prefix,
        "BUCKET": bucket.as_uri(),
        **settings,
    }
    env = {**clean, **{f"KIOSK_{name}": value for name, value in given.items()}}
    argv = [sys.executable, "-m", "kiosk_tasks", "web", "--port", str(port)]
    with child(argv, log=log, env=env) as process:

        def url() -> str:
            assert process.poll() is None, log.read_text()
            found = re.search(rb"serving url=(\S+)", log.read_bytes()[said_before:])
            return found[1].decode() if found else ""

        yield WebProcess(wait_for(url, limit_s=60), process.pid, bucket, log)
