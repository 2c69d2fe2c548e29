"""A large archive from the command line: results, failures, seconds, and whether memory stays flat.

`python -m benchmarks.archives` zips 500 small images in nested folders, 3 of them broken, and gives
them to `kiosk run predict` with the embedded stack running: Valkey, a worker of two processes, the
bundled model behind its gRPC server. It prints what came of it, and the resident memory of worker
and client over time, and draws `docs/images/archive_memory.png`. `--members 10000 --light` does as
many with a job type that only counts bytes: what the archive itself costs. Exit status 1 if a
result or a failure is missing, or if a process grows by more than `GOAL_GROWTH_MB` from the second
tenth of its life to the last.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import redis
import tifffile

from kiosk_tasks import service
from kiosk_tasks.ledger import Record
from kiosk_tasks.settings import Settings
from kiosk_tasks.stack import Stack
from kiosk_tasks.storage import from_url
from kiosk_tasks.wiring import model_folders
from tests.synthetic import draw_nuclei

ROOT = Path(__file__).resolve().parents[1]
FIGURE = ROOT / "docs" / "images" / "archive_memory.png"
MEMBERS, FOLDERS = 500, 10
SIDE = 128
GOAL_GROWTH_MB = 60.0
SAMPLE_S = 0.5
TIDY_S = 60.0
TENTH = 10
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # Okabe and Ito

LIGHT = """
from kiosk_tasks.errors import UnusableImage
from kiosk_tasks.job import JobType, Params
from kiosk_tasks.outputs import OutputFile, stem_of
from kiosk_tasks.stages import store


def read(_, ctx):
    data = ctx.storage.get(ctx.job.source.input_file_name)
    if len(data) < 100:
        raise UnusableImage(f"{ctx.job.source.name} is too short to be counted.")
    return data


def write(data, ctx):
    ctx.report.note(spots=len(data))
    stem = stem_of(ctx.job.source.name)
    return store([OutputFile(f"{stem}_count.txt", str(len(data)).encode())], ctx)


job_type = JobType("count", "Counts bytes", "predict", Params, (read, write))
"""


@dataclass
class Memory:
    """Resident memory over time.

    samples: seconds and MB, by process. parent: status of the archive's job at a second.
    """

    samples: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    parent: list[tuple[float, str]] = field(default_factory=list)

    def take(self, processes: dict[str, psutil.Process], second: float) -> None:
        """Add a sample of each process that lives."""
        for name, process in processes.items():
            try:
                megabytes = process.memory_info().rss / 1e6
            except psutil.NoSuchProcess:
                continue
            if megabytes:  # it has none when it ends
                self.samples[name].append((second, megabytes))

    def growth(self, name: str) -> tuple[float, float, float]:
        """Return a process's median MB in the first and last tenth of its samples, and its most."""
        megabytes = [mb for _, mb in self.samples[name]]
        tenth = max(1, len(megabytes) // TENTH)
        # the first few are of a process that has not run a job
        first = statistics.median(megabytes[tenth : 2 * tenth] or megabytes)
        return first, statistics.median(megabytes[-tenth:]), max(megabytes)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--members", type=int, default=MEMBERS)
    parser.add_argument("--light", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.light:
            _install_light(folder / "plugin")
        archive = folder / "plate.zip"
        broken = _zip_images(archive, arguments.members)
        stack = Stack(
            folder / "home",
            queues=["predict"],
            concurrency=2,
            flower=False,
            models_dirs=model_folders(Settings.load()),
        )
        with stack:
            os.environ.update(stack.values, KIOSK_HOME=str(stack.home))
            print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
            return _measure(archive, folder / "out", broken, light=arguments.light)


def _measure(archive: Path, out: Path, broken: set[str], *, light: bool) -> int:
    command = [sys.executable, "-m", "kiosk_tasks", "run", "count" if light else "predict"]
    memory, start, parent = Memory(), time.monotonic(), None
    log = out.with_suffix(".json")
    with log.open("wb") as output:
        client = subprocess.Popen([*command, str(archive), "-o", str(out), "--json"], stdout=output)
        while client.poll() is None:
            second = time.monotonic() - start
            memory.take(_processes(client.pid), second)
            parent = service.status(parent.id) if parent else _archive_in(service.newest(50))
            memory.parent.append((second, str(parent.status) if parent else ""))
            time.sleep(SAMPLE_S)
    seconds = time.monotonic() - start
    (outcome,) = json.loads(log.read_bytes())["images"]
    record = service.status(outcome["job"])
    missed = _tell_results(outcome, record, out / archive.stem, broken)
    print(f"{archive.stat().st_size / 1e6:.1f} MB in {seconds:.0f} s, with fetching and unpacking")
    print(f"longest field of the archive's record {max(map(len, record.fields.values()))} bytes")
    print(f"ledger and broker {_redis_mb():.1f} MB after it")
    missed |= _tell_memory(memory)
    if not light:
        _draw(memory)
    return int(missed)


def _tell_results(outcome: dict[str, Any], record: Record, place: Path, broken: set[str]) -> bool:
    rows = list(csv.DictReader((place / "summary.csv").read_text().splitlines()))
    done = [row for row in rows if row["result"] == "done"]
    failures = list(csv.DictReader((place / "failures.csv").read_text().splitlines()))
    records = len(list(place.rglob("*_job.json"))) - 1  # and one of the archive
    print(f"{len(rows)} files: {len(done)} done ({records} with results), {len(failures)} failed:")
    for row in failures:
        print(f"  {row['file']}: {row['reason']}")
    print(f"status {outcome['status']}, counted {outcome['counts']}, {len(outcome['files'])} files")
    left = _left()
    print(f"children {record.fields['total_jobs']}, left in the bucket: {left or 'nothing'}")
    return {row["file"] for row in failures} != broken or len(done) != records or bool(left)


def _left() -> list[str]:
    """Return what stays in the bucket; the client has fetched the result, a run tidies up."""
    bucket, end = from_url(os.environ["KIOSK_BUCKET"]), time.monotonic() + TIDY_S
    while left := list(bucket.list()):
        if time.monotonic() > end:
            break
        time.sleep(SAMPLE_S)
    return left


def _tell_memory(memory: Memory) -> bool:
    missed = False
    for name in sorted(memory.samples):
        if len(memory.samples[name]) < TENTH:
            continue
        first, last, most = memory.growth(name)
        print(
            f"{name:16} {first:6.0f} MB in its second tenth, {last:6.0f} in its last, "
            f"{most:6.0f} at most"
        )
        missed |= last - first > GOAL_GROWTH_MB
    packing = [second for second, status in memory.parent if status == "saving-results"]
    if packing:
        print(f"packing took {packing[-1] - packing[0]:.0f} s")
    return missed


def _processes(client: int) -> dict[str, psutil.Process]:
    """Return the client and the worker's processes; pool children are replaced after 200 jobs."""
    found = {"client": psutil.Process(client)}
    for part in psutil.Process().children():
        if "worker" in part.cmdline():
            found["worker"] = part
            found |= {f"child {child.pid}": child for child in part.children()}
    return found


def _archive_in(records: list[Record]) -> Record | None:
    return next((r for r in records if r.fields["job_type"].endswith("-zip")), None)


def _redis_mb() -> float:
    with redis.Redis.from_url(os.environ["KIOSK_BROKER_URL"]) as client:
        info: Any = client.info("memory")
        return float(info["used_memory"]) / 1e6


def _zip_images(path: Path, count: int) -> set[str]:
    """Zip that many images of drawn nuclei; return the names of those that are broken."""
    spoil = (lambda _: b"", lambda data: data[: len(data) // 2], lambda _: b"these are only words")
    broken = dict(zip((count // 7, count // 2, count - 3), spoil, strict=True))
    names = set()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(count):
            name = f"plate/row {number % FOLDERS}/{number // FOLDERS:04d}.tif"
            data = _image(number % 100)
            if number in broken:
                data = broken[number](data)[: 80 if number == count // 2 and count > 5000 else None]
                names.add(name)
            archive.writestr(name, data)
    return names


@cache
def _image(seed: int) -> bytes:
    file = BytesIO()
    image, _ = draw_nuclei((SIDE, SIDE), count=8, seed=seed)
    tifffile.imwrite(file, np.asarray(image))
    return file.getvalue()


def _install_light(folder: Path) -> None:
    """Make the light job type an installed package, for all processes."""
    folder.mkdir()
    (folder / "count_job.py").write_text(LIGHT)
    info = folder / "count_job-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: count-job\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kiosk_tasks.job_types]\ncount = count_job:job_type\n")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    sys.path.insert(0, str(folder))


def _draw(memory: Memory) -> None:
    # an evaluation tool, not needed to run jobs
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    for name, samples in memory.samples.items():
        kind = name.partition(" ")[0]
        colour = COLOURS[("client", "worker", "child").index(kind)]
        axes.plot(*zip(*samples, strict=True), color=colour, lw=1.2)
    for kind, colour in zip(("client", "worker", "child"), COLOURS, strict=False):
        label = {"child": "the worker's two processes", "worker": "worker, parent"}.get(kind, kind)
        axes.plot([], [], color=colour, label=label)
    packing = [second for second, status in memory.parent if status == "saving-results"]
    if packing:
        axes.axvspan(packing[0], packing[-1], color="#dddddd", lw=0, label="packing")
    axes.set(xlabel="seconds", ylabel="resident memory (MB)", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=2, loc="center right")
    figure.savefig(FIGURE, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
