"""One look at the ledger: all numbers of one moment, or soon the news that there are none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import redis

from kiosk_tasks.errors import BrokerUnavailable
from kiosk_tasks.ledger import Ledger
from kiosk_tasks.ledger.numbers import Numbers
from kiosk_tasks.ledger.tallies import KEY
from kiosk_tasks.queues import QueueState, model_servers_wanted, numbers_of, states_of
from kiosk_tasks.redis_clients import mapped_broker_errors, redis_client
from kiosk_tasks.scaling import Policy
from kiosk_tasks.settings import Settings

__all__ = ["Goals", "Snapshot", "Source", "queues_json", "source_of"]

_PATIENCE_S = 1.0
"""How long a server may take to connect, and to answer."""
_LIMIT_S = 1.8
"""How long a look may take whatever happens: finding the server's address has no limit."""


@dataclass(frozen=True)
class Goals:
    """What is wanted of workers and model servers.

    policy_of: of a queue. drain_s: seconds in which model servers should have made all predictions.
    most_servers: model servers there may be.
    """

    policy_of: Callable[[str], Policy]
    drain_s: float
    most_servers: int


@dataclass(frozen=True)
class Snapshot:
    """What one look has found.

    numbers: exact, and all of one moment. states: the same by queue, with the workers wanted.
    most_workers: that each queue may have.
    tallies: what workers have counted, a second later or so.
    """

    numbers: Numbers
    states: Sequence[QueueState]
    most_workers: Mapping[str, int]
    model_servers_wanted: int
    tallies: Mapping[str, str]


class Source:
    """Looks when it is asked; those who ask while it looks share the answer."""

    def __init__(
        self,
        ledger: Ledger,
        queues: Sequence[str],
        *,
        goals: Goals,
        broker: redis.Redis | None = None,
    ) -> None:
        """ledger, broker: with clients that give up soon. broker: None if it is the ledger's."""
        self._ledger, self._broker = ledger, broker
        self._queues, self._goals = queues, goals
        self._lock = threading.Lock()
        self._running: Future[Snapshot] | None = None

    def look(self) -> Snapshot:
        """Return what there is now, or raise BrokerUnavailable or BrokerRefuses within 2 s."""
        with self._lock:
            running = self._running
            if running is None:
                running = self._running = Future()
                threading.Thread(
                    target=self._answer, args=(running,), name="metrics", daemon=True
                ).start()
        try:
            return running.result(timeout=_LIMIT_S)
        except TimeoutError:
            raise BrokerUnavailable("the broker does not answer in time.") from None

    def close(self) -> None:
        """Close the connections."""
        for client in (self._ledger.scripts.client, self._broker):
            if client is not None:
                client.close()

    def _answer(self, running: Future[Snapshot]) -> None:
        try:
            found = self._ask()
        except Exception as exc:  # raised again where somebody waits for it
            self._forget()
            running.set_exception(exc)
        else:
            self._forget()
            running.set_result(found)

    def _forget(self) -> None:
        with self._lock:
            self._running = None

    def _ask(self) -> Snapshot:
        numbers = numbers_of(self._ledger, self._queues)
        with mapped_broker_errors():
            client = self._ledger.scripts.client
            tallies: Any = client.hgetall(self._ledger.scripts.key(KEY))
            if self._broker is not None:
                self._broker.ping()
        states = states_of(numbers, self._goals.policy_of)
        servers = model_servers_wanted(
            states, target_drain_s=self._goals.drain_s, most=self._goals.most_servers
        )
        most = {queue: self._goals.policy_of(queue).most for queue in self._queues}
        return Snapshot(numbers, states, most, servers, tallies)


def source_of(settings: Settings, queues: Sequence[str]) -> Source:
    """Return the source for the ledger that settings name."""

    def client(url: str) -> redis.Redis:
        return redis_client(url, **settings.way_to(url), timeout_s=_PATIENCE_S, retries=0)

    ledger_url, broker_url = settings.records_url, settings.broker_url
    return Source(
        Ledger(client(ledger_url), prefix=settings.key_prefix, expires_s=settings.record_expires_s),
        queues,
        goals=Goals(settings.policy, settings.model_drain_s, settings.max_model_servers),
        broker=client(broker_url) if broker_url != ledger_url else None,
    )


def queues_json(found: Snapshot) -> dict[str, Any]:
    """Return the snapshot for autoscalers that read JSON, such as KEDA's `metrics-api`."""
    return {
        "queues": {
            state.queue: {
                "waiting": state.waiting,
                "in_flight": state.in_flight,
                "oldest_wait_seconds": round(state.oldest_wait_s, 3),
                "outstanding_seconds": round(state.outstanding_s, 3),
                "model_seconds": round(state.model_s, 3),
                "wanted_workers": state.wanted_workers,
            }
            for state in found.states
        },
        "model_servers_wanted": found.model_servers_wanted,
    }
