"""`kiosk up --autoscale`: real workers come with the jobs and go after; no run is lost by it."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import redis
import tifffile

from kiosk_tasks.ledger import Record
from tests.conftest import wait_for
from tests.kiosk_up import Kiosk, kiosk_up

SAMPLE = Path(__file__).parents[2] / "samples" / "nuclei_512.tif"
MOST = 2
ENV = {
    "KIOSK_TARGET_DRAIN": "2",
    "KIOSK_SCALE_DOWN_WINDOW": "3",
    "KIOSK_LEASE": "15",
    "KIOSK_REAP_EVERY": "1",
}
LIMIT_S = 240.0


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kiosk]:
    folder = tmp_path_factory.mktemp("autoscale")
    with kiosk_up(folder, env=ENV, workers=MOST, options=["--autoscale"]) as running:
        yield running


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Pieces of the sample, of 128 to 512 px: work for longer than it takes to send other jobs."""
    folder, image = tmp_path_factory.mktemp("crops"), tifffile.imread(SAMPLE)
    paths = []
    for number in range(48):
        size, at = 128 << number % 3, 5 * number
        paths.append(folder / f"crop{number}.tif")
        tifffile.imwrite(paths[-1], image[at : at + size, at : at + size])
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The sample, under several names: one file is sent once, however often it is named."""
    folder = tmp_path_factory.mktemp("wholes")
    paths = [folder / f"whole{number}.tif" for number in range(10)]
    for path in paths:
        shutil.copy(SAMPLE, path)
    return [str(path) for path in paths]


def submit(kiosk: Kiosk, job_type: str, images: Sequence[str]) -> list[str]:
    done = kiosk.run("submit", job_type, *images)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def records(kiosk: Kiosk, jobs: Sequence[str]) -> list[Record]:
    with redis.Redis.from_url(kiosk.values["KIOSK_LEDGER_URL"], decode_responses=True) as client:
        pipe = client.pipeline(transaction=False)
        for job in jobs:
            pipe.hgetall(f"kiosk:job:{job}")
        return [Record(job, fields) for job, fields in zip(jobs, pipe.execute(), strict=True)]


def all_ended(kiosk: Kiosk, jobs: Sequence[str]) -> bool:
    return all(record.status.terminal for record in records(kiosk, jobs))


def workers(kiosk: Kiosk) -> dict[str, psutil.Process]:
    """The workers that run: by part name, the leader of each."""
    found = {}
    for process in psutil.Process(int(kiosk.values["KIOSK_STACK_PID"])).children():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if match := re.search(r"kiosk_tasks\.run worker .* -n (\w+)-(\d+)@", line):
            found[f"worker {match[1]} {match[2]}"] = process
    assert len(found) <= MOST
    return found


def in_hand(kiosk: Kiosk, worker: str) -> str:
    """Return a job that a worker has taken and not ended, by its log; "" if there is none."""
    (log,) = (kiosk.home / "run").glob(f"*/{worker.replace(' ', '-')}.log")
    text = log.read_text("utf-8")
    taken = re.findall(r"Task \w+\[(\w+)\] received", text)
    ended = re.findall(r"Task \w+\[(\w+)\] succeeded", text)
    return next((job for job in taken if job not in ended), "")


def test_workers_come_and_go_and_no_run_is_ended_by_it(scaled: Kiosk, crops: list[str]) -> None:
    assert workers(scaled) == {}
    jobs = submit(scaled, "predict", crops)
    wait_for(lambda: len(workers(scaled)) == MOST, limit_s=LIMIT_S, what="two workers")
    wait_for(lambda: in_hand(scaled, "worker predict 2"), limit_s=LIMIT_S, what="both at work")
    jobs += submit(scaled, "spot", crops[:12])  # for which a worker must go that is busy
    wait_for(lambda: all_ended(scaled, jobs) or not workers(scaled), limit_s=LIMIT_S)
    ways = {
        (str(r.status), r.attempts, r.retries, r.fields.get("sent_again"))
        for r in records(scaled, jobs)
    }
    assert ways == {("done", 1, 0, None)}
    wait_for(lambda: not workers(scaled), limit_s=LIMIT_S, what="no worker")
    said = scaled.log.read_text()
    first, _, rest = said.partition("predict: 0 → 2 workers, ")
    assert "ready at" in first
    assert re.match(r"\d+ jobs wait, about \d+ s of work\n", rest)
    assert "predict: 2 → 1 worker, " in rest
    assert "spot: 0 → 1 worker, " in rest
    assert rest.count("→ 0 workers, no job is open") == 2
    assert "put back" not in said
    examined = scaled.run("doctor").stdout
    assert "queue predict has no worker now; one is started when a job comes" in examined
    assert "no worker consumes" not in examined


def test_a_worker_that_is_killed_is_replaced_and_its_job_done(
    scaled: Kiosk, wholes: list[str]
) -> None:
    jobs = submit(scaled, "predict", wholes)
    wait_for(lambda: len(workers(scaled)) == MOST, limit_s=LIMIT_S, what="two workers")
    process = workers(scaled)["worker predict 1"]
    job = wait_for(lambda: _caught(scaled, process), limit_s=LIMIT_S, what="a job in its hands")
    process.kill()
    wait_for(lambda: all_ended(scaled, jobs), limit_s=LIMIT_S, what="all jobs ended")
    ended = records(scaled, jobs)
    assert {str(record.status) for record in ended} == {"done"}
    assert {record.id: record.attempts for record in ended} == {j: 1 + (j == job) for j in jobs}
    said = scaled.log.read_text()
    after = said.partition("The worker predict 1 was ended by SIGKILL.")[2]
    assert "predict: 1 → 2 workers" in after
    assert psutil.wait_procs([process], timeout=10)[1] == []


def test_ctrl_c_leaves_no_process(scaled: Kiosk, wholes: list[str]) -> None:
    submit(scaled, "predict", wholes)
    wait_for(lambda: len(workers(scaled)) == MOST, limit_s=LIMIT_S, what="two workers")
    wait_for(lambda: in_hand(scaled, "worker predict 2"), limit_s=LIMIT_S, what="a job in hand")
    stack = psutil.Process(int(scaled.values["KIOSK_STACK_PID"]))
    family = [stack, *stack.children(recursive=True)]
    assert len(family) > 2 * MOST
    os.kill(stack.pid, signal.SIGINT)
    wait_for(lambda: not any(map(_runs, family)), limit_s=LIMIT_S, what="all processes gone")
    assert "Traceback" not in scaled.log.read_text()


def _caught(kiosk: Kiosk, worker: psutil.Process) -> str:
    """Stop a worker in its tracks; return the job that it runs, or let it go on."""
    family = [worker, *worker.children()]
    for process in family:
        process.suspend()
    job = in_hand(kiosk, "worker predict 1")
    if job and not records(kiosk, [job])[0].status.terminal and records(kiosk, [job])[0].attempts:
        return job
    for process in family:
        process.resume()
    return ""


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
