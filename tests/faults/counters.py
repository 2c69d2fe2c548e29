"""Whether the ledger's counters say what its records say, when all jobs have ended."""

from __future__ import annotations

from typing import Any

from kiosk_tasks.ledger import Ledger, LostJobs

__all__ = ["drift"]


def drift(ledger: Ledger) -> list[str]:
    """Return each counter that tells of an open job where there is none."""
    client, key = ledger.scripts.client, ledger.scripts.key
    wrong: list[str] = []
    load: Any = client.hgetall(key("load"))
    wrong += [
        f"I7 {name} counts {count} of open jobs" for name, count in load.items() if count != "0"
    ]
    for lane in LostJobs(ledger).lanes():
        queue = lane.partition(":")[0]
        for name in (f"waiting:{lane}", f"running:{queue}"):
            left: Any = client.zrange(key(name), 0, -1)
            wrong += [f"I7 {name} holds {job}" for job in left]
    taken, ended = (_sum(ledger, name) for name in ("submitted", "ended"))
    if taken != ended:
        wrong.append(f"I7 {taken} jobs were submitted, {ended} have ended")
    return wrong


def _sum(ledger: Ledger, name: str) -> int:
    counts: Any = ledger.scripts.client.hvals(ledger.scripts.key(name))
    return sum(map(int, counts))
