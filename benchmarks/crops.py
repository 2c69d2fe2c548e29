"""Many small images: crops as one zip through the queue, with one worker process.

`python -m benchmarks.crops` zips 2,000 drawn crops of 64 × 64 px, and sends them as one archive
through a real Valkey to a worker of one process, with the embedded model server, a nearly free
model (`tests.nuclei_model`: TensorFlow builds it once) and a bucket in a folder. Five times, after
one run that warms up. It prints images per second from submission to the end (medians), the CPU of
each process per image, and the worker child's greatest memory. Goal: 150 images/s; while other work
loads the machine, at most 5 ms of CPU of the worker's child per image. Exit status 1 below 150/s.

`--count`, `--side`, `--runs` change the work, `--shipped` takes the shipped model in place of the
free one. `--batches` prints images/s by the limits of requests instead: see
docs/decisions/0020-many-small-images.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import tifffile

from kiosk_tasks import service
from kiosk_tasks.ledger import Record
from kiosk_tasks.settings import Settings
from kiosk_tasks.stack import Stack
from kiosk_tasks.storage import from_url
from kiosk_tasks.wiring import model_folders
from tests.built_models import build
from tests.synthetic import draw_nuclei

COUNT, SIDE, RUNS = 2000, 64, 5
GOAL_PER_S = 150.0
GOAL_CPU_MS = 5.0
DRAWN = 100
LIMITS = (1, 8, 32)
KEPT = Path(tempfile.gettempdir()) / "kiosk-benchmark-models"


@dataclass(frozen=True)
class Run:
    """One archive: seconds, CPU seconds by process, and what its record says."""

    seconds: float
    cpu_s: Mapping[str, float]
    child_mb: float
    record: Record


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--side", type=int, default=SIDE)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument(
        "--shipped", action="store_true", help="the shipped model, not the free one"
    )
    parser.add_argument("--batches", action="store_true", help="by the limits of requests")
    parser.add_argument("--line", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folders = model_folders(Settings.load()) if arguments.shipped else [free_models()]
    if arguments.batches:
        return _by_limits(arguments)
    runs = measure(folders, count=arguments.count, side=arguments.side, runs=arguments.runs)
    if arguments.line:
        print(_line(runs, arguments.count))
        return 0
    return _tell(runs, arguments.count)


def free_models() -> Path:
    """Return the folder of the nearly free model, built if it was not yet."""
    if not (KEPT / "nuclei_model").is_dir():
        build("nuclei_model", KEPT / "nuclei_model")
    return KEPT / "nuclei_model"


def measure(models: list[Path], *, count: int, side: int, runs: int) -> list[Run]:
    """Run the stack, and send an archive of crops as often, after one that is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(
            Path(folder) / "home",
            queues=["predict"],
            concurrency=1,
            flower=False,
            models_dirs=models,
        )
        with stack:
            os.environ.update(stack.values, KIOSK_HOME=str(stack.home))
            data = zipped(count, side)
            _run(data)
            return [_run(data) for _ in range(runs)]


def zipped(count: int, side: int) -> bytes:
    """Return a zip of so many drawn crops; a hundred different ones, over and over."""
    crops = [_crop(side, seed) for seed in range(DRAWN)]
    target = BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(count):
            archive.writestr(f"plate/crop_{number:05d}.tif", crops[number % DRAWN])
    return target.getvalue()


def _crop(side: int, seed: int) -> bytes:
    file = BytesIO()
    image, _ = draw_nuclei((side, side), count=max(3, side * side // 1000), seed=seed)
    tifffile.imwrite(file, np.asarray(image))
    return file.getvalue()


def _run(data: bytes) -> Run:
    key = "uploads/crops.zip"
    from_url(os.environ["KIOSK_BUCKET"]).put(key, data)
    before, start = _cpu_s(), time.perf_counter()
    fields = {"input_file_name": key, "original_name": "crops.zip"}
    job = service.submit("predict", fields)
    record = _ended(job.id)
    seconds = time.perf_counter() - start
    after = _cpu_s()
    child = _processes()["worker child"]
    return Run(
        seconds,
        {name: after[name] - before.get(name, 0.0) for name in after},
        child.memory_info().rss / 1e6,
        record,
    )


def _ended(job_id: str) -> Record:
    for record in service.watch([job_id]):
        if record is not None and record.status.terminal:
            return record
    raise RuntimeError(f"job {job_id} is gone")


def _processes() -> dict[str, psutil.Process]:
    found = {}
    for part in psutil.Process().children():
        line = " ".join(part.cmdline())
        if " worker" in line:
            found["worker parent"] = part
            found["worker child"] = part.children()[0]
        elif "valkey" in line:
            found["broker"] = part
        elif "serving" in line:
            found["model server"] = part
    return found


def _cpu_s() -> dict[str, float]:
    return {name: sum(p.cpu_times()[:2]) for name, p in _processes().items()}


def _tell(runs: list[Run], count: int) -> int:
    per_s = statistics.median(count / run.seconds for run in runs)
    notes = runs[-1].record.notes()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {len(runs)} runs")
    print(f"{count} images, {notes['failed']} failed, {notes.get('cells')} cells")
    print(f"{per_s:7.1f} images/s (goal {GOAL_PER_S:g})")
    for name in runs[0].cpu_s:
        each = statistics.median(1000 * run.cpu_s[name] / count for run in runs)
        goal = f" (goal {GOAL_CPU_MS:g})" if name == "worker child" else ""
        print(f"{each:7.2f} ms CPU per image: {name}{goal}")
    print(f"{max(run.child_mb for run in runs):7.0f} MB resident, the worker's child")
    stages = {f: v for f, v in runs[-1].record.fields.items() if f.endswith("_time")}
    print(json.dumps({name: value[:40] for name, value in sorted(stages.items())}))
    return int(per_s < GOAL_PER_S)


def _by_limits(arguments: argparse.Namespace) -> int:
    """Run this module for each limit, in a process of its own: a stack's settings are read once."""
    print(f"{os.cpu_count()} cores; images/s, and ms of CPU per image of child and server")
    for limit in LIMITS:
        environ = {
            **os.environ,
            "KIOSK_MAX_BATCH": str(min(limit, 8)),
            "KIOSK_MAX_ITEMS": str(limit),
        }
        options = ["--count", str(arguments.count), "--side", str(arguments.side)]
        options += ["--runs", str(arguments.runs), "--line"]
        command = [sys.executable, "-m", "benchmarks.crops", *options]
        done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
        print(f"{limit:4} {done.stdout.splitlines()[-1]}", flush=True)
    return 0


def _line(runs: list[Run], count: int) -> str:
    per_s = statistics.median(count / run.seconds for run in runs)
    cpu = {
        name: statistics.median(1000 * run.cpu_s[name] / count for run in runs)
        for name in ("worker child", "model server")
    }
    return f"{per_s:7.1f} " + " ".join(f"{ms:6.2f}" for ms in cpu.values())


if __name__ == "__main__":
    sys.exit(main())
