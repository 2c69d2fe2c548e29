"""Settings of leases and scaling that contradict each other, and jobs that do not get on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kiosk_tasks import service
from kiosk_tasks.cli.finding import Finding, wrong_or
from kiosk_tasks.jobs import task_types
from kiosk_tasks.queues import QueueState, numbers_of, states_of
from kiosk_tasks.redis_clients import mapped_broker_errors
from kiosk_tasks.run.links import queue_names
from kiosk_tasks.scaling.pace import Pace
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import adapters

__all__ = ["examine_work"]

_LONG_S = 3600.0
"""A wait that people notice."""
_SCALER_S = 300.0
"""By then a scaler should have started a worker, also on a machine that had to be started."""
_MOST = 1000
_JOBS = 3
"""Ended jobs of a kind from which on their mean time says something."""


def examine_work(settings: Settings) -> list[Finding]:
    """Look at delivery, scaling, and what is open."""
    queues = queue_names(task_types(), settings.stage_queues)
    states = states_of(numbers_of(adapters().ledger, queues), settings.policy)
    return [
        *wrong_or(_delivery(settings), "leases, the broker's timeout and the reaper fit together"),
        *wrong_or(_scaling(settings, queues), "scaling settings fit queues and jobs"),
        *wrong_or(
            [*_lost(settings), *_waiting(settings, states)], "no job waits for what never comes"
        ),
    ]


def _delivery(settings: Settings) -> Iterator[str]:
    lease_s, hidden_s = settings.lease_s, settings.visibility_timeout_s
    if hidden_s < lease_s:
        yield (
            f"KIOSK_VISIBILITY_TIMEOUT ({hidden_s:g} s) is shorter than KIOSK_LEASE "
            f"({lease_s:g} s): jobs are given to a second worker while the first still has them; "
            "make it the longer one."
        )
    if settings.reap_every_s > lease_s:
        yield (
            f"KIOSK_REAP_EVERY ({settings.reap_every_s:g} s) is longer than KIOSK_LEASE "
            f"({lease_s:g} s): dead runs are found late; make it a quarter of the lease."
        )


def _scaling(settings: Settings, queues: tuple[str, ...]) -> Iterator[str]:
    for queue in sorted(settings.scaling.keys() - set(queues)):
        yield f"KIOSK_SCALING names the queue {queue}, which no job type has; remove or rename it."
    ledger = adapters().ledger.scripts
    with mapped_broker_errors():
        paces: Any = ledger.client.hgetall(ledger.key("pace"))
    for name, text in sorted(paces.items()):
        queue, _, kind = name.partition("|")
        pace = Pace.parse(text)
        drain_s = settings.policy(queue).target_drain_s
        if queue in queues and pace.n >= _JOBS and pace.s / pace.n > drain_s:
            yield (
                f"a job of the type {kind} takes {pace.s / pace.n:.0f} s on the queue {queue}, "
                f"and all that waits there should be done in {drain_s:g} s: every job wants a "
                'worker of its own; set KIOSK_TARGET_DRAIN or "drain" in KIOSK_SCALING higher.'
            )


def _lost(settings: Settings) -> Iterator[str]:
    ledger, patience_s = adapters().ledger.scripts, 30 + 2 * settings.reap_every_s
    with mapped_broker_errors():
        now_s = float(ledger.client.time()[0])
        silent: Any = ledger.client.zrangebyscore(
            ledger.key("leases"), "-inf", now_s - patience_s, start=0, num=_MOST
        )
    if silent:
        yield (
            f"{len(silent)} job(s) have run without a sign of life for longer than their lease, "
            "and nobody has sent them again; see whether `kiosk reap --every 15` runs, and its log."
        )


def _waiting(settings: Settings, states: list[QueueState]) -> Iterator[str]:
    late = [state for state in states if state.waiting and state.oldest_wait_s > _SCALER_S]
    consumed = service.consumers() if late else {}
    for state in late:
        who = consumed.get(state.queue, 0)
        limit_s = _LONG_S if who else _SCALER_S
        if state.oldest_wait_s > limit_s and (who or settings.autoscaled):
            cure = (
                "start more workers, or raise KIOSK_MAX_WORKERS"
                if who
                else "no worker has been started for it; see the scaler's log"
            )
            yield (
                f"a job has waited for {state.oldest_wait_s / 60:.0f} minutes on the queue "
                f"{state.queue}, {state.waiting} wait there for {who} worker(s): {cure}."
            )
