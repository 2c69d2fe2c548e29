"""The broker: what a job costs outside of its stages, and how soon an idle worker picks one up.

`python -m benchmarks.broker` runs jobs of five stages that do nothing but note and report what
those of a 512² image do, through Valkey and a real worker of one process. It prints, per job:
Valkey's commands by process, round trips (reads from its sockets) and bytes; CPU milliseconds of
submission, of the worker's main process, of its child and of Valkey; and the delay from submission
to claim, median and 95th percentile of single jobs for an idle worker.
Goal: an idle worker claims within 10 ms (median). Exit status 1 if it is missed.

`--profile FOLDER` writes cProfile's figures of the worker's processes, `--json FILE` the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import redis

from kiosk_tasks.stack import Part, Stack
from kiosk_tasks.stack.parts import Plan, broker_part

ROUNDS = 5
JOBS = 200
SINGLE = 60
WATCHED = 20
GOAL_PICK_UP_MS = 10.0
READY_S = 60.0
PLUGIN = """
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
PROFILED = """
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, help="folder for cProfile's figures")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    given = parser.parse_args(arguments if arguments is not None else sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder, _site(Path(folder), given.profile) as site:
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        _run(JOBS)  # everybody has connected, and imported what they need
        numbers = {**_costs(site), "commands": _commands(site), "pick-up": _pick_up()}
    _print(numbers)
    if given.json:
        given.json.write_text(json.dumps(numbers, indent=1), "utf-8")
    return int(numbers["pick-up"]["median"] > GOAL_PICK_UP_MS)


def _costs(site: Site) -> dict[str, Any]:
    """Return what a job of many costs, medians of the rounds."""
    rows = []
    for _ in range(ROUNDS):
        before = _now(site)
        seconds = _run(JOBS)
        after = _now(site)
        row = {name: (after[name] - before[name]) / JOBS for name in after}
        rows.append({**row, "wall ms": 1000 * seconds / JOBS})
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def _now(site: Site) -> dict[str, float]:
    stats: dict[str, Any] = site.client.info("stats")
    cpu = {f"{name} ms": 1000 * _cpu_s(process) for name, process in site.processes.items()}
    return {
        **cpu,
        "round trips": stats["total_reads_processed"],
        "bytes in": stats["total_net_input_bytes"],
        "bytes out": stats["total_net_output_bytes"],
    }


def _cpu_s(process: psutil.Process) -> float:
    """Return the process's CPU seconds, to the microsecond where the system tells them."""
    try:
        ticks = Path(f"/proc/{process.pid}/schedstat").read_text().split()
        others = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
        return sum(int(file.read_text().split()[0]) for file in others) / 1e9 if ticks else 0.0
    except FileNotFoundError:
        times = process.cpu_times()
        return float(times.user + times.system)


def _run(count: int) -> float:
    """Submit jobs and wait until all have ended; return the seconds."""
    from kiosk_tasks import service
    from kiosk_tasks.wiring import adapters

    start = time.perf_counter()
    for number in range(count):
        service.submit("empty", {"input_file_name": f"uploads/{number}/a.tif"})
    while adapters().ledger.open_count():
        time.sleep(0.02)
    return time.perf_counter() - start


def _pick_up() -> dict[str, float]:
    """Return ms from the submission of a single job until a worker that has no other claims it."""
    from kiosk_tasks import service

    delays = []
    for number in range(SINGLE):
        time.sleep(0.05 + 0.01 * (number % 7))  # not in step with the worker's own rhythm
        start = time.time()
        job = service.submit("empty", {"input_file_name": "uploads/a.tif"})
        while not (record := service.status(job.id)).status.terminal:
            time.sleep(0.002)
        claimed = datetime.fromisoformat(record.fields["started_at"]).timestamp()
        delays.append(1000 * (claimed - start))
    delays.sort()
    return {"median": statistics.median(delays), "p95": delays[int(0.95 * len(delays))]}


def _commands(site: Site) -> dict[str, float]:
    """Return how often each process sends each command, per job."""
    seen: list[dict[str, Any]] = []
    with site.client.monitor() as monitor:  # type: ignore[no-untyped-call]
        thread = threading.Thread(target=_collect, args=(monitor, seen), daemon=True)
        thread.start()
        _run(WATCHED)
        site.client.echo("the end")
        thread.join()
    names = _names_of_ports(site)
    counts: Counter[str] = Counter()
    for command in seen:
        if command["client_type"] != "lua":
            who = names.get(str(command["client_port"]), "?")
            counts[f"{who}: {command['command'].split()[0].upper()}"] += 1
    return {name: count / WATCHED for name, count in sorted(counts.items())}


def _collect(monitor: Any, seen: list[dict[str, Any]]) -> None:
    for command in monitor.listen():
        if command["command"].endswith("the end"):
            return
        seen.append(command)


def _names_of_ports(site: Site) -> dict[str, str]:
    return {
        str(connection.laddr.port): name
        for name, process in site.processes.items()
        for connection in process.net_connections("tcp")
        if connection.raddr and name != "valkey"
    }


def _print(numbers: dict[str, Any]) -> None:
    print(f"\nper job, medians of {ROUNDS} × {JOBS} jobs that do nothing")
    for name, value in numbers.items():
        if not isinstance(value, dict):
            print(f"  {name:24}{value:10.2f}")
    print(f"\ncommands per job, over {WATCHED} jobs")
    for name, value in numbers["commands"].items():
        print(f"  {name:32}{value:8.2f}")
    pick_up = numbers["pick-up"]
    print(
        f"\nidle worker, submission to claim: median {pick_up['median']:.1f} ms "
        f"(goal {GOAL_PICK_UP_MS:g}), p95 {pick_up['p95']:.1f} ms, {SINGLE} jobs"
    )


@contextmanager
def _site(folder: Path, profile: Path | None) -> Iterator[Site]:
    """Start Valkey and a worker that knows the empty job."""
    info = folder / "plugin" / "empty_job-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: empty-job\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[kiosk_tasks.job_types]\nempty = empty_job:job_type\n")
    hook = PROFILED.format(folder=profile.resolve()) if profile else ""
    (info.parent / "empty_job.py").write_text(PLUGIN + hook)
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
            until = time.monotonic() + READY_S
            while not ready.exists():
                if it.poll() is not None or time.monotonic() > until:
                    raise SystemExit((folder / "worker.log").read_text())
                time.sleep(0.01)
            yield psutil.Process(it.pid)
        finally:
            it.terminate()


if __name__ == "__main__":
    sys.exit(main())
