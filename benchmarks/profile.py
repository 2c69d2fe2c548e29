"""In which functions a worker spends a job: `python -m benchmarks.profile --side 2048`.

py-spy (`pip install py-spy`) looks at the child of a worker 250 times a second while nuclear jobs
run through the queue. The table has milliseconds of a job's wall time, of each function with what
it calls, and of each function alone. `--shipped` takes the shipped model instead of a free one.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.inputs import field
from benchmarks.runs import Kind, run_jobs
from benchmarks.stack import FREE, SHIPPED, bench_stack

RATE = 250  #: looks per second
_INSIDE = "kiosk_tasks/run/task.py"
_MOST, _LEAST_SHARE = 40, 0.002
_STARTED_S = 1.0


def main() -> int:
    """Run jobs under py-spy, and print where their time went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512, help="of the image, px")
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--shipped", action="store_true", help="take the shipped model")
    parser.add_argument("--labels-only", action="store_true")
    given = parser.parse_args()
    spy = shutil.which("py-spy", path=f"{Path(sys.executable).parent}") or shutil.which("py-spy")
    if spy is None:
        print("There is no py-spy; install it with: pip install py-spy", file=sys.stderr)
        return 2
    params = {"mpp": 0.65, "labels_only": given.labels_only}
    with bench_stack() as site, TemporaryDirectory() as folder:
        kind = Kind("predict", site.put("image.tif", field(given.side)), params)
        with site.worker("predict", models=SHIPPED if given.shipped else FREE) as worker:
            run_jobs(site, worker, kind, 2)
            (child,) = worker.process.children()
            raw = Path(folder) / "raw"
            looks = ["record", "-p", str(child.pid), "-r", str(RATE), "-f", "raw", "-o", str(raw)]
            with subprocess.Popen([spy, *looks, "--nonblocking", "-d", "3600"]) as process:
                time.sleep(_STARTED_S)
                run = run_jobs(site, worker, kind, given.jobs)
                process.send_signal(signal.SIGINT)
        _print(raw.read_text().splitlines(), given.jobs)
    print(f"\nCPU seconds of a job: {run.cpu_s}\nstages: {run.stages_s}")
    return 0


def _print(lines: Iterable[str], jobs: int) -> None:
    """Print shares of what py-spy saw: `function;function;… count` on each line."""
    whole: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    total = 0
    for line in lines:
        stack, _, count = line.rpartition(" ")
        functions = stack.split(";")
        if not any(_INSIDE in function for function in functions):
            continue
        total += int(count)
        alone[functions[-1]] += int(count)
        for function in set(functions):
            whole[function] += int(count)
    for title, counts in (("with what they call", whole), ("alone", alone)):
        print(f"\nms of a job, functions {title}")
        for function, looks in counts.most_common(_MOST):
            ours = "kiosk_tasks" in function or counts is alone
            if ours and looks > _LEAST_SHARE * total:
                print(f"{1000 * looks / RATE / jobs:8.1f}  {function}")


if __name__ == "__main__":
    sys.exit(main())
