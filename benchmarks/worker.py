"""A worker: seconds from its start until it consumes, and the memory of its child after a job.

`python -m benchmarks.worker` prints the median start of five, and the resident memory of parent and
child after one 512 × 512 job of the bundled model. Goals: ready within 3.5 s, child at most 150 MB,
no TensorFlow library mapped. Exit status 1 if one is missed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from kiosk_tasks.settings import Settings
from kiosk_tasks.stack import Part, Stack
from kiosk_tasks.stack.parts import Plan, broker_part, model_server_part
from kiosk_tasks.wiring import model_folders

ROOT = Path(__file__).resolve().parents[1]
IMAGE = ROOT / "samples" / "nuclei_512.tif"
STARTS = 5
GOAL_READY_S = 3.5
GOAL_CHILD_MB = 150.0


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(
            Path(folder) / "home",
            queues=["predict"],
            flower=False,
            models_dirs=model_folders(Settings.load()),
            parts_of=_without_worker,
        )
        with stack:
            os.environ.update(stack.values, KIOSK_HOME=str(stack.home))
            starts = []
            for _ in range(STARTS):
                with _worker(Path(folder)) as (_process, seconds):
                    starts.append(seconds)
            with _worker(Path(folder)) as (process, _seconds):
                parent_mb, child_mb, clean = _memory_after_a_job(process)
    ready_s = statistics.median(starts)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"worker start to ready   {ready_s:7.2f} s   median of {STARTS}, goal {GOAL_READY_S}")
    print(f"parent after a 512² job {parent_mb:7.1f} MB resident")
    print(f"child after a 512² job  {child_mb:7.1f} MB resident, goal {GOAL_CHILD_MB:.0f}")
    print(f"TensorFlow in the child {'no' if clean else 'YES'}")
    return int(ready_s > GOAL_READY_S or child_mb > GOAL_CHILD_MB or not clean)


def _without_worker(plan: Plan) -> Sequence[Part]:
    return [broker_part(plan), model_server_part(plan)]


@contextmanager
def _worker(folder: Path) -> Iterator[tuple[psutil.Process, float]]:
    ready = folder / "ready"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "celery", "-A", "kiosk_tasks", "worker", "-Q", "predict"]
    command += ["-c", "1", "--without-gossip", "--without-mingle", "--loglevel", "WARNING"]
    start = time.perf_counter()
    with subprocess.Popen(command, env={**os.environ, "KIOSK_READY_FILE": str(ready)}) as process:
        try:
            while not ready.exists():
                if process.poll() is not None:
                    raise SystemExit(f"the worker ended with code {process.returncode}")
                time.sleep(0.005)
            yield psutil.Process(process.pid), time.perf_counter() - start
        finally:
            process.terminate()


def _memory_after_a_job(worker: psutil.Process) -> tuple[float, float, bool]:
    """Run one job; return resident MB of parent and child, and whether TensorFlow is absent."""
    from kiosk_tasks import service

    job = service.submit_file("predict", IMAGE, {})
    (record,) = [r for r in service.watch([job.id]) if r is not None and r.status.terminal]
    if record.status != "done":
        raise SystemExit(f"the job {record.status}: {record.fields.get('reason')}")
    (child,) = worker.children()
    maps = Path(f"/proc/{child.pid}/maps").read_text() if sys.platform == "linux" else ""
    return (
        worker.memory_info().rss / 1e6,
        child.memory_info().rss / 1e6,
        "tensorflow" not in maps,
    )


if __name__ == "__main__":
    sys.exit(main())
