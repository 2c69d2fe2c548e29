"""Disks that are full, and a bucket at S3 that answers when it likes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from kiosk_tasks.storage import from_url
from tests.faults.client import client_of
from tests.faults.fleet import Fleet, Kind, Reaper
from tests.faults.hostile import SOUND, Input, lay_out
from tests.faults.scenario import Scenario
from tests.faults.site import Site, new_site
from tests.faults.valkey import Valkey
from tests.http_faults import Answer, Cut, CutAnswer, Fault, FaultyProxy, LoseAnswer, Request
from tests.s3_server import bucket_url, s3_server
from tests.unit.imaging.files import tiff

Size = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Place:
    """A site with a fleet of its own, and how a scenario on it begins: number, fault in words."""

    site: Site
    fleet: Fleet
    begin: Callable[[str, str], Scenario]


@pytest.fixture
def open_site(fleet: Fleet) -> Iterator[Callable[[Site], Place]]:
    """Return a function that starts a reaper for a site; all that is started ends with the test."""
    fleet.want(0)  # of the shared site: two cores
    with ExitStack() as stack:

        def start(site: Site) -> Place:
            own, reaper = Fleet(site), Reaper(site)
            stack.callback(reaper.stop)
            stack.callback(own.stop)
            stack.callback(reaper.check)
            client = stack.enter_context(client_of(site))

            def begin(fault: str, what: str) -> Scenario:
                scenario = Scenario(fault, what, client)
                stack.callback(scenario.abandon)
                return scenario

            return Place(site, own, begin)

        yield start


class Disk:
    """A file system of its own in memory; it can be filled, and freed again."""

    def __init__(self, folder: Path, *, size_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ballast = folder / "ballast"
        self._folder = folder
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
        if sys.platform != "linux" or subprocess.run(command, check=False).returncode:
            pytest.skip("mounting a small file system needs root on Linux")

    def fill(self) -> None:
        """Leave not one block."""
        self._ballast.write_bytes(bytes(shutil.disk_usage(self._folder).free))
        assert shutil.disk_usage(self._folder).free == 0

    def free(self) -> None:
        self._ballast.unlink()

    def unmount(self) -> None:
        subprocess.run(["umount", str(self._folder)], check=True)


@pytest.fixture
def disk_of(tmp_path: Path) -> Iterator[Callable[[str, int], Disk]]:
    """Return a function that puts a folder of the site on a disk of so many bytes."""
    with ExitStack() as stack:

        def mount(folder: str, size_bytes: int) -> Disk:
            disk = Disk(tmp_path / "site" / folder, size_bytes=size_bytes)
            stack.callback(disk.unmount)
            return disk

        yield mount


MakeDisk = Callable[[str, int], Disk]
Open = Callable[[Site], Place]


def test_f13_scratch_disk_full(
    server: Valkey, tmp_path: Path, disk_of: MakeDisk, open_site: Open, size: Size
) -> None:
    """Jobs wait until there is space; one that never fits is given up; nothing stays behind."""
    retries = size(3, 4)  # after pauses of 1, 2, 4 and 8 s, or half of that
    site = new_site(tmp_path / "site", server, database=4, KIOSK_MAX_RETRIES=str(retries))
    space = size(2**20, 2**26)
    disk = disk_of("scratch", space)
    place = open_site(site)
    noise = np.random.default_rng(13).integers(0, 2**16, space, np.uint16).reshape(2**9, -1)
    huge = Input("huge.tif", lambda: tiff(noise))
    lay_out([*SOUND, huge], site.bucket)
    place.fleet.want(1)
    scenario = place.begin("F13", "scratch on a disk that is full, then has space")
    disk.fill()
    jobs = [
        job
        for number in range(size(10, 50))
        for job in scenario.submit(job_type="file", **SOUND[number % len(SOUND)].job)
    ]
    _wait_for_retries(scenario, jobs)
    scenario.fault(len(jobs))
    disk.free()
    bad = scenario.submit(job_type="file", **huge.job)
    scenario.submit(size(10, 50), job_type="file", **SOUND[0].job)
    scenario.finish(failed=bad, limit_s=60)
    _check_given_up(scenario, bad, retries)


def test_f13_bucket_disk_full(
    server: Valkey, tmp_path: Path, disk_of: MakeDisk, open_site: Open, size: Size
) -> None:
    disk = disk_of("bucket", size(2**20, 2**26))
    retries = size(3, 4)
    site = new_site(tmp_path / "site", server, database=6, KIOSK_MAX_RETRIES=str(retries))
    place = open_site(site)
    place.fleet.want(1)
    scenario = place.begin("F13", "ENOSPC on upload, until retries are used up or not")
    disk.fill()
    bad = scenario.submit(size(3, 50))
    scenario.fault(len(bad))
    scenario.wait_more(len(bad))
    jobs = scenario.submit(size(10, 50))
    _wait_for_retries(scenario, jobs)
    scenario.fault(len(jobs))
    disk.free()
    scenario.submit(size(10, 50))
    scenario.finish(failed=bad, limit_s=60)
    _check_given_up(scenario, bad, retries)


def _wait_for_retries(scenario: Scenario, jobs: list[str]) -> None:
    """Wait until each of the jobs was put back once."""
    ledger = scenario.client.ledger
    scenario.wait(
        lambda: all(record.retries > 0 for record in ledger.records(jobs)),
        what="every job has met the full disk",
    )


def _check_given_up(scenario: Scenario, jobs: list[str], retries: int) -> None:
    for record in scenario.client.ledger.records(jobs):
        assert record.retries == retries
        assert "is full" in record.fields["reason"]
        assert "Free some space" in record.fields["reason"]


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real S3 server's URL."""
    with s3_server(tmp_path_factory.mktemp("fault-s3") / "log") as url:
        yield url


PART = 5 * 2**20
LONG = PART // 2048 * 2 + 1000  # output of three parts
SLOW_S = 0.5


def _error(code: str) -> Answer:
    return Answer(503, f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode())


class Weather:
    """What befalls every third request, and the middle of every upload in parts.

    count: requests so far that something befell. uploads: in parts, by their second one.
    """

    def __init__(self) -> None:
        self.count = 0
        self.uploads: set[str] = set()

    def __call__(self, request: Request) -> Fault | None:
        if "partNumber=2" in request.path and request.path not in self.uploads:
            self.uploads.add(request.path)
            self.count += 1
            return Cut(request.size // 2)
        if request.number % 3:
            return None
        self.count += 1
        middle = request.size // 2
        faults = (
            Answer(503),
            Cut(middle),
            _error("SlowDown"),
            None,
            LoseAnswer(),
            CutAnswer(100) if request.method == "GET" else Cut(middle),
        )
        fault = faults[self.count % len(faults)]
        if fault is None:
            time.sleep(SLOW_S)  # the network's
        return fault


@pytest.fixture
def proxy(s3: str) -> Iterator[FaultyProxy]:
    """What lies between the site and its bucket."""
    with FaultyProxy(s3, one_at_a_time=True) as one:
        yield one


@pytest.fixture
def at_s3(
    server: Valkey,
    tmp_path: Path,
    s3: str,
    proxy: FaultyProxy,
    monkeypatch: pytest.MonkeyPatch,
    open_site: Open,
) -> Place:
    """A site whose bucket is behind the proxy."""
    url = bucket_url(s3, monkeypatch, via=proxy.url, part_bytes=PART, attempts=3)
    site = new_site(tmp_path / "site", server, database=8, KIOSK_BUCKET=url)
    lay_out(SOUND, site.bucket)
    place = open_site(site)
    place.fleet.want(1, Kind(children=4))
    return place


def test_f14_s3_in_bad_weather(at_s3: Place, s3: str, proxy: FaultyProxy, size: Size) -> None:
    """First the SDK asks again, and that is enough; then nothing helps, and the jobs wait."""
    scenario = at_s3.begin("F14", "every third request to S3: 503, cut, slow, unheard")
    proxy.plan = weather = Weather()
    for number in range(size(24, 90)):
        scenario.submit(job_type="file", **SOUND[number % len(SOUND)].job)
    scenario.submit(size(3, 10), job_type="file", repeat=LONG, **SOUND[0].job)
    seen = _watch(scenario, s3)
    scenario.fault(weather.count)
    proxy.plan = lambda _: None
    scenario.finish()
    assert set(seen.values()) <= {2048, 2048 * LONG}
    assert len(weather.uploads) >= size(3, 10)
    # an upload may be left that could not even be given up; no one sees it, and it can go
    at_s3.site.bucket.remove_partials(-60)
    assert at_s3.site.bucket.remove_partials(-60) == 0

    scenario = at_s3.begin("F14", "S3 refuses every request, until all jobs wait")
    proxy.plan = lambda _: _error("SlowDown")
    jobs = scenario.submit(size(6, 20), job_type="file", **SOUND[0].job)
    _wait_for_retries(scenario, jobs)
    scenario.fault()
    proxy.plan = lambda _: None
    scenario.finish()


def _watch(scenario: Scenario, s3: str) -> dict[str, int]:
    """Look at the outputs, past the proxy, until all jobs have ended; return sizes by key."""
    seen: dict[str, int] = {}
    address, _, _ = scenario.site.env["KIOSK_BUCKET"].partition("?")
    bucket = from_url(f"{address}?{urlencode({'endpoint': s3})}")
    end = time.monotonic() + 120
    while scenario.watcher.open_count() and time.monotonic() < end:
        for key in bucket.list("output/"):
            if key not in seen:
                seen[key] = bucket.size(key)
        time.sleep(0.2)  # between two looks
    return seen
