"""Submissions over HTTP while workers are busy: how long each takes, and whether any is lost.

`python -m benchmarks.web_load` starts `kiosk up` with one worker process, gives it jobs, and then
submits 200 small images at once, each over its own connection; five times. Who is refused (429,
503) comes back when told to, until all are accepted. It prints, for each round and as medians, how
many of the first 200 were accepted and refused, the 50th and 99th percentile of the time from
connecting to the whole answer (of the first 200, and of all), after how long the last was accepted,
the most attempts of one, and what became of the jobs: each must be done, once.

Then it follows 200 jobs at once and prints the processor time that takes. Goals: 99 % within
250 ms, none lost. Exit status 1 if one is missed.

    --rounds 5  --submissions 200  --workers 1  --paced 0  (seconds over which they are spread)
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
import tifffile

from kiosk_tasks.stack import running

GOAL_S = 0.25
BUSY_JOBS = 8
STREAM_S = 10.0
_BOUNDARY = "----kiosk-load"


@dataclass(frozen=True)
class Answer:
    """What came of one request; job: its id, if it was accepted; wait_s: when to come back."""

    status: int
    seconds: float
    job: str = ""
    wait_s: float = 0.0


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--submissions", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--paced", type=float, default=0.0)
    given = parser.parse_args()
    failed = False
    with stack(given.workers) as url:
        image = small_image()
        rows = []
        for number in range(given.rounds):
            begin_work(url, image)
            before = load()
            begun = time.perf_counter()
            tries = asyncio.run(burst(url, image, given.submissions, over_s=given.paced))
            took = time.perf_counter() - begun
            row = figures([first for first, *_ in tries])
            row |= {"all p99": figures([a for one in tries for a in one])["p99"], "last": took}
            row["most"] = float(max(map(len, tries)))
            jobs = [last.job for *_, last in tries]
            lost = not_done_once(url, jobs)
            failed |= bool(lost) or bool(row["other"])
            rows.append(row)
            print(f"round {number + 1}: {shown(row)} | not done once: {lost} | load {before:.1f}")
        medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        print(f"medians: {shown(medians)} | goal p99 {GOAL_S * 1000:.0f} ms")
        print(f"200 streams open: {streams(url, image):.1f} % of a core | load {load():.1f}")
    return int(failed or medians["p99"] > GOAL_S)


@contextmanager
def stack(workers: int) -> Iterator[str]:
    """Run `kiosk up` in a folder of its own; yields the service's URL."""
    with tempfile.TemporaryDirectory() as folder:
        home, log = Path(folder) / "home", Path(folder) / "log"
        argv = ["-m", "kiosk_tasks", "up", "--no-flower", "--workers", str(workers), "--port", "0"]
        env = {**os.environ, "KIOSK_HOME": str(home), "KIOSK_WEB_RATE": "0"}
        with log.open("wb") as out:
            process = subprocess.Popen([sys.executable, *argv], env=env, stdout=out, stderr=out)
        try:
            while not (values := running(home)):
                if process.poll() is not None:
                    raise SystemExit(log.read_text())
                time.sleep(0.1)
            yield values["KIOSK_URL"]
        finally:
            process.terminate()
            process.wait(60)


def small_image() -> bytes:
    """Return a TIFF of 128 × 128 pixels with a few round cells, 33 kB."""
    rows, columns = np.mgrid[:128, :128]
    pixels = np.random.default_rng(1).poisson(20, (128, 128)).astype(np.uint16)
    for y, x in ((30, 30), (30, 90), (90, 30), (90, 90), (60, 60)):
        pixels[(rows - y) ** 2 + (columns - x) ** 2 < 64] += 400
    file = BytesIO()
    tifffile.imwrite(file, pixels)
    return file.getvalue()


def begin_work(url: str, image: bytes, jobs: int = BUSY_JOBS) -> None:
    """Submit as many jobs as keep the worker busy while the burst lasts; wait until one runs."""
    with httpx.Client(base_url=url, trust_env=False) as http:
        ids = [
            http.post("/jobs/predict", files={"file": ("busy.tif", image)}).json()["id"]
            for _ in range(jobs)
        ]
        while http.get(f"/jobs/{ids[0]}").json()["status"] == "new":
            time.sleep(0.05)


async def burst(
    url: str, image: bytes, count: int, *, over_s: float = 0.0, job_type: str = "predict"
) -> list[list[Answer]]:
    """Submit at once, or spread evenly over some seconds; return the answers of each in turn."""
    head = f"--{_BOUNDARY}\r\nContent-Disposition: form-data; "
    body = f'{head}name="mpp"\r\n\r\n0.65\r\n{head}name="file"; filename="n.tif"\r\n\r\n'.encode()
    body += image + f"\r\n--{_BOUNDARY}--\r\n".encode()
    request = (
        f"POST /jobs/{job_type} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    pause = over_s / count
    calls = (_submit(urlsplit(url), request, after_s=pause * n) for n in range(count))
    return list(await asyncio.gather(*calls))


async def _submit(url: Any, request: bytes, *, after_s: float) -> list[Answer]:
    await asyncio.sleep(after_s)
    answers = [await _post(url, request)]
    while answers[-1].status in (429, 503):
        await asyncio.sleep(answers[-1].wait_s + np.random.default_rng().random())
        answers.append(await _post(url, request))
    return answers


async def _post(url: Any, request: bytes) -> Answer:
    begun = time.perf_counter()
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(request)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    seconds = time.perf_counter() - begun
    writer.close()
    status = int(head.split(b" ", 2)[1]) if head else 0
    job = json.loads(body)["id"] if status == 202 else ""
    wait = re.search(rb"(?i)\nretry-after: (\d+)", head)
    return Answer(status, seconds, job, wait_s=float(wait[1]) if wait else 0.0)


def figures(answers: list[Answer]) -> dict[str, float]:
    """Return counts by kind of answer, and percentiles of the time of all of them, seconds."""
    kinds = Counter(
        {202: "accepted", 429: "refused", 503: "refused"}.get(a.status, "other") for a in answers
    )
    times = sorted(answer.seconds for answer in answers)
    return {
        **{kind: float(kinds[kind]) for kind in ("accepted", "refused", "other")},
        "p50": times[len(times) // 2],
        "p99": times[min(len(times) - 1, round(0.99 * len(times)))],
    }


def shown(row: dict[str, float]) -> str:
    """Return a row as it is printed."""
    return (
        f"accepted {row['accepted']:.0f}, refused {row['refused']:.0f}, other {row['other']:.0f}"
        f" | p50 {row['p50'] * 1000:.0f} ms, p99 {row['p99'] * 1000:.0f} ms,"
        f" p99 of all {row['all p99'] * 1000:.0f} ms | all accepted after {row['last']:.1f} s,"
        f" at most {row['most']:.0f} attempts"
    )


def not_done_once(url: str, jobs: list[str]) -> int:
    """Wait until every job has ended; return how many are missing, doubled or not done."""
    with httpx.Client(base_url=url, trust_env=False) as http:
        while "running" in (left := open_jobs(http)) and sum(left.values()):
            time.sleep(0.5)
        done = Counter(
            one["id"]
            for one in http.get("/jobs", params={"limit": 500}).json()["jobs"]
            if one["status"] == "done" and http.get(one["urls"]["files"]).is_success
        )
    return len(jobs) - len(set(jobs)) + sum(done[job] != 1 for job in jobs)


def open_jobs(http: httpx.Client) -> dict[str, float]:
    """Return how many jobs wait and run, as the service tells Prometheus."""
    lines = (line for line in http.get("/metrics").text.splitlines() if "kiosk_jobs{" in line)
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


def streams(url: str, image: bytes) -> float:
    """Follow 200 jobs that wait; return the share of a core that the service takes, percent."""
    port = urlsplit(url).port
    (service,) = {
        process
        for process in psutil.process_iter(["cmdline"])
        if str(port) in (process.info["cmdline"] or []) and "web" in process.info["cmdline"]
    }

    async def follow(job: str, opened: asyncio.Semaphore) -> None:
        reader, writer = await asyncio.open_connection(urlsplit(url).hostname, port)
        host = urlsplit(url).netloc
        writer.write(f"GET /jobs/{job}/events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await reader.readuntil(b"data: ")
        opened.release()
        await reader.read()

    async def measure() -> float:
        jobs = [last.job for *_, last in await burst(url, image, 200, over_s=2.0)]
        opened = asyncio.Semaphore(0)
        following = [asyncio.create_task(follow(job, opened)) for job in jobs]
        for _ in following:
            await opened.acquire()
        before = service.cpu_times()
        await asyncio.sleep(STREAM_S)
        after = service.cpu_times()
        for task in following:
            task.cancel()
        return (after.user + after.system - before.user - before.system) / STREAM_S * 100

    return asyncio.run(measure())


def load() -> float:
    """Return the machine's load average of the last minute."""
    return os.getloadavg()[0]


if __name__ == "__main__":
    sys.exit(main())
