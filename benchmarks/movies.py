"""Tracking movies: memory of the worker, time of each frame, and how small a small movie is.

`python -m benchmarks.movies` tracks a simulated movie of 600 frames of 512², end to end through
broker, two workers (one for the queue `track`, one of two processes for `predict`) and the bundled
model behind its gRPC server. It prints the memory of the worker that tracks, parent and child, and
seconds per frame in the first and in the last quarter of the movie, and draws
`docs/images/track_600_frames.png`. Seconds per frame are those of the CPU, as other programs may
run beside: of the process that tracks, and for segmenting of model server and workers together.
`--small` finds instead up to how many frames of 512² a job is done sooner without child jobs.
Goals: child under 600 MB; the last quarter of a movie takes at most 1.3 times the time of the
first. Exit status 1 if one is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks.track_log import Measured, ends, install_plugins, read_log
from kiosk_tasks.settings import Settings
from kiosk_tasks.stack import Part, Stack
from kiosk_tasks.stack.parts import Plan, broker_part, model_server_part
from kiosk_tasks.wiring import model_folders

ROOT = Path(__file__).resolve().parents[1]
FIGURE = ROOT / "docs" / "images" / "track_600_frames.png"
FRAMES, SIDE = 600, 512
SMALL = (8, 16, 32)  # frames
REPEATS = 2
GOAL_MB = 600.0
GOAL_RATIO = 1.3
SEED = 600
PERIOD = 60  # frames after which the movie turns back
BIN = 16  # frames that are averaged for the figure
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--frames", type=int, default=FRAMES)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        install_plugins(folder / "plugins")
        stack = Stack(
            folder / "home",
            queues=["track", "predict"],
            flower=False,
            models_dirs=model_folders(Settings.load()),
            parts_of=_without_worker,
        )
        with stack:
            log = folder / "log"
            os.environ.update(stack.values, KIOSK_HOME=str(stack.home), TRACK_LOG=str(log))
            with (
                _worker(folder, "predict", 2),
                _worker(folder, "track", 1) as worker,
            ):
                print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
                if arguments.small:
                    return _small(folder)
                return _long(folder, worker, log, arguments.frames)


def _long(folder: Path, worker: psutil.Process, log: Path, frames: int) -> int:
    movie = folder / "movie.tif"
    _simulate(movie, frames)
    done: list[tuple[int, float]] = []
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(folder / "home", worker, ended, done))
    watcher.start()
    seconds, notes, batches = _run("track_logged", movie)
    ended.set()
    watcher.join()
    (child,) = worker.children()
    measured = read_log(log, done, batches, frames)
    child_mb, parent_mb = _peak_mb(child.pid), _peak_mb(worker.pid)
    print(f"{frames} frames of {SIDE}²: {seconds:.0f} s, {notes['cells']} cells in them")
    print(f"child of the worker   {child_mb:6.0f} MB at its peak, goal {GOAL_MB:.0f}")
    print(f"parent of the worker  {parent_mb:6.0f} MB at its peak")
    missed = child_mb > GOAL_MB
    for stage, times in measured.seconds.items():
        first, last = (statistics.fmean(part) for part in ends(times))
        total = statistics.fmean(times)
        print(
            f"{stage:20} {1e3 * total:6.0f} ms a frame; first quarter {1e3 * first:.0f}, "
            f"last {1e3 * last:.0f}, ratio {last / first:.2f}"
        )
        missed |= last / first > GOAL_RATIO
    _draw(measured, child_mb, frames)
    return int(missed)


def _small(folder: Path) -> int:
    print("frames of 512²   one link   child jobs   (median s of", f"{REPEATS})")
    _run("track_here", _movie(folder, 2))  # imports, the model's first call
    for frames in SMALL:
        movie = _movie(folder, frames)
        row = [
            statistics.median(_run(f"track_{kind}", movie)[0] for _ in range(REPEATS))
            for kind in ("here", "apart")
        ]
        print(f"{frames:14} {row[0]:10.2f} {row[1]:12.2f}", flush=True)
    return 0


def _movie(folder: Path, frames: int) -> Path:
    path = folder / f"movie{frames}.tif"
    _simulate(path, frames)
    return path


def _simulate(path: Path, frames: int) -> None:
    """Write a movie; in a process of its own, so that its memory goes with it.

    A long one goes forth and back, so that it has as many cells at its end as at its start.
    """
    script = (
        "import sys, numpy, tifffile\n"
        "from tests.simulated_movies import MovieParams, simulate\n"
        f"params = MovieParams(frames={min(frames, PERIOD)}, side={SIDE}, cells=100)\n"
        f"once = simulate(params, seed={SEED}).pixels\n"
        "both = numpy.concatenate([once, once[::-1]])\n"
        f"movie = both[numpy.arange({frames}) % len(both)]\n"
        "tifffile.imwrite(sys.argv[1], movie, compression='zlib')\n"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, check=True)


def _run(type_name: str, movie: Path) -> tuple[float, dict[str, Any], int]:
    """Run a job; return its seconds, its facts and how many children it had."""
    from kiosk_tasks import service
    from kiosk_tasks.wiring import adapters

    begin = time.perf_counter()
    job = service.submit_file(type_name, movie, {})
    (record,) = [r for r in service.watch([job.id]) if r is not None and r.status.terminal]
    seconds = time.perf_counter() - begin
    if record.status != "done":
        raise SystemExit(f"the job {record.status}: {record.fields.get('reason')}")
    return seconds, record.notes(), len(adapters().ledger.children(job.id))


def _watch(
    home: Path, tracker: psutil.Process, ended: threading.Event, done: list[tuple[int, float]]
) -> None:
    """Note, each second, batches that are segmented and CPU seconds of all but the tracker."""
    while not ended.wait(1):
        family = psutil.Process().children(recursive=True)
        others = set(family) - {tracker, *tracker.children()}
        with contextlib.suppress(psutil.NoSuchProcess):
            cpu_s = sum(sum(one.cpu_times()[:2]) for one in others)
            done.append((len(list(home.glob("bucket/output/*/*.zip"))), cpu_s))


def _draw(measured: Measured, peak_mb: float, frames: int) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for (name, times), colour in zip(measured.seconds.items(), COLOURS, strict=True):
        size = 4 * BIN if name == "segment" else BIN  # two batches end together, or nearly
        starts = range(0, len(times) - size, size)
        bins = [statistics.fmean(times[i : i + size]) for i in starts]
        left.plot([i + size / 2 for i in starts], bins, ".-", label=name, color=colour)
    left.set(xlabel="frame", ylabel="CPU seconds per frame", yscale="log", title="Time per frame")
    left.set_ylim(1e-3, 1)
    left.legend(fontsize=8, loc="upper right", ncols=2)
    right.plot(*zip(*measured.memory, strict=True), ".", markersize=2, color=COLOURS[0])
    right.axhline(peak_mb, color=COLOURS[1], linewidth=1, label=f"peak, {peak_mb:.0f} MB")
    right.axhline(
        GOAL_MB, color="0.4", linestyle="--", linewidth=1, label=f"goal, {GOAL_MB:.0f} MB"
    )
    for when, stage in measured.stages:
        right.axvline(when, color="0.8", linewidth=0.8, zorder=0)
        right.text(when, 440, stage, fontsize=8, rotation=90, va="bottom", ha="right")
    right.set(xlabel="seconds", ylabel="MB resident", ylim=(0, GOAL_MB * 1.1))
    right.set_title(f"Memory of the process that tracks {frames} frames of {SIDE}²")
    right.legend(fontsize=8, loc="lower left")
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, dpi=110)


def _peak_mb(pid: int) -> float:
    """Return the most that a process has had resident, as the kernel counts, MB."""
    text = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e6


def _without_worker(plan: Plan) -> Sequence[Part]:
    return [broker_part(plan), model_server_part(plan)]


@contextlib.contextmanager
def _worker(folder: Path, queue: str, processes: int) -> Iterator[psutil.Process]:
    ready = folder / f"ready-{queue}"
    command = [sys.executable, "-m", "celery", "-A", "kiosk_tasks", "worker", "-Q", queue]
    command += ["-c", str(processes), "-n", f"{queue}@%h", "--without-gossip", "--without-mingle"]
    command += ["--loglevel", "WARNING"]
    with subprocess.Popen(command, env={**os.environ, "KIOSK_READY_FILE": str(ready)}) as process:
        try:
            while not ready.exists():
                if process.poll() is not None:
                    raise SystemExit(f"the worker ended with code {process.returncode}")
                time.sleep(0.05)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()


if __name__ == "__main__":
    sys.exit(main())
