"""The ledger: what a job's records cost over its whole life, and whether 100,000 others matter.

`python -m benchmarks.ledger` runs lives of a job as a worker reports them (submit, claim, five
stages with progress and facts, end), and prints Redis' CPU and the worker's CPU per job, medians of
five rounds; first on an empty ledger, then beside 100,000 jobs that wait and 100,000 that ended.
Then it times one look of the reaper over that backlog, with every message in the broker's list.
Goals: 1 ms of Redis, 2 ms of worker CPU. Exit status 1 if one is missed.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kiosk_tasks.job import Job, Status, new_job
from kiosk_tasks.jobs import find
from kiosk_tasks.ledger import Heart, Ledger, LedgerReporter
from kiosk_tasks.redis_clients import redis_client
from kiosk_tasks.settings import Settings
from kiosk_tasks.stack import Part, Stack
from kiosk_tasks.stack.parts import Plan, broker_part
from kiosk_tasks.wiring import make_ledger

ROUNDS = 5
LIVES = 400
OTHERS = 100_000
LANE = "predict:6"
GOAL_REDIS_MS = 1.0
GOAL_WORKER_MS = 2.0
STAGES = {
    "download": Status.STARTED,
    "preprocess": Status.PREPROCESSING,
    "predict": Status.PREDICTING,
    "postprocess": Status.POSTPROCESSING,
    "upload": Status.SAVING,
}
RESULT = {"output_file_name": "output/x/y.zip", "output_url": "file:///x", "progress": "100"}


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(
            Path(folder) / "home", queues=["predict"], flower=False, parts_of=_only_broker
        )
        with stack:
            os.environ.update(stack.values, KIOSK_HOME=str(stack.home))
            ledger = make_ledger(Settings.load())
            print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
            missed = _lives(ledger, "empty ledger")
            _fill(ledger)
            missed |= _lives(ledger, f"beside {OTHERS:,} waiting and {OTHERS:,} ended")
            _look()
    return int(missed)


def _only_broker(plan: Plan) -> Sequence[Part]:
    return [broker_part(plan)]


def _lives(ledger: Ledger, where: str) -> bool:
    heart = Heart(ledger)
    redis_ms, worker_ms, submit_ms = [], [], []
    for _ in range(ROUNDS):
        jobs = [_job() for _ in range(LIVES)]
        before, start = _redis_cpu_s(ledger), time.process_time()
        for job in jobs:
            ledger.submit(job, lane=LANE)
        middle = time.process_time()
        for job in jobs:
            _live(ledger, heart, job)
        worker_ms.append(1000 * (time.process_time() - middle) / LIVES)
        submit_ms.append(1000 * (middle - start) / LIVES)
        redis_ms.append(1000 * (_redis_cpu_s(ledger) - before) / LIVES)
    redis, worker = statistics.median(redis_ms), statistics.median(worker_ms)
    print(f"\n{where}; per job, medians of {ROUNDS} × {LIVES} lives")
    print(f"Redis CPU         {redis:6.2f} ms   goal {GOAL_REDIS_MS:g}")
    print(f"worker CPU        {worker:6.2f} ms   goal {GOAL_WORKER_MS:g}")
    print(f"client CPU, submit{statistics.median(submit_ms):6.2f} ms")
    return redis > GOAL_REDIS_MS or worker > GOAL_WORKER_MS


def _job() -> Job:
    return new_job(find("predict"), {"input_file_name": "uploads/a.tif"})


def _live(ledger: Ledger, heart: Heart, job: Job) -> None:
    """What a worker tells the ledger of one image of five tiles."""
    claim = ledger.claim(job.id, stage_index=0)
    if claim is None:
        raise SystemExit("a job that was just submitted cannot be claimed")
    with heart.beating(claim, seconds=1800) as pulse:
        report = LedgerReporter(ledger, pulse)
        for name, status in STAGES.items():
            with report.stage(name, status):
                report.note(**{name: {"bytes": 1_000_000, "axes": "YX", "shape": [512, 512]}})
                if name == "predict":
                    for done in range(5):
                        report.progress(done + 1, 5)
                if name == "upload":
                    report.notes()
        ledger.finish(job.id, Status.DONE, {**report.unwritten(), **RESULT}, claim=claim)


def _fill(ledger: Ledger) -> None:
    """Write records of many jobs, and a message in the broker's list for each that waits."""
    settings = Settings.load()
    broker = redis_client(settings.broker_url).pipeline(transaction=False)
    for number in range(OTHERS):
        waits, ended = _job(), _job()
        ledger.submit(waits, lane=LANE)
        ledger.submit(ended, lane=LANE)
        ledger.finish(ended.id, Status.DONE, {})
        broker.lpush(f"{settings.broker_prefix}{LANE}", _message(waits.id))
        if number % 1000 == 999:
            broker.execute()


def _message(job_id: str) -> str:
    body = b64encode(json.dumps([[], {"job_id": job_id, "stop": 5}, {}]).encode()).decode()
    return json.dumps({"body": body, "headers": {"id": job_id, "task": "predict"}})


def _look() -> None:
    from kiosk_tasks.run.chain import app
    from kiosk_tasks.run.reaper import make_reaper

    reaper = make_reaper(app)
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        found = reaper.look()
        seconds.append(time.perf_counter() - start)
        if found.resent or found.taken:
            raise SystemExit(f"the reaper takes a backlog for a loss: {found}")
    print(f"\none look of the reaper {1000 * statistics.median(seconds):6.2f} ms, nothing re-sent")


def _redis_cpu_s(ledger: Ledger) -> float:
    info: dict[str, Any] = ledger.scripts.client.info("cpu")  # type: ignore[assignment]
    return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])


if __name__ == "__main__":
    sys.exit(main())
