"""`kiosk up --autoscale` under a burst: workers, jobs that wait and run, second by second.

`python -m benchmarks.autoscale_up` starts a stack with no worker, sends 200 `predict` jobs (pieces
of the real sample, 64 to 512 px) at once, and watches until all are done and no worker is left. It
prints how many workers there were at most, how long the first job took to begin, how long all took,
and how long until the last worker was gone; the worker-seconds beside those of workers that stay;
and the runs that did not end well, of which there must be none. Then it sends single jobs to the
stack that has no worker, and prints how long each waits for one.

Exit status 1 if a job was run twice or not done, or the workers did not go from 0 to N and back.

    --jobs 200  --workers (all cores)  --cold 3  --plot FILE.png
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import tifffile

from kiosk_tasks.ledger import Record
from kiosk_tasks.stack import running

ROOT = Path(__file__).resolve().parents[1]
IMAGE = ROOT / "samples" / "nuclei_512.tif"
SIZES = (64, 96, 128, 192, 256, 384, 512)
SAMPLE_EVERY_S = 0.25
LIMIT_S = 900.0


@dataclass(frozen=True)
class Sample:
    """What there was at one moment; time_s: since the first job was sent."""

    time_s: float
    workers: int
    waiting: int
    in_flight: int


def main() -> int:
    """Measure and print."""
    args = _arguments()
    with tempfile.TemporaryDirectory() as name, _up(Path(name), args.workers) as home:
        from kiosk_tasks import service

        images = _pieces(Path(name) / "pieces", args.jobs)
        loads = [os.getloadavg()[0]]
        with _watching(home) as samples:
            start_s = time.perf_counter()
            jobs = [service.submit_file("predict", image, {}).id for image in images]
            sent_s = time.perf_counter() - start_s
            _until(lambda: all(r.status.terminal for r in _records(jobs)), "all jobs to end")
            drained_s = time.perf_counter() - start_s
            loads.append(os.getloadavg()[0])
            _until(lambda: not _workers(home), "no worker to be left")
        records = _records(jobs)
        _print_burst(records, samples, args.workers, sent_s=sent_s, drained_s=drained_s)
        print(f"load of the machine: {loads[0]:.1f} before, {loads[1]:.1f} when all were done")
        cold = [_cold(home, images[0]) for _ in range(args.cold)]
    if cold:
        each = ", ".join(f"{seconds:.1f}" for seconds in cold)
        print(f"a job that finds no worker begins after {statistics.median(cold):.1f} s ({each})")
    if args.plot:
        _plot(samples, args.plot, args.workers)
    peak = max(sample.workers for sample in samples)
    well = all(r.status == "done" for r in records) and not _runs_again(records)
    return int(not well or peak < min(2, args.workers) or samples[-1].workers > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscale_up")
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cold", type=int, default=3)
    parser.add_argument("--plot", type=Path)
    return parser.parse_args()


@contextmanager
def _up(folder: Path, workers: int) -> Iterator[Path]:
    """Run the stack; this process is told where it is."""
    home = folder / "home"
    os.environ["KIOSK_HOME"] = str(home)
    command = [sys.executable, "-m", "kiosk_tasks", "up", "--autoscale", "--no-flower"]
    with subprocess.Popen([*command, "--port", "0", "--workers", str(workers)]) as process:
        try:
            while not running(home):
                if process.poll() is not None:
                    raise SystemExit(f"kiosk up ended with code {process.returncode}")
                time.sleep(0.05)
            yield home
        finally:
            process.terminate()


def _pieces(folder: Path, count: int) -> list[Path]:
    """Cut pieces of the sample, of sizes and at places by chance; the same each time."""
    folder.mkdir()
    image, rng = tifffile.imread(IMAGE), np.random.default_rng(20261123)
    paths = []
    for number in range(count):
        size = int(rng.choice(SIZES))
        y, x = rng.integers(0, 512 - size + 1, 2)
        paths.append(folder / f"piece{number}.tif")
        tifffile.imwrite(paths[-1], image[y : y + size, x : x + size])
    return paths


def _workers(home: Path) -> list[psutil.Process]:
    """Return the leaders of the workers that run, also of those that start or end."""
    values = running(home)
    if values is None:
        raise SystemExit("the stack has ended")
    found = []
    for child in psutil.Process(int(values["KIOSK_STACK_PID"])).children():
        with suppress(psutil.Error):  # it has just ended
            if {"kiosk_tasks.run", "worker"} <= set(child.cmdline()):
                found.append(child)
    return found


@contextmanager
def _watching(home: Path) -> Iterator[list[Sample]]:
    """Take samples until the body is over."""
    from kiosk_tasks.queues import numbers_of
    from kiosk_tasks.settings import Settings
    from kiosk_tasks.wiring import make_ledger

    samples: list[Sample] = []
    ledger, over, start_s = make_ledger(Settings.load()), threading.Event(), time.perf_counter()

    def watch() -> None:
        ended = False
        while not ended:
            ended = over.wait(SAMPLE_EVERY_S)  # once more after the end
            (queue,) = numbers_of(ledger, ["predict"]).queues
            workers = len(_workers(home))
            now_s = time.perf_counter() - start_s
            samples.append(Sample(now_s, workers, queue.waiting, queue.in_flight))

    thread = threading.Thread(target=watch, name="watch")
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def _records(jobs: Sequence[str]) -> list[Record]:
    from kiosk_tasks.wiring import adapters

    return adapters().ledger.records(list(jobs))


def _runs_again(records: Sequence[Record]) -> int:
    """Count runs that did not end well: each left a job that had to be run or sent again."""
    again = (int(record.fields.get("sent_again", 0)) for record in records)
    return sum(again) + sum(record.attempts - 1 + record.retries for record in records)


def _print_burst(
    records: Sequence[Record],
    samples: Sequence[Sample],
    most: int,
    *,
    sent_s: float,
    drained_s: float,
) -> None:
    zero_s = samples[-1].time_s
    used_s = sum((b.time_s - a.time_s) * b.workers for a, b in pairwise(samples))
    done = sum(record.status == "done" for record in records)
    waits = sorted(map(_waited_s, records))
    print(f"{len(records)} jobs sent within {sent_s:.1f} s, {done} done after {drained_s:.1f} s")
    print(f"workers: 0 → {max(s.workers for s in samples)} → {samples[-1].workers}, at most {most}")
    first_s = next((s.time_s for s in samples if s.workers), float("nan"))
    print(f"first worker started after {first_s:.1f} s")
    print(f"first job begun after {waits[0]:.1f} s, half after {waits[len(waits) // 2]:.1f} s")
    print(f"last worker gone {zero_s - drained_s:.1f} s after the last job, {zero_s:.1f} s in all")
    print(
        f"worker-seconds: {used_s:.0f}; {most} that stay would have been {most * zero_s:.0f} "
        f"in that time, and {most} more in each second after it"
    )
    print(f"runs that were ended, put back or sent again: {_runs_again(records)}")


def _waited_s(record: Record) -> float:
    created, started = (record.fields[f"{what}_at"] for what in ("created", "started"))
    return (datetime.fromisoformat(started) - datetime.fromisoformat(created)).total_seconds()


def _cold(home: Path, image: Path) -> float:
    """Send one job to a stack without workers; return for how long it waited for its run."""
    from kiosk_tasks import service

    _until(lambda: not _workers(home), "no worker to be left")
    job = service.submit_file("predict", image, {}).id
    _until(lambda: _records([job])[0].status.terminal, "the job to end")
    return _waited_s(_records([job])[0])


def _until(question: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not question():
        if time.monotonic() > end:
            raise SystemExit(f"waited {LIMIT_S:.0f} s in vain for {what}")
        time.sleep(0.2)


def _plot(samples: Sequence[Sample], path: Path, most: int) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    times = [sample.time_s for sample in samples]
    figure, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(7, 4), dpi=120)
    above.fill_between(times, [s.waiting for s in samples], color="#c9d6e2", label="wait")
    above.plot(times, [s.in_flight for s in samples], color="#1f4e79", label="run")
    above.set_ylabel("jobs")
    above.legend(frameon=False)
    below.step(times, [s.workers for s in samples], color="#1f4e79", where="post")
    below.set_ylabel("workers")
    below.set_yticks(range(most + 1))
    below.set_xlabel("seconds since the first job was sent")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
