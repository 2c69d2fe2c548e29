"""Whether records have changed, for a tenth of what reading them costs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from kiosk_tasks.ledger.ledger import Ledger
from kiosk_tasks.ledger.records import Record
from kiosk_tasks.redis_clients import mapped_broker_errors

__all__ = ["Stamp", "stamp_of", "stamps"]

Stamp = tuple[str | None, ...]
"""It differs where a client would be shown another record."""

_FIELDS = ("status", "progress", "updated_at", "units_done")


def stamp_of(record: Record) -> Stamp:
    """Return the stamp of a record that was read."""
    return tuple(record.fields.get(name) for name in _FIELDS)


def stamps(ledger: Ledger, job_ids: Collection[str]) -> dict[str, Stamp]:
    """Return the stamps of these jobs in one round trip, without those that are gone."""
    pipe = ledger.scripts.client.pipeline(transaction=False)
    for job_id in job_ids:
        pipe.hmget(ledger.scripts.key(f"job:{job_id}"), _FIELDS)
    with mapped_broker_errors():
        rows: list[Any] = pipe.execute()
    return {i: tuple(row) for i, row in zip(job_ids, rows, strict=True) if row[0]}
