"""300 jobs drain while Prometheus scrapes: every recorded number is what was true at that moment.

Real processes all: broker, workers, the exporter under its own user, redis_exporter with the script
that comes with the chart, Flower, Prometheus. What was true is rebuilt from the server's own log of
commands, without the ledger's counters (`ledger_truth.py`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from kiosk_tasks.broker_users import BrokerKeys, broker_users
from tests.conftest import wait_for
from tests.faults.client import Client, client_of
from tests.faults.fleet import Fleet, Kind
from tests.faults.site import ROOT, Site, new_site
from tests.faults.valkey import Valkey
from tests.ledger_truth import Counts, Watch, watching
from tests.ports import free_port
from tests.processes import child
from tests.prometheus import Prometheus, get, prometheus
from tests.security_site import ask
from tests.tools import tool

JOBS, LONG = 300, 2
SCRIPT = ROOT / "helm/kiosk-tasks/files/queues.lua"
PASSWORD = "numbers-only"  # noqa: S105  # of a server that lives for this test
LOGIN = "lab:word-12345"
LIMIT_S = 120.0


@dataclass
class Flower:
    """A Flower that can be started anew; what it said of the queue, between two moments."""

    site: Site
    port: int = field(default_factory=free_port)
    said: list[tuple[float, float, int]] = field(default_factory=list)
    _life: ExitStack = field(default_factory=ExitStack)

    def begin(self) -> None:
        """Start it; `ready` waits for it."""
        command = [sys.executable, "-m", "kiosk_tasks", "flower", "--port", str(self.port)]
        env = self.site.process_env(KIOSK_FLOWER_AUTH=LOGIN)
        self._life.enter_context(child(command, log=self._log, env=env, cwd=self.site.folder))

    def ready(self) -> None:
        wait_for(
            lambda: ask(self.port, "/healthcheck"), limit_s=60, what=f"Flower, see {self._log}"
        )

    def stop(self) -> None:
        self._life.close()

    @property
    def _log(self) -> Path:
        return self.site.folder / "flower.log"

    def length(self) -> int:
        """Return how many messages it says that the queue has."""
        login = base64.b64encode(LOGIN.encode()).decode()
        before = time.time()
        text = get(self.port, "/api/queues/length", Authorization=f"Basic {login}")
        rows = {row["name"]: row["messages"] for row in json.loads(text)["active_queues"]}
        self.said.append((before, time.time(), rows["predict"]))
        return int(rows["predict"])

    def done(self) -> float:
        """Return how many tasks it has seen succeed, by its own metrics."""
        lines = get(self.port, "/metrics").splitlines()
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("flower_events_total{") and 'type="task-succeeded"' in line
        )


@dataclass(frozen=True)
class Drained:
    """What was recorded while the jobs ran, and what was true."""

    watch: Watch
    prometheus: Prometheus
    flower: Flower
    client: redis.Redis
    exporter_port: int
    at_the_tail: tuple[Counts, int, Mapping[str, Any]]
    events: tuple[float, float]

    def scrapes(self, moment: str, **selectors: str) -> list[tuple[Counts, dict[str, float]]]:
        """Return what was true and what was recorded, for each scrape.

        moment: selects the series that tells the moment by the server's clock.
        """
        # The moments first: Prometheus goes on, and a scrape between two queries would be torn.
        moments = sorted(self.prometheus.samples(moment).items())
        columns = {name: self._series(selector) for name, selector in selectors.items()}
        return [
            (self.watch.at(told), {name: one.get(at, 0) for name, one in columns.items()})
            for at, told in moments
        ]

    def _series(self, selector: str) -> dict[float, float]:
        """Return the samples; a counter is not there before it counts."""
        return self.prometheus.samples(selector)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("drain")
    for name in ("prometheus", "prometheus-redis-exporter"):
        tool(name)
    valkey = Valkey(folder / "valkey")
    valkey.start()
    yield new_site(folder, valkey, KIOSK_LEDGER_URL=valkey.url(0))
    valkey.stop()


@pytest.fixture(scope="module")
def drained(site: Site) -> Iterator[Drained]:
    folder, fleet, flower = site.folder, Fleet(site), Flower(site)
    ours, theirs = free_port(), free_port()
    with ExitStack() as stack:
        client = stack.enter_context(
            redis.Redis.from_url(site.valkey.url(0), decode_responses=True, socket_timeout=None)
        )
        let_exporter_in(client)
        stack.callback(fleet.stop)
        stack.callback(flower.stop)
        flower.begin()  # all of them start at the same time
        stack.enter_context(exporter(site, ours))
        stack.enter_context(redis_exporter(site, theirs))
        server = stack.enter_context(prometheus(folder, {"kiosk": ours, "redis": theirs}))
        fleet.want(2, Kind(children=2))
        flower.ready()
        wait_for(lambda: scraped(server) == 2, limit_s=60, what="both exporters are scraped")
        with watching(client) as watch, client_of(site) as jobs:
            drain(jobs, watch, flower)
            tail = end_with_long_ones(jobs, watch, flower, ours)
            wait_for(lambda: recorded(server) == JOBS + LONG, limit_s=LIMIT_S, what="last scrape")
            before = wait_for(
                lambda: (done := flower.done()) >= JOBS + LONG and done,
                limit_s=LIMIT_S,
                what="Flower saw all",
            )
            flower.stop()
            flower.begin()
            flower.ready()
        yield Drained(watch, server, flower, client, ours, tail, (before, flower.done()))


def drain(jobs: Client, watch: Watch, flower: Flower) -> None:
    for number in range(JOBS):
        jobs.submit("fault", number=number, seconds=0.08, steps=1)
        if number % 50 == 0:
            flower.length()
    end = time.monotonic() + LIMIT_S
    while watch.now.ended < JOBS and time.monotonic() < end:
        flower.length()
        time.sleep(0.1)  # the rhythm of a scaler, only faster
    assert watch.now.ended == JOBS


def end_with_long_ones(
    jobs: Client, watch: Watch, flower: Flower, port: int
) -> tuple[Counts, int, Mapping[str, Any]]:
    """Return what was true, what Flower and what the exporter said while no job waited."""
    for number in range(LONG):
        jobs.submit("fault", number=number, seconds=3, steps=30)
    wait_for(lambda: watch.now.in_flight == LONG, limit_s=30, what="both run")
    told = json.loads(get(port, "/queues.json"))
    found = (watch.now, flower.length(), told["queues"]["predict"])
    wait_for(lambda: watch.now.ended == JOBS + LONG, limit_s=LIMIT_S, what="they end")
    return found


def scraped(server: Prometheus) -> int:
    """Return how many of its targets the server has reached at the last try."""
    return len(server.query("up == 1"))


def recorded(server: Prometheus) -> float:
    """Return how many stages are in the histograms by Prometheus' account, by the least of them."""
    rows = server.query("kiosk_stage_seconds_count")
    return min((float(row["value"][1]) for row in rows), default=0)


def let_exporter_in(client: redis.Redis) -> None:
    """Make the exporter's user, as `kiosk acl` does."""
    users = {user.component: user for user in broker_users(BrokerKeys("kiosk:", "kiosk:v1:"))}
    line = users["exporter"].line(hashlib.sha256(PASSWORD.encode()).hexdigest())
    assert client.execute_command("ACL", "SETUSER", *line.split()[1:])  # type: ignore[no-untyped-call]


def exporter(site: Site, port: int) -> Any:
    url = f"redis://kiosk-exporter:{PASSWORD}@127.0.0.1:{site.valkey.port}/0"
    env = site.process_env(KIOSK_BROKER_URL=url, KIOSK_LEDGER_URL=url)
    command = [sys.executable, "-m", "kiosk_tasks", "exporter", "--port", str(port)]
    return child(command, log=site.folder / "exporter.log", env=env, cwd=site.folder)


def redis_exporter(site: Site, port: int) -> Any:
    command = [
        str(tool("prometheus-redis-exporter")),
        *("-redis.addr", site.valkey.url(0), "-redis.user", "kiosk-exporter"),
        *("-redis.password", PASSWORD, "-script", str(SCRIPT), "-config-command", "-"),
        *("-web.listen-address", f"127.0.0.1:{port}"),
    ]
    return child(command, log=site.folder / "redis-exporter.log", cwd=site.folder)


def of(queue: str, what: str) -> str:
    return f'redis_script_values{{key="{queue}{what}"}}'


def test_exporters_numbers_are_true_at_every_scrape(drained: Drained) -> None:
    scrapes = drained.scrapes(
        "kiosk_ledger_time_seconds",
        waiting='kiosk_queue_waiting{queue="predict"}',
        in_flight='kiosk_queue_in_flight{queue="predict"}',
        ended='kiosk_jobs_ended_total{job_type="fault",status="done"}',
        submitted='kiosk_jobs_submitted_total{job_type="fault"}',
    )
    for true, told in scrapes:
        assert told == true.__dict__
        assert told["waiting"] + told["in_flight"] + told["ended"] == told["submitted"]
    busy = [true for true, _ in scrapes if true.waiting and true.in_flight]
    assert len(busy) >= 12, f"{len(scrapes)} scrapes, of which {len(busy)} saw a queue at work"
    assert scrapes[-1][0] == Counts(0, 0, JOBS + LONG, JOBS + LONG)
    print(f"{len(scrapes)} scrapes exact, {len(busy)} of a queue at work")  # noqa: T201


def test_redis_exporter_with_the_script_agrees(drained: Drained) -> None:
    scrapes = drained.scrapes(
        of("ledger_time", ""),
        waiting=of("predict", ":queued"),
        in_flight=of("predict", ":inflight"),
        ended=of("ended", ""),
        submitted=of("submitted", ""),
        whole=of("predict", ""),
    )
    for true, told in scrapes:
        assert told.pop("whole") == true.waiting + true.in_flight  # what the old Kiosk's gave
        assert told == true.__dict__
    busy = [true for true, _ in scrapes if true.waiting and true.in_flight]
    assert len(busy) >= 12
    print(f"{len(scrapes)} scrapes exact, {len(busy)} of a queue at work")  # noqa: T201


def test_oldest_run_is_the_one_that_was_claimed_first(drained: Drained) -> None:
    since = drained.prometheus.samples(of("predict", ":oldest_inflight_ts"))
    moments = drained.prometheus.samples(of("ledger_time", ""))
    claims = sorted(drained.watch.claimed_at.values())
    seen = [(moments[at], told) for at, told in since.items() if told]
    assert seen
    for moment, told in seen:
        assert told <= moment
        assert min(abs(told - claim) for claim in claims) < 0.05  # the log's clock runs a bit late


def test_waiting_and_stages_are_in_the_histograms(drained: Drained) -> None:
    def last(selector: str) -> float:
        return float(drained.prometheus.query(selector)[0]["value"][1])

    watch = drained.watch
    waited = sum(at - watch.submitted_at[job] for job, at in watch.claimed_at.items())
    assert last('kiosk_job_wait_seconds_count{queue="predict"}') == JOBS + LONG
    assert last('kiosk_job_wait_seconds_sum{queue="predict"}') == pytest.approx(
        waited, abs=0.01 * (JOBS + LONG)
    )
    for stage in ("download", "predict", "upload"):
        labels = f'{{job_type="fault",stage="{stage}"}}'
        assert last(f"kiosk_stage_seconds_count{labels}") == JOBS + LONG
    slow = 'kiosk_stage_seconds_bucket{job_type="fault",stage="predict",le="2.5"}'
    assert last(slow) == JOBS  # all but the long ones


def test_exporter_may_do_what_it_must(drained: Drained) -> None:
    """Of what redis_exporter tries besides, the slow log alone is refused: it quotes commands."""
    refused = {entry["object"] for entry in drained.client.acl_log()}
    assert refused <= {"slowlog|get", "slowlog|len"}


def test_flower_tells_the_length_and_misses_what_runs(drained: Drained) -> None:
    """It is a second source for what waits; a job that runs is in none of its numbers."""
    for before, after, told in drained.flower.said:
        possible = [one.waiting for one in drained.watch.most(before, after)]
        # a message is sent after its record is written, and taken before the claim is
        assert min(possible) - 5 <= told <= max(possible) + 5
    true, flower, ours = drained.at_the_tail
    assert true == Counts(0, LONG, JOBS, JOBS + LONG)
    assert flower == 0, "a scaler that asks Flower alone would end the workers now"
    assert (ours["waiting"], ours["in_flight"]) == (0, LONG)
    assert ours["wanted_workers"] >= 1


def test_flower_forgets_what_was_when_it_is_started_anew(drained: Drained) -> None:
    before, after = drained.events
    assert before >= JOBS + LONG
    assert after == 0
    again = get(drained.exporter_port, "/metrics")
    ended = f'kiosk_jobs_ended_total{{job_type="fault",status="done"}} {JOBS + LONG}.0'
    assert ended in again
