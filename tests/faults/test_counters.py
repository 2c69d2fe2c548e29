"""Numbers for autoscalers while workers are killed: true at every look, and back at 0."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from kiosk_tasks.ledger import Ledger
from kiosk_tasks.ledger.numbers import Numbers
from kiosk_tasks.queues import numbers_of
from tests.faults.conftest import Begin
from tests.faults.fleet import Fleet
from tests.faults.site import QUEUE, Site
from tests.ledger_truth import Counts, watching

pytestmark = pytest.mark.usefixtures("reaper")

Size = Callable[[Any, Any], Any]


@contextmanager
def looking(ledger: Ledger) -> Iterator[list[Numbers]]:
    """Look again and again in a thread, as several scrapers do."""
    seen: list[Numbers] = []
    last = threading.Event()

    def look() -> None:
        while not last.wait(0.02):
            seen.append(numbers_of(ledger, [QUEUE]))

    thread = threading.Thread(target=look, name="looking", daemon=True)
    thread.start()
    yield seen
    last.set()
    thread.join()
    ledger.scripts.client.close()


def counts(numbers: Numbers, before: Numbers) -> Counts:
    """Return what the ledger's counters say, without the jobs of earlier scenarios."""
    (queue,) = numbers.queues
    ended, submitted = (
        sum(now.values()) - sum(then.values())
        for now, then in (
            (numbers.ended, before.ended),
            (numbers.submitted, before.submitted),
        )
    )
    return Counts(queue.waiting, queue.in_flight, ended, submitted)


def test_f2_numbers_are_true_while_workers_are_killed(
    begin: Begin, fleet: Fleet, site: Site, size: Size
) -> None:
    workers = fleet.want(2)
    scenario = begin("F2", "SIGKILL, while somebody counts")
    before = numbers_of(scenario.client.ledger, [QUEUE])
    chance = random.Random(7)
    with (
        site.valkey.client() as client,
        watching(client) as watch,
        looking(scenario.client.new_ledger()) as seen,
    ):
        scenario.submit(size(50, 1000), seconds=0.2)
        for number in range(size(4, 80)):
            scenario.wait_more(size(5, 8))
            if number % 2:
                victim = chance.choice(fleet.workers)
                victim.wait_ready()
                victim.kill_tree()
                fleet.replace(victim)
            else:
                chance.choice([one for one in workers if one.alive]).kill_child(chance)
            scenario.fault()
        scenario.finish(limit_s=90, max_recovery_s=90)
    true = [watch.at(numbers.time_s) for numbers in seen]
    assert [counts(numbers, before) for numbers in seen] == true
    assert sum(bool(one.waiting and one.in_flight) for one in true) > 20
    assert max(watch.claims.values()) > 1, "no run was lost: the kills have hit nobody"
