"""Large images, block by block: memory of the worker, linear time, cells at the borders of blocks.

`python -m benchmarks.large_images` writes drawn nuclei (uint16, 0.65 µm per pixel) of 4096², 8192²
and 16,384², as a tiled BigTIFF and the largest as OME-Zarr too, and segments each through broker,
one worker process and a nearly free model behind its gRPC server. The smallest is done a second
time in one piece, for comparison. CPU seconds are those of the worker and its child and of the
model server, as other programs may run beside.
Goals: the child's peak is at most 700 MB; CPU seconds per pixel grow by at most 1.15 from 4096² to
the others; every cell of the smallest image is the same as in one piece. Exit status 1 if one is
missed. It takes 3 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tifffile
from numpy.typing import NDArray

from benchmarks.stack import KEPT_MODELS, worker_argv
from kiosk_tasks.job import new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.ledger import Ledger
from kiosk_tasks.settings import Settings
from kiosk_tasks.stack import Part, Stack
from kiosk_tasks.stack.parts import Plan, broker_part, model_server_part
from kiosk_tasks.wiring import make_ledger
from tests.built_models import built
from tests.synthetic import draw_nuclei

SIDES = (4096, 8192, 16384)
PATCH, PATCHES, CELLS = 512, 8, 220
MPP = 0.65
CHUNK = 1024
GOAL_MB, GOAL_RATIO = 700.0, 1.15
SEED = 2026


@dataclass(frozen=True)
class Measured:
    """One job: wall and CPU seconds, peak of the child, MB, cells, and its result."""

    wall_s: float
    worker_s: float
    server_s: float
    peak_mb: float
    cells: int
    result: Path


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sides", type=int, nargs="*", default=list(SIDES))
    parser.add_argument("--no-zarr", action="store_true")
    arguments = parser.parse_args()
    KEPT_MODELS.mkdir(parents=True, exist_ok=True)
    models = built("nuclei_model", KEPT_MODELS)
    with tempfile.TemporaryDirectory(prefix="kiosk-large-") as name:
        folder = Path(name)
        stack = Stack(
            folder / "home",
            queues=["predict"],
            flower=False,
            models_dirs=[models],
            parts_of=_without_worker,
        )
        with stack:
            os.environ.update(stack.values, KIOSK_HOME=str(stack.home))
            return _measure(folder, arguments.sides, zarr=not arguments.no_zarr)


def _measure(folder: Path, sides: Sequence[int], *, zarr: bool) -> int:
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    print("image               wall s  worker s  server s  peak MB  µs/px  to linear     cells")
    bucket = Path(Settings.load().bucket_url.removeprefix("file://"))
    missed, first = False, 0.0
    for side in sides:
        kinds = ["tif", "ome.zarr"] if zarr and side == max(sides) else ["tif"]
        for kind in kinds:
            key = f"uploads/{side}.{kind}"
            (_write_tiff if kind == "tif" else _write_zarr)(bucket / key, side)
            blocks = _run(folder, key, KIOSK_WHOLE_PIXELS=str(min(side * side - 1, 2**24)))
            each = (blocks.worker_s + blocks.server_s) / side**2
            first = first or each
            _print(f"{side}² {kind}", blocks, each, each / first)
            missed |= blocks.peak_mb > GOAL_MB or each / first > GOAL_RATIO
            if side == min(sides):
                whole = _run(folder, key, KIOSK_WHOLE_PIXELS=str(2**40))
                _print(f"{side}² in one piece", whole, (whole.worker_s + whole.server_s) / side**2)
                missed |= _compare(blocks.result, whole.result, f"{side}")
                whole.result.unlink()
            blocks.result.unlink()
    return int(missed)


def _print(name: str, one: Measured, each: float, ratio: float | None = None) -> None:
    print(
        f"{name:19} {one.wall_s:6.0f} {one.worker_s:9.1f} {one.server_s:9.1f} {one.peak_mb:8.0f} "
        f"{1e6 * each:6.2f} {'' if ratio is None else f'{ratio:.2f}':>10} {one.cells:9}",
        flush=True,
    )


def _compare(blocks: Path, whole: Path, stem: str) -> bool:
    """Say in how many cells two results differ; return whether there is one."""
    one, other = (_labels(path, stem) for path in (blocks, whole))
    base = int(other.max()) + 1
    pairs = np.unique(one.astype(np.int64) * base + other)
    here, there = np.divmod(pairs, base)
    split = np.bincount(there[here > 0], minlength=base)[1:]
    joined = np.bincount(here[there > 0])[1:]
    differ = int(np.count_nonzero((one > 0) != (other > 0)))
    print(
        f"  cells split {np.count_nonzero(split > 1)}, joined {np.count_nonzero(joined > 1)}, "
        f"pixels of cells in one result only {differ}"
    )
    return bool((split != 1).any() or (joined != 1).any() or differ)


def _labels(result: Path, stem: str) -> NDArray[np.int32]:
    with zipfile.ZipFile(result) as packed, packed.open(f"{stem}_labels.ome.tif") as file:
        labels: NDArray[np.int32] = tifffile.imread(file, level=0)
        return labels


def _run(folder: Path, key: str, **env: str) -> Measured:
    """Run one job in a fresh worker."""
    ledger = make_ledger(Settings.load())
    from kiosk_tasks import app
    from kiosk_tasks.run.messages import submit

    server = _model_server()
    with _worker(folder, env) as worker:
        before, served = _cpu_s(worker), _cpu_s(server)
        start = time.perf_counter()
        source = {"input_file_name": key, "original_name": Path(key).name, "mpp": MPP}
        job = new_job(find("predict"), source)
        submit(app, ledger, job)
        record = _ended(ledger, job.id)
        wall_s = time.perf_counter() - start
        (child,) = worker.children()
        bucket = Path(Settings.load().bucket_url.removeprefix("file://"))
        return Measured(
            wall_s=wall_s,
            worker_s=_cpu_s(worker) - before,
            server_s=_cpu_s(server) - served,
            peak_mb=_peak_mb(child.pid),
            cells=int(json.loads(record["note:cells"])),
            result=bucket / record["output_file_name"],
        )


def _ended(ledger: Ledger, job_id: str) -> Mapping[str, str]:
    while True:
        record = ledger.record(job_id)
        if record.status.terminal:
            if "output_file_name" not in record.fields:
                raise SystemExit(f"the job failed: {record.fields.get('reason')}")
            return record.fields
        time.sleep(0.2)


def _write_tiff(path: Path, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(
            (row[:, x : x + PATCH] for row in _rows(side) for x in range(0, side, PATCH)),
            shape=(side, side),
            dtype=np.uint16,
            tile=(PATCH, PATCH),
            photometric="minisblack",
        )


def _write_zarr(path: Path, side: int) -> None:
    """Write NGFF 0.4 of one level, unpacked."""
    (path / "0").mkdir(parents=True, exist_ok=True)
    array = {
        "zarr_format": 2,
        "shape": [side, side],
        "chunks": [CHUNK, CHUNK],
        "dtype": "<u2",
        "compressor": None,
        "fill_value": 0,
        "order": "C",
        "filters": None,
        "dimension_separator": "/",
    }
    scale = {"type": "scale", "scale": [MPP, MPP]}
    image = {
        "version": "0.4",
        "axes": [{"name": a, "type": "space", "unit": "micrometer"} for a in "yx"],
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
    }
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text(json.dumps({"multiscales": [image]}))
    (path / "0" / ".zarray").write_text(json.dumps(array))
    rows = _rows(side)
    for y in range(side // CHUNK):
        band = np.concatenate([next(rows) for _ in range(CHUNK // PATCH)])
        (path / "0" / str(y)).mkdir(exist_ok=True)
        for x in range(side // CHUNK):
            part = np.ascontiguousarray(band[:, x * CHUNK : (x + 1) * CHUNK])
            (path / "0" / str(y) / str(x)).write_bytes(part.tobytes())


def _rows(side: int) -> Iterator[NDArray[np.uint16]]:
    """Yield rows of patches: drawn fields, turned, of different brightness, pushed to the side."""
    rng = np.random.default_rng(SEED)
    fields = [draw_nuclei((PATCH, PATCH), count=CELLS, seed=n)[0] for n in range(PATCHES)]
    for _row in range(side // PATCH):
        chosen = []
        for _column in range(side // PATCH):
            field = np.rot90(fields[rng.integers(PATCHES)], int(rng.integers(4)))
            field = np.roll(field, tuple(rng.integers(0, PATCH, 2)), axis=(0, 1))
            chosen.append(np.rint(field * rng.uniform(0.8, 1.2)).astype(np.uint16))
        yield np.concatenate(chosen, axis=1)


@contextmanager
def _worker(folder: Path, env: Mapping[str, str]) -> Iterator[psutil.Process]:
    ready = folder / f"ready-{time.monotonic_ns()}"
    command = worker_argv(["predict"], 1, "large@%h")
    with (folder / "worker.log").open("wb") as log:
        whole = {**os.environ, **env, "KIOSK_READY_FILE": str(ready)}
        process = subprocess.Popen(command, env=whole, stdout=log, stderr=log)
    try:
        while not ready.exists():
            if process.poll() is not None:
                raise SystemExit((folder / "worker.log").read_text()[-2000:])
            time.sleep(0.05)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def _model_server() -> psutil.Process:
    children = psutil.Process().children()
    return next(one for one in children if "serving.server" in " ".join(one.cmdline()))


def _cpu_s(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and its children."""
    alive = [process, *process.children(recursive=True)]
    times: Any = [one.cpu_times() for one in alive]
    return float(sum(one.user + one.system for one in times))


def _peak_mb(pid: int) -> float:
    """Return the most that a process has had resident, as the kernel counts, MB."""
    text = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e6


def _without_worker(plan: Plan) -> Sequence[Part]:
    return [broker_part(plan), model_server_part(plan)]


if __name__ == "__main__":
    sys.exit(main())
