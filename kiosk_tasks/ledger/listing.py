"""The newest jobs, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.ledger.ledger import Ledger
from kiosk_tasks.ledger.records import Record
from kiosk_tasks.redis_clients import mapped_broker_errors

__all__ = ["Page", "newest"]


@dataclass(frozen=True)
class Page:
    """Some records, newest first; no children.

    before: what the next page is asked for with; None if there is none.
    """

    records: list[Record]
    before: str | None


def newest(ledger: Ledger, count: int, *, before: str = "") -> Page:
    """Return the newest jobs of those submitted before a moment.

    before: a page's `before`, or a time as ISO 8601; empty: from the newest on.
    Raises InvalidParameter.
    """
    found: list[Record] = []
    limit = f"({_score(before)}" if before else "+inf"
    while True:
        wanted = count - len(found)
        with mapped_broker_errors():
            rows: Any = ledger.scripts.client.zrevrangebyscore(
                ledger.scripts.key("jobs"), limit, "-inf", start=0, num=wanted, withscores=True
            )
        found += ledger.records([job_id for job_id, _ in rows])  # some may have expired
        if len(rows) < wanted:
            return Page(found, None)
        last = repr(float(rows[-1][1]))
        if len(found) == count:
            return Page(found, last)
        limit = f"({last}"


def _score(before: str) -> str:
    """Return the moment in seconds since 1970, by which jobs are sorted."""
    try:
        if before.replace(".", "", 1).isdecimal():
            return repr(float(before))
        moment = datetime.fromisoformat(before)
        return repr((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise InvalidParameter(
            f"before is {before!r}, but should be a time such as 2026-01-31T12:00:00Z."
        ) from None
