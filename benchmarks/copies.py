"""What a job costs beyond the model server's own time: `python -m benchmarks.copies`.

Runs `predict` on square images in this process, against the embedded model server with the bundled
nuclear model, and with a model of the same outputs that costs next to nothing. Prints medians:
wall seconds of each stage, CPU seconds of this process (threads included) in the predict stage and
in the whole job, CPU seconds of the model server, and the seconds during which it ran the model
(from its log; runs may overlap). `beyond` is this process' CPU over the model's seconds, `wall` the
job's wall over them. Goals: beyond at most 0.4 at 512 px and 0.3 at 2048 px, wall at most 1.2.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tifffile
from numpy.typing import NDArray

from kiosk_tasks.job import Context, new_job
from kiosk_tasks.jobs.predict import job_type
from kiosk_tasks.run.local import MemoryReporter
from kiosk_tasks.serving.client import TensorFlowServing
from kiosk_tasks.serving.launch import ModelServerProcess
from kiosk_tasks.stages import check_job, run_stages
from kiosk_tasks.storage.memory import MemoryStorage
from tests.built_models import build

GOALS = {512: 0.4, 2048: 0.3}  #: this process' CPU over the model's seconds
WALL_GOAL = 1.2  #: the job's wall over the model's seconds
_SAMPLE = Path(__file__).parents[1] / "samples" / "nuclei_512.tif"
_STAGES = ("download", "preprocess", "predict", "postprocess", "upload")
_RUN = re.compile(r"time=(\S+ \S+) level=INFO event=run .* seconds=([0-9.]+)")


class Timed(MemoryReporter):
    """Takes the CPU seconds of each stage, too."""

    def __init__(self) -> None:
        """Start with no stage."""
        super().__init__()
        self.cpu: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, status: str | None) -> Iterator[None]:
        """Enclose one stage."""
        start = time.process_time()
        with super().stage(name, status):
            yield
        self.cpu[name] = time.process_time() - start


def main() -> int:
    """Measure and print; 1 if the bundled model's goals are missed."""
    parser = argparse.ArgumentParser(description="What a job costs beyond the model.")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each row")
    parser.add_argument("--sides", type=int, nargs="+", default=[512, 2048], help="px")
    parser.add_argument("--models", nargs="+", default=["free", "bundled"])
    parser.add_argument("--server", default="", help="further options of the model server")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, median of {options.runs} runs")
    print(
        f"{'model':<9}{'side':>5}{'model s':>9}{'runs':>5}{'server CPU':>12}{'predict CPU':>13}"
        f"{'job CPU':>9}{'job wall':>10}{'beyond':>8}{'wall':>6}  wall of stages"
    )
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        folders = {"bundled": Path(str(files("kiosk_tasks.serving") / "models"))}
        if "free" in options.models:
            folders["free"] = build("nuclei_model", Path(folder) / "free")
        for model in options.models:
            missed |= _measure(model, folders[model], Path(folder) / f"{model}.log", options)
    return int(missed)


def field(side: int) -> NDArray[Any]:
    """Return a real field of nuclei, mirrored until it is that wide; (side, side)."""
    sample = tifffile.imread(_SAMPLE)
    repeats = -(-side // sample.shape[0])
    return np.pad(sample, [(0, (repeats - 1) * length) for length in sample.shape], "symmetric")[
        :side, :side
    ]


def _measure(model: str, folder: Path, log: Path, options: Any) -> bool:
    missed = False
    with (
        log.open("wb") as file,
        ModelServerProcess([folder], options=options.server.split(), log=file) as server,
    ):
        client = TensorFlowServing(server.target)
        for side in options.sides:
            _run(client, side)
            runs = []
            for _ in range(options.runs):
                seen, before = len(log.read_bytes()), _cpu_of(server.pid)
                numbers = _run(client, side)
                numbers["server CPU"] = _cpu_of(server.pid) - before
                found = _RUN.findall(log.read_bytes()[seen:].decode())
                numbers["model s"] = _busy(found)
                numbers["runs"] = len(found)
                runs.append(numbers)
            row = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
            missed |= _print(model, side, row) and model == "bundled"
        client.close()
    return missed


def _run(client: TensorFlowServing, side: int) -> dict[str, float]:
    """Run one job; return its numbers."""
    storage, report, content = MemoryStorage(), Timed(), io.BytesIO()
    tifffile.imwrite(content, field(side), photometric="minisblack")
    storage.put("uploads/field.tif", content.getvalue())
    job = new_job(job_type, {"input_file_name": "uploads/field.tif", "mpp": 0.65})
    ctx = Context(job, job.params, storage, client, report)
    wall, cpu = time.perf_counter(), time.process_time()
    check_job(job_type.steps, ctx)
    run_stages(job_type.steps, None, ctx)
    numbers = {"job wall": time.perf_counter() - wall, "job CPU": time.process_time() - cpu}
    return (
        numbers
        | {f"{name} wall": report.seconds[name] for name in _STAGES}
        | {f"{name} CPU": report.cpu[name] for name in _STAGES}
    )


def _busy(runs: Sequence[tuple[str, str]]) -> float:
    """Return the seconds during which at least one run was under way, of (end, seconds) each."""
    total, until = 0.0, 0.0
    spans = [(datetime.fromisoformat(end).timestamp(), float(seconds)) for end, seconds in runs]
    for start, end in sorted((end - seconds, end) for end, seconds in spans):
        total += max(end - max(start, until), 0.0)
        until = max(until, end)
    return total


def _cpu_of(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def _print(model: str, side: int, row: Mapping[str, float]) -> bool:
    """Print a row; tell whether a goal is missed."""
    beyond, wall = row["job CPU"] / row["model s"], row["job wall"] / row["model s"]
    stages = ", ".join(f"{name} {row[f'{name} wall']:.3f}" for name in _STAGES)
    print(
        f"{model:<9}{side:>5}{row['model s']:>9.3f}{row['runs']:>5.0f}{row['server CPU']:>12.3f}"
        f"{row['predict CPU']:>13.3f}{row['job CPU']:>9.3f}{row['job wall']:>10.3f}"
        f"{beyond:>8.2f}{wall:>6.2f}  {stages}",
        flush=True,
    )
    return beyond > GOALS.get(side, float("inf")) or wall > WALL_GOAL


if __name__ == "__main__":
    sys.exit(main())
