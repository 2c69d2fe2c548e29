"""Round trips of an identity model through the embedded model server.

`python benchmarks/grpc_roundtrip.py` prints, for both forms of reply, the median and the fastest of
some runs in milliseconds, and the CPU time of the client's and of the server's process. Goal:
200 ms median for (1, 2048, 2048, 1) float32. Exit status 1 if that is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from kiosk_tasks.serving.client import TensorFlowServing  # noqa: E402
from kiosk_tasks.serving.launch import ModelServerProcess  # noqa: E402
from tests.built_models import build  # noqa: E402

SHAPES = ((1, 256, 256, 1), (4, 512, 512, 1), (1, 2048, 2048, 1))
GOAL_S = 0.2  #: median, for the last of SHAPES


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Round trips through the embedded model server.")
    parser.add_argument("--runs", type=int, default=9, help="timed runs of each row, at least 7")
    runs = max(parser.parse_args().runs, 7)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {runs} runs")
    print(
        f"{'shape':<20}{'reply':<16}{'median ms':>10}{'fastest ms':>12}{'client CPU ms':>15}"
        f"{'server':>8}"
    )
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        models = build("toy_models", Path(folder) / "models", "Identity")
        for reply, options in (("tensor_content", ()), ("float_val", ("--typed-values",))):
            with (
                (Path(folder) / "log").open("wb") as log,
                ModelServerProcess([models], options=options, log=log) as server,
            ):
                for shape in SHAPES:
                    before = cpu_of(server.pid)
                    walls, cpu_s = measure(server.target, shape, runs)
                    server_s = (cpu_of(server.pid) - before) / (runs + 2)
                    median_s = statistics.median(walls)
                    missed |= shape == SHAPES[-1] and median_s > GOAL_S
                    print(
                        f"{shape!s:<20}{reply:<16}{1e3 * median_s:>10.1f}"
                        f"{1e3 * min(walls):>12.1f}{1e3 * cpu_s:>15.1f}"
                        f"{1e3 * server_s:>8.1f}"
                    )
    return int(missed)


def cpu_of(pid: int) -> float:
    """Return the CPU seconds that a process has taken."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def measure(target: str, shape: tuple[int, ...], runs: int) -> tuple[list[float], float]:
    """Return the seconds of each round trip and the client's mean CPU seconds; two warm it up."""
    client = TensorFlowServing(target)
    signature = client.signature("Identity")
    image = np.random.default_rng(0).random(shape, "f4")
    walls = []
    cpu_start = 0.0
    for number in range(runs + 2):
        if number == 2:
            cpu_start = time.process_time()
        start = time.perf_counter()
        (outputs,) = client.predict(signature, [{"image": image}])
        if number >= 2:
            walls.append(time.perf_counter() - start)
    cpu_s = (time.process_time() - cpu_start) / runs
    np.testing.assert_array_equal(outputs["image"], image)
    client.close()
    return walls, cpu_s


if __name__ == "__main__":
    sys.exit(main())
