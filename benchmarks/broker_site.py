"""Valkey, and a worker of one process that knows a job that does nothing: `benchmarks.broker`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import redis

from kiosk_tasks.stack import Part, Stack
from kiosk_tasks.stack.parts import Plan, broker_part

__all__ = ["Site", "broker_site"]

_READY_S = 60.0
_PLUGIN = """
from kiosk_tasks.job import ImageParams, JobType

def download(_, ctx):
    key = ctx.job.source.input_file_name
    ctx.report.note(input={"name": "a.tif", "key": key, "bytes": 262144, "sha256": "0" * 64})
    ctx.report.note(image={"axes": "YX", "shape": [512, 512], "dtype": "uint8", "mpp": None})
    return 0

def preprocess(value, ctx):
    ctx.report.note(channel=0)
    return value

def predict(value, ctx):
    ctx.report.note(model={"name": "Nuclei", "version": 1}, models={"nuclei": {"version": 1}})
    ctx.report.progress(1, 1)
    return value

def postprocess(value, ctx):
    ctx.report.note(cells=100, scale=1.0)
    return value

def upload(value, ctx):
    ctx.report.notes()
    return {"output_file_name": f"output/{ctx.job.id}/a.zip", "output_url": "file:///a.zip"}

job_type = JobType(
    name="empty", title="Nothing", queue="empty", params=ImageParams,
    stages=(download, preprocess, predict, postprocess, upload),
)
"""
_PROFILED = """
import cProfile
from celery import signals

profile = cProfile.Profile()

def begin(**_):
    profile.enable()

def end(file):
    def dump(**_):
        profile.disable()
        profile.dump_stats("{folder}/" + file)
    return dump

signals.worker_process_init.connect(begin, weak=False)
signals.worker_process_shutdown.connect(end("child.prof"), weak=False)
signals.worker_ready.connect(begin, weak=False)
signals.worker_shutdown.connect(end("main.prof"), weak=False)
"""


@dataclass(frozen=True)
class Site:
    """The processes that take part."""

    client: redis.Redis
    main: psutil.Process
    child: psutil.Process
    valkey: psutil.Process

    @property
    def processes(self) -> dict[str, psutil.Process]:
        """By the name they are printed under."""
        own = psutil.Process()
        found = {"client": own, "worker, main": self.main, "worker, child": self.child}
        return {**found, "valkey": self.valkey}


@contextmanager
def broker_site(folder: Path, profile: Path | None) -> Iterator[Site]:
    """Start Valkey and a worker that knows the empty job."""
    info = folder / "plugin" / "empty_job-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: empty-job\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[kiosk_tasks.job_types]\nempty = empty_job:job_type\n")
    hook = _PROFILED.format(folder=profile.resolve()) if profile else ""
    (info.parent / "empty_job.py").write_text(_PLUGIN + hook)
    sys.path.insert(0, str(info.parent))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(info.parent), os.environ.get("PYTHONPATH", "")])
    stack = Stack(folder / "home", queues=["empty"], flower=False, parts_of=_only_broker)
    with stack:
        os.environ.update(stack.values, KIOSK_HOME=str(stack.home))
        url = stack.values["KIOSK_BROKER_URL"]
        client = redis.Redis.from_url(url, decode_responses=True)
        server: Any = client.info("server")
        with _worker(folder) as process:
            (child,) = process.children()
            yield Site(client, process, child, psutil.Process(server["process_id"]))


def _only_broker(plan: Plan) -> Sequence[Part]:
    return [broker_part(plan)]


@contextmanager
def _worker(folder: Path) -> Iterator[psutil.Process]:
    ready = folder / "ready"
    command = [sys.executable, "-m", "celery", "-A", "kiosk_tasks", "worker", "-Q", "empty"]
    command += ["-c", "1", "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
    environ = {**os.environ, "KIOSK_READY_FILE": str(ready)}
    settings = ["--", "worker.max_tasks_per_child=100000", "worker.soft_shutdown_timeout=1"]
    log = (folder / "worker.log").open("wb")
    with log, subprocess.Popen([*command, *settings], env=environ, stdout=log, stderr=log) as it:
        try:
            until = time.monotonic() + _READY_S
            while not ready.exists():
                if it.poll() is not None or time.monotonic() > until:
                    raise SystemExit((folder / "worker.log").read_text())
                time.sleep(0.01)
            yield psutil.Process(it.pid)
        finally:
            it.terminate()
