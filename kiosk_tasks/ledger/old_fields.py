"""Fields of a record that only the old Kiosk's clients read, made of others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kiosk_tasks.ledger.records import OF_CHILDREN, OLD_NAMES, Record

__all__ = ["at_the_end", "of_children"]


def at_the_end(record: Record, notes: Mapping[str, Any]) -> dict[str, str]:
    """Return what such a client reads of a job that is done.

    record: as it was when the last run began. notes: all facts of the job, and its seconds.
    """
    told = {"predict_retries": str(record.retries)}
    axes = (notes.get("image") or {}).get("axes")
    if axes:
        told["dim_order"] = str(axes)
    seconds = notes.get("seconds", {})
    told |= {field: f"{seconds[s]:.4f}" for s, field in OLD_NAMES.items() if s in seconds}
    return {name: value for name, value in told.items() if name not in record.fields}


def of_children(done: Iterable[Record]) -> dict[str, str]:
    """Return the lists that such a client reads of an archive: a value for each file that is done.

    done: the children's records, in order. One that did many files has such lists itself.
    """
    rows = [record.fields for record in done]
    return {name: ",".join(_of_child(row, name) for row in rows) for name in OF_CHILDREN if rows}


def _of_child(row: Mapping[str, str], name: str) -> str:
    return row.get(f"files:{name}", row.get(name, ""))
