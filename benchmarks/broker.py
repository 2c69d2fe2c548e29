"""The broker: what a job costs outside of its stages, and how soon an idle worker picks one up.

`python -m benchmarks.broker` runs jobs of five stages that do nothing but note and report what
those of a 512² image do, through Valkey and a real worker of one process. It prints, per job:
Valkey's commands by process, round trips (reads from its sockets) and bytes; CPU milliseconds of
submission, of the worker's main process, of its child and of Valkey; and the delay from submission
to claim, median and 95th percentile of single jobs for an idle worker; and how many jobs a second
Valkey could serve, whatever else there is.
Goal: an idle worker claims within 10 ms (median). Exit status 1 if it is missed.

`--profile FOLDER` writes cProfile's figures of the worker's processes, `--json FILE` the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from benchmarks.broker_site import Site, broker_site

ROUNDS = 5
JOBS = 200
SINGLE = 60
WATCHED = 20
GOAL_PICK_UP_MS = 10.0
_WORKER = ("worker, main", "worker, child")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", type=Path, help="folder for cProfile's figures")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    given = parser.parse_args(arguments if arguments is not None else sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder, broker_site(Path(folder), given.profile) as site:
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
        _run(JOBS)  # everybody has connected, and imported what they need
        numbers = {**_costs(site), "commands": _commands(site), "pick-up": _pick_up()}
    _print(numbers)
    if given.json:
        given.json.write_text(json.dumps(numbers, indent=1), "utf-8")
    return int(numbers["pick-up"]["median"] > GOAL_PICK_UP_MS)


def _costs(site: Site) -> dict[str, Any]:
    """Return what a job of many costs, medians of the rounds."""
    rows = []
    for _ in range(ROUNDS):
        before = _now(site)
        seconds = _run(JOBS)
        after = _now(site)
        row = {name: (after[name] - before[name]) / JOBS for name in after}
        rows.append({**row, "wall ms": 1000 * seconds / JOBS})
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def _now(site: Site) -> dict[str, float]:
    stats: dict[str, Any] = site.client.info("stats")
    cpu = {f"{name} ms": 1000 * _cpu_s(process) for name, process in site.processes.items()}
    return {
        **cpu,
        "round trips": stats["total_reads_processed"],
        "bytes in": stats["total_net_input_bytes"],
        "bytes out": stats["total_net_output_bytes"],
    }


def _cpu_s(process: psutil.Process) -> float:
    """Return the process's CPU seconds, to the microsecond where the system tells them."""
    try:
        ticks = Path(f"/proc/{process.pid}/schedstat").read_text().split()
        others = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
        return sum(int(file.read_text().split()[0]) for file in others) / 1e9 if ticks else 0.0
    except FileNotFoundError:
        times = process.cpu_times()
        return float(times.user + times.system)


def _run(count: int) -> float:
    """Submit jobs and wait until all have ended; return the seconds."""
    from kiosk_tasks import service
    from kiosk_tasks.wiring import adapters

    start = time.perf_counter()
    for number in range(count):
        service.submit("empty", {"input_file_name": f"uploads/{number}/a.tif"})
    while adapters().ledger.open_count():
        time.sleep(0.02)
    return time.perf_counter() - start


def _pick_up() -> dict[str, float]:
    """Return ms from the submission of a single job until a worker that has no other claims it."""
    from kiosk_tasks import service

    delays = []
    for number in range(SINGLE):
        time.sleep(0.05 + 0.01 * (number % 7))  # not in step with the worker's own rhythm
        start = time.time()
        job = service.submit("empty", {"input_file_name": "uploads/a.tif"})
        while not (record := service.status(job.id)).status.terminal:
            time.sleep(0.002)
        claimed = datetime.fromisoformat(record.fields["started_at"]).timestamp()
        delays.append(1000 * (claimed - start))
    delays.sort()
    return {"median": statistics.median(delays), "p95": delays[int(0.95 * len(delays))]}


def _commands(site: Site) -> dict[str, float]:
    """Return how often each process sends each command, per job."""
    seen: list[dict[str, Any]] = []
    with site.client.monitor() as monitor:  # type: ignore[no-untyped-call]
        thread = threading.Thread(target=_collect, args=(monitor, seen), daemon=True)
        thread.start()
        _run(WATCHED)
        site.client.echo("the end")
        thread.join()
    names = _names_of_ports(site)
    counts: Counter[str] = Counter()
    for command in seen:
        if command["client_type"] != "lua":
            who = names.get(str(command["client_port"]), "?")
            counts[f"{who}: {command['command'].split()[0].upper()}"] += 1
    return {name: count / WATCHED for name, count in sorted(counts.items())}


def _collect(monitor: Any, seen: list[dict[str, Any]]) -> None:
    for command in monitor.listen():
        if command["command"].endswith("the end"):
            return
        seen.append(command)


def _names_of_ports(site: Site) -> dict[str, str]:
    return {
        str(connection.laddr.port): name
        for name, process in site.processes.items()
        for connection in process.net_connections("tcp")
        if connection.raddr and name != "valkey"
    }


def _print(numbers: dict[str, Any]) -> None:
    print(f"\nper job, medians of {ROUNDS} × {JOBS} jobs that do nothing")
    for name, value in numbers.items():
        if not isinstance(value, dict):
            print(f"  {name:24}{value:10.2f}")
    print(f"\ncommands per job, over {WATCHED} jobs")
    for name, value in numbers["commands"].items():
        print(f"  {name:32}{value:8.2f}")
    shares = {name: numbers[f"{name} ms"] for name in ("client", *_WORKER, "valkey")}
    whole = sum(shares.values())
    print("\nshares of the CPU: " + ", ".join(f"{n} {v / whole:.0%}" for n, v in shares.items()))
    print(f"Valkey, which has one core: at most {1000 / shares['valkey']:,.0f} jobs/s")
    pick_up = numbers["pick-up"]
    print(
        f"\nidle worker, submission to claim: median {pick_up['median']:.1f} ms "
        f"(goal {GOAL_PICK_UP_MS:g}), p95 {pick_up['p95']:.1f} ms, {SINGLE} jobs"
    )


if __name__ == "__main__":
    sys.exit(main())
