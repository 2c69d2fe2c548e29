"""The real stack that rows measure: Valkey, the model server, moto's S3 over HTTP, and workers.

Broker and model server are those of the embedded stack. The bucket is a process that speaks S3; a
folder stands beside it for rows that measure no bucket. Workers are started by rows, with the
command of the embedded stack.
"""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen
from uuid import uuid4

import psutil
import redis

from benchmarks.accounting import ModelLog, Processes
from benchmarks.relay import Relay
from kiosk_tasks.settings import Settings
from kiosk_tasks.stack import Part, Stack
from kiosk_tasks.stack.parts import Plan, broker_part, model_server_part
from kiosk_tasks.stack.workers import WORKER_COMMAND
from kiosk_tasks.storage import from_url
from kiosk_tasks.wiring import model_folders
from tests.built_models import built
from tests.s3_server import ENVIRON, s3_server

__all__ = ["FREE", "KEPT_MODELS", "SHIPPED", "Site", "Worker", "bench_stack"]

FREE = {
    "KIOSK_NUCLEAR_MODEL": "DeepCellNuclear",
    "KIOSK_MESMER_MODEL": "DeepCellMultiplex",
    "KIOSK_TRACK_SEGMENT_MODEL": "DeepCellNuclear",
}
"""Nearly free models with the published signatures: `tests/deepcell_models.py`."""
SHIPPED = {"KIOSK_NUCLEAR_MODEL": "NuclearSegmentation"}
"""The model that comes along."""

_ROOT = Path(__file__).resolve().parents[1]
KEPT_MODELS = _ROOT / ".pytest_cache" / "d" / "built-models"
_READY_S, _STOP_S = 120.0, 30.0
_BROKER_URLS = ("KIOSK_BROKER_URL", "KIOSK_LEDGER_URL")


@dataclass(frozen=True)
class Worker:
    """A worker that consumes.

    start_s: from its start until it consumed. relays: of the runs that count bytes, by what is
    behind them.
    """

    process: psutil.Process
    start_s: float
    relays: Mapping[str, Relay] = field(default_factory=dict)

    def passed(self) -> dict[str, float]:
        """Return the bytes so far, both ways."""
        return {name: float(r.sent + r.received) for name, r in self.relays.items()}


@dataclass(frozen=True)
class Site:
    """The parts that all rows share.

    buckets: URLs of "s3" and of "file".
    """

    folder: Path
    buckets: Mapping[str, str]
    broker: redis.Redis
    parts: Mapping[str, psutil.Process]
    server_log: Path
    _numbers: Iterator[int] = field(default_factory=count)

    def put(self, name: str, data: bytes) -> str:
        """Put a file into both buckets; return its key."""
        key = f"uploads/{uuid4().hex}/{name}"
        for url in self.buckets.values():
            from_url(url).put(key, data)
        return key

    def processes(self, worker: Worker | None = None) -> Processes:
        """Return what is accounted for."""
        roles = dict(self.parts)
        return Processes(roles | ({"worker": worker.process} if worker else {}), self.broker)

    def model_log(self) -> ModelLog:
        """Return the model server's log from now on."""
        return ModelLog(self.server_log)

    @contextmanager
    def worker(
        self,
        *queues: str,
        processes: int = 1,
        bucket: str = "s3",
        models: Mapping[str, str] = FREE,
        counted: bool = False,
    ) -> Iterator[Worker]:
        """Run a worker, ready.

        counted: its connections lead through relays that count bytes.
        """
        number = next(self._numbers)
        ready, log = self.folder / f"ready-{number}", self.folder / f"worker-{number}.log"
        env = {**os.environ, **models, "KIOSK_BUCKET": self.buckets[bucket]}
        env |= {"KIOSK_READY_FILE": str(ready), "PYTHONUNBUFFERED": "1"}
        with ExitStack() as stack:
            relays = _relays(env, stack) if counted else {}
            argv = worker_argv(queues, processes, f"bench-{number}@%h")
            output = stack.enter_context(log.open("wb"))
            start = time.perf_counter()
            process = subprocess.Popen(argv, env=env, stdout=output, stderr=output)
            stack.callback(_stop, process)
            _wait_for(ready, process, log)
            start_s = time.perf_counter() - start
            yield Worker(psutil.Process(process.pid), start_s, relays)


def worker_argv(queues: Sequence[str], processes: int, node: str) -> list[str]:
    """Return the command of a worker."""
    what = ["-Q", ",".join(queues), "-c", str(processes), "-n", node]
    return [*WORKER_COMMAND, *what, "--without-gossip", "--without-mingle", "--loglevel", "INFO"]


@contextmanager
def bench_stack() -> Iterator[Site]:
    """Start everything but workers, and make this process a client of it."""
    logging.getLogger("botocore").setLevel(logging.ERROR)
    KEPT_MODELS.mkdir(parents=True, exist_ok=True)
    models = [built("deepcell_models", KEPT_MODELS), *model_folders(Settings.load())]
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="kiosk-bench-")))
        for name in [name for name in os.environ if name.startswith(("KIOSK_", "AWS_"))]:
            del os.environ[name]
        os.environ.update(ENVIRON)
        endpoint = cleanup.enter_context(s3_server(folder / "s3.log"))
        buckets = {"s3": _bucket(endpoint), "file": (folder / "bucket").as_uri()}
        (folder / "bucket").mkdir()
        stack = Stack(
            folder / "home",
            queues=["predict"],
            flower=False,
            models_dirs=models,
            bucket=buckets["s3"],
            parts_of=_without_worker,
        )
        cleanup.enter_context(stack)
        os.environ.update(stack.values, KIOSK_HOME=str(stack.home))
        broker = redis.Redis.from_url(stack.values["KIOSK_BROKER_URL"])
        cleanup.callback(broker.close)
        log = stack.run_folder
        assert log is not None  # noqa: S101  # it runs
        yield Site(folder, buckets, broker, _parts(), log / "model-server.log")


def _bucket(endpoint: str) -> str:
    name = f"bench-{uuid4().hex[:8]}"
    with urlopen(Request(f"{endpoint}/{name}", method="PUT")):  # noqa: S310  # http only
        pass
    return f"s3://{name}/?{urlencode({'endpoint': endpoint})}"


def _without_worker(plan: Plan) -> Sequence[Part]:
    return [broker_part(plan), model_server_part(plan)]


def _parts() -> dict[str, psutil.Process]:
    """Return the processes of the parts by role."""
    known = {"valkey": "broker", "serving.server": "model server", "moto": "bucket"}
    found: dict[str, psutil.Process] = {}
    for process in psutil.Process().children():
        line = " ".join(process.cmdline())
        found |= {role: process for word, role in known.items() if word in line}
    return found


def _relays(env: dict[str, str], stack: ExitStack) -> dict[str, Relay]:
    """Have a worker's connections lead through relays."""

    def relay(port: int | None) -> Relay:
        assert port is not None  # noqa: S101  # all of ours have one
        return stack.enter_context(Relay(port))

    broker = relay(urlsplit(env["KIOSK_BROKER_URL"]).port)
    server = relay(int(env["KIOSK_MODEL_SERVER"].rpartition(":")[2]))
    for name in _BROKER_URLS:
        port = urlsplit(env[name]).port
        env[name] = env[name].replace(f":{port}/", f":{broker.port}/")
    env["KIOSK_MODEL_SERVER"] = f"127.0.0.1:{server.port}"
    relays = {"broker": broker, "model server": server}
    if env["KIOSK_BUCKET"].startswith("s3:"):
        port = int(env["KIOSK_BUCKET"].rpartition("%3A")[2])
        bucket = relay(port)
        env["KIOSK_BUCKET"] = env["KIOSK_BUCKET"].replace(f"%3A{port}", f"%3A{bucket.port}")
        relays["bucket"] = bucket
    return relays


def _wait_for(ready: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _READY_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"the worker does not start: {log.read_text()[-2000:]}")
        time.sleep(0.005)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
