"""What an image's tree weighs, and how its worker starts: seconds, and memory of each process.

The goals are the worker's. The old Kiosk's consumer took 845 MB a process, and 15.6 s to the end of
its first job.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from images.plan import ROOT
from images.tree import Tree

__all__ = ["GOALS", "Memory", "memory_of", "processes_of", "report"]

IMAGE = ROOT / "samples" / "nuclei_512.tif"
STARTS = 5
PROCESSES = 2


@dataclass(frozen=True)
class Goals:
    """What the worker's tree must keep to: MB are 10⁶ bytes."""

    tree_mb: float = 450.0
    ready_s: float = 3.5
    parent_mb: float = 130.0
    child_mb: float = 110.0


GOALS = Goals()


@dataclass(frozen=True)
class Memory:
    """Of one process: resident, and its share of what it has in common with others; MB."""

    rss_mb: float
    pss_mb: float

    def __str__(self) -> str:
        return f"{self.rss_mb:7.1f} MB resident, {self.pss_mb:5.1f} MB proportional"


def report(trees: Sequence[Tree]) -> int:
    """Print each tree's size, and how the worker of its tree does; 1 if a goal is missed."""
    missed = False
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    for tree in trees:
        size_mb = tree.size_bytes / 1e6
        print(f"{tree.image:12} {size_mb:8.1f} MB")
        if tree.image == "worker":
            missed = _report_worker(tree) or size_mb > GOALS.tree_mb
        if tree.image == "modelserver":
            _report_model_server(tree)
    return int(missed)


def _report_worker(tree: Tree) -> bool:
    """Start the worker a few times; tell whether a goal is missed."""
    with tempfile.TemporaryDirectory() as folder, _stack(Path(folder) / "stack") as values:
        starts = [_start_to_ready(tree, Path(folder), values) for _ in range(STARTS)]
        job_s = _start_to_first_job(tree, Path(folder), values)
    ready_s = statistics.median(seconds for seconds, _ in starts)
    parent, *children = starts[-1][1]
    print(f"  start to ready   {ready_s:6.2f} s, median of {STARTS}, goal {GOALS.ready_s}")
    print(f"  parent          {parent}, goal {GOALS.parent_mb:.0f}")
    for child in children:
        print(f"  idle child      {child}, goal {GOALS.child_mb:.0f}")
    print(f"  start to the end of the first job {job_s:6.2f} s")
    largest = max(child.rss_mb for child in children)
    return ready_s > GOALS.ready_s or parent.rss_mb > GOALS.parent_mb or largest > GOALS.child_mb


def _report_model_server(tree: Tree) -> None:
    """Start the model server, until Docker would call it healthy."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        home, start = Path(folder), time.perf_counter()
        check = [word.replace("8500", port) for word in tree.health_check(home)]
        argv = [word.replace("8500", port) for word in tree.command(home)]
        env = tree.environment(home)
        with subprocess.Popen(argv, env=env, stderr=(home / "log").open("wb")) as process:
            while subprocess.run(check, env=env, capture_output=True, check=False).returncode:
                _still_there(process, home)
            seconds, memory = time.perf_counter() - start, memory_of(process.pid)
            process.terminate()
    print(f"  start to healthy {seconds:6.2f} s")
    print(f"  its process     {memory}")


@contextmanager
def _stack(home: Path) -> Iterator[dict[str, str]]:
    """A real broker and the embedded model server, from this environment; yield the settings."""
    from kiosk_tasks.settings import Settings
    from kiosk_tasks.stack import Stack
    from kiosk_tasks.stack.parts import broker_part, model_server_part
    from kiosk_tasks.wiring import model_folders

    stack = Stack(
        home,
        queues=["predict"],
        flower=False,
        models_dirs=model_folders(Settings.load()),
        parts_of=lambda plan: [broker_part(plan), model_server_part(plan)],
    )
    with stack:
        os.environ.update(stack.values, KIOSK_HOME=str(stack.home))
        yield dict(stack.values)


@contextmanager
def _worker(tree: Tree, folder: Path, values: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run the image's command, with two processes, in an environment of nothing else."""
    home = Path(tempfile.mkdtemp(dir=folder))
    env = {**tree.environment(home), **values, "KIOSK_READY_FILE": str(folder / "ready")}
    (folder / "ready").unlink(missing_ok=True)
    argv = [*tree.command(home), "-c", str(PROCESSES), "--loglevel", "WARNING"]
    argv += ["--", "worker.soft_shutdown_timeout=1"]  # else it waits 20 s, idle or not
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(argv, env=env, cwd=tree.folder, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _start_to_ready(tree: Tree, folder: Path, values: dict[str, str]) -> tuple[float, list[Memory]]:
    start = time.perf_counter()
    with _worker(tree, folder, values) as process:
        while not (folder / "ready").exists():
            _still_there(process, folder)
        seconds = time.perf_counter() - start
        return seconds, processes_of(process.pid)


def _start_to_first_job(tree: Tree, folder: Path, values: dict[str, str]) -> float:
    from kiosk_tasks import service

    job = service.submit_file("predict", IMAGE, {})
    start = time.perf_counter()
    with _worker(tree, folder, values):
        (record,) = [r for r in service.watch([job.id]) if r is not None and r.status.terminal]
        seconds = time.perf_counter() - start
    if record.status != "done":
        raise SystemExit(f"the job {record.status}: {record.fields.get('reason')}")
    return seconds


def _still_there(process: subprocess.Popen[bytes], folder: Path) -> None:
    if process.poll() is not None:
        raise SystemExit(f"the worker ended: {(folder / 'log').read_text()}")
    time.sleep(0.005)


def processes_of(pid: int) -> list[Memory]:
    """Return the memory of a worker's parent and of its children, once it does not change."""
    parent = psutil.Process(pid)
    before: list[float] = []
    while True:
        family = [parent, *parent.children()]
        now = [memory_of(one.pid) for one in family]
        if len(family) > PROCESSES and before == [one.rss_mb for one in now]:
            return now
        before = [one.rss_mb for one in now]
        time.sleep(0.5)


def memory_of(pid: int) -> Memory:
    """Return a process's memory."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    kb = {line.split()[0]: int(line.split()[1]) for line in lines[1:]}
    return Memory(kb["Rss:"] * 1024 / 1e6, kb["Pss:"] * 1024 / 1e6)
