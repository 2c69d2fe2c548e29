"""A large object goes to a bucket, through a real worker, and out again: seconds and memory.

`python -m benchmarks.large_objects` does so with 2 GiB of random bytes for a local folder, S3 and
Google Cloud Storage. For each, one process uploads the file, and a Celery worker of one child runs
a job that fetches it to its scratch folder and uploads it as its result, as every job does; then
the process lets the result flow out of the bucket and compares it with what went in. Goal: worker
and child each stay under `GOAL_MB` resident at their peak (VmHWM, so nothing is missed between two
looks). Exit status 1 if one does not, or if a byte is wrong.

S3 is served by s3rver, which keeps its objects on disk (`npm install s3rver`; `--s3rver` says where
its command is); Google's by the emulator of the tests, which needs three times the object's size
in memory. `--only s3` measures one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import psutil
import pytest

from kiosk_tasks.stack import Stack
from kiosk_tasks.stack.parts import PartsOf, broker_part, worker_part
from tests.conftest import wait_for
from tests.gcs_server import gcs_bucket_url, gcs_server
from tests.processes import child

MEGABYTES = 2048
GOAL_MB = 200.0
KINDS = ("local", "s3", "gcs")
S3_KEYS = {"AWS_ACCESS_KEY_ID": "S3RVER", "AWS_SECRET_ACCESS_KEY": "S3RVER"}
BROKER_AND_WORKER: PartsOf = lambda plan: [broker_part(plan), worker_part(plan)]  # noqa: E731

JOB = """
from kiosk_tasks.job import JobType, Params
from kiosk_tasks.outputs import OutputFile
from kiosk_tasks.scratch import scratch_folder
from kiosk_tasks.stages import fetch, store


def move(_, ctx):
    with scratch_folder(ctx.limits.scratch) as folder:
        return store([OutputFile("again.bin", fetch(ctx, folder))], ctx)


job_type = JobType("move", "Moves bytes", "predict", Params, (move,), seconds=3600)
"""

USE = """
import hashlib, json, sys, time, zipfile
from pathlib import Path
from kiosk_tasks import service
from kiosk_tasks.wiring import adapters

source, target = Path(sys.argv[1]), Path(sys.argv[2])
seconds, start = {}, time.perf_counter()
job = service.submit_file("move", source, {})
seconds["up"] = time.perf_counter() - start
for record in service.watch([job.id]):
    last = record or last
assert last.status == "done", last.fields
seconds["job"] = float(last.fields["total_time"])
start = time.perf_counter()
with target.open("wb") as file:
    for chunk in adapters().storage.open(last.fields["output_file_name"]):
        file.write(chunk)
seconds["out"] = time.perf_counter() - start
with zipfile.ZipFile(target) as archive, archive.open("again.bin") as member:
    checksum = hashlib.file_digest(member, "sha256").hexdigest()
service.forget_files(last)
status = Path("/proc/self/status").read_text().splitlines()
(peak,) = (int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print(json.dumps({"seconds": seconds, "peak": peak * 1024, "sha256": checksum}))
"""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=MEGABYTES)
    parser.add_argument("--only", choices=KINDS, action="append")
    parser.add_argument("--s3rver", default="s3rver")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    missed = False
    for kind in arguments.only or KINDS:
        with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
            folder = Path(name)
            source = folder / "source.bin"
            _fill(source, arguments.megabytes)
            with _bucket(kind, folder, patch, arguments.s3rver) as url:
                missed |= _measure(kind, folder, source, url)
    return int(missed)


def _measure(kind: str, folder: Path, source: Path, url: str) -> bool:
    _install(folder / "plugin")
    stack = Stack(
        folder / "home",
        queues=["predict"],
        concurrency=1,
        flower=False,
        bucket=url,
        environ={**os.environ, "KIOSK_SCRATCH": str(folder)},
        parts_of=BROKER_AND_WORKER,
    )
    with stack:
        env = {**os.environ, **stack.values, "KIOSK_HOME": str(stack.home)}
        argv = [sys.executable, "-c", USE, str(source), str(folder / "result.zip")]
        told = json.loads(subprocess.run(argv, env=env, stdout=subprocess.PIPE, check=True).stdout)
        peaks = _worker_peaks()
    with source.open("rb") as file:
        same = hashlib.file_digest(file, "sha256").hexdigest() == told["sha256"]
    seconds = told["seconds"]
    print(
        f"{kind:6} {source.stat().st_size / 1e6:.0f} MB: up {seconds['up']:.0f} s, job "
        f"{seconds['job']:.0f} s (down, sha256 twice, zip, up), out {seconds['out']:.0f} s; peaks "
        + ", ".join(f"{name} {peak / 1e6:.0f} MB" for name, peak in peaks.items())
        + f", process {told['peak'] / 1e6:.0f} MB"
        + ("" if same else "; THE BYTES DIFFER"),
        flush=True,
    )
    return not same or max(peaks.values()) / 1e6 > GOAL_MB


def _worker_peaks() -> dict[str, int]:
    """Return the most memory that the worker and its child have had, bytes."""
    (worker,) = (p for p in psutil.Process().children(recursive=True) if _is_worker(p))
    (job,) = worker.children()
    return {"worker": _peak(worker.pid), "its child": _peak(job.pid)}


def _is_worker(process: psutil.Process) -> bool:
    parent = process.parent()
    return "worker" in process.cmdline() and (parent is None or "worker" not in parent.cmdline())


def _peak(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@contextmanager
def _bucket(
    kind: str, folder: Path, patch: pytest.MonkeyPatch, s3rver: str
) -> Iterator[str | None]:
    if kind == "local":
        yield None
    elif kind == "gcs":
        with gcs_server(folder / "gcs.log") as endpoint:
            yield gcs_bucket_url(endpoint, patch)
    else:
        log = folder / "s3rver.log"
        argv = [s3rver, "-d", str(folder / "s3"), "-p", "0", "-a", "127.0.0.1"]
        with child([*argv, "--configure-bucket", "bucket"], log=log):
            port = wait_for(lambda: _port(log), what="s3rver tells its port")
            for name, value in S3_KEYS.items():
                patch.setenv(name, value)
            yield f"s3://bucket?endpoint=http://127.0.0.1:{port}&region=us-east-1"


def _port(log: Path) -> str | None:
    _, listening, rest = log.read_text().partition("127.0.0.1:")
    return rest.split()[0] if listening else None


def _fill(path: Path, megabytes: int) -> None:
    """Write bytes that no two parts have in common; a part in a wrong place would show."""
    block = Random(5).randbytes(2**20)  # noqa: S311  # no secret
    with path.open("wb") as file:
        for number in range(megabytes):
            file.write(number.to_bytes(4, "big") + block[4:])


def _install(folder: Path) -> None:
    """Make the job type an installed package, for all processes."""
    folder.mkdir()
    (folder / "move_job.py").write_text(JOB)
    info = folder / "move_job-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: move-job\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kiosk_tasks.job_types]\nmove = move_job:job_type\n")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


if __name__ == "__main__":
    sys.exit(main())
