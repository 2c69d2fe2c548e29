"""A real Prometheus that scrapes what a test starts, and the samples it has recorded."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import wait_for
from tests.ports import free_port
from tests.processes import child
from tests.tools import tool

__all__ = ["Prometheus", "get", "prometheus"]

_CONFIG = """
global: {{scrape_interval: {interval}, scrape_timeout: {interval}}}
scrape_configs:
{jobs}
"""
_JOB = "  - {{job_name: {name}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}"


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    port: int

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an expression, now."""
        asked = urllib.parse.urlencode({"query": expression})
        answer = json.loads(get(self.port, f"/api/v1/query?{asked}"))
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def samples(self, selector: str) -> dict[float, float]:
        """Return every sample of the one series that fits, by the time of its scrape."""
        (series,) = self.query(f"{selector}[1h]")
        return {moment: float(value) for moment, value in series["values"]}


@contextmanager
def prometheus(
    folder: Path, targets: Mapping[str, int], *, interval: str = "250ms"
) -> Iterator[Prometheus]:
    """Run a server that scrapes these ports; ready when this yields.

    targets: port by name of the scrape job.
    """
    jobs = "\n".join(_JOB.format(name=name, port=port) for name, port in targets.items())
    config, port = folder / "prometheus.yml", free_port()
    config.write_text(_CONFIG.format(interval=interval, jobs=jobs))
    command = [
        str(tool("prometheus")),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'series'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    log = folder / "prometheus.log"
    with child(command, log=log) as process:
        wait_for(lambda: _ready(port), limit_s=60, what=f"Prometheus is ready, see {log}")
        yield Prometheus(port)
        process.kill()  # it takes seconds to end in order, and nobody reads what it has kept


def get(port: int, path: str, **headers: str) -> str:
    """Return what a server on this machine answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310  # a server of ours
        text: str = answer.read().decode()
    return text


def _ready(port: int) -> bool:
    try:
        return bool(get(port, "/-/ready"))
    except OSError:
        return False
