"""How a job hands work to child jobs, and what it gets back.

A stage that fans out returns `FanOut`; the job then waits, holding no worker, and the stage after
it is run with `Gathered` once every child has ended, well or badly. It may return anything else
instead, where that is not worth it: then the stages after it follow at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import NAMESPACE_OID, uuid5

__all__ = ["Child", "FanOut", "Gathered", "Outcome", "child_id"]


def child_id(parent: str, number: int) -> str:
    """Return the id of a job's child: a second run of the stage submits the same children."""
    return uuid5(NAMESPACE_OID, f"{parent}/{number}").hex


@dataclass(frozen=True)
class Child:
    """A job to be submitted: its type, and its source and parameters as a client gives them.

    input_bytes: size of its input, where the stage that makes it knows.
    files: how many files of an archive it does; None for a job of one input.
    """

    type_name: str
    fields: Mapping[str, Any]
    input_bytes: int | None = None
    files: int | None = None


@dataclass(frozen=True)
class FanOut:
    """What a stage returns to have jobs done.

    keep: goes to the next stage, through the workspace.
    """

    children: tuple[Child, ...]
    keep: Any = None


@dataclass(frozen=True)
class Outcome:
    """What became of one child.

    reason: why it failed; empty if it is done.
    output: what its last stage gave (`output_file_name`, `output_url`); empty if it failed. It is
    there until the parent has ended.
    seconds: from its start to its end.
    """

    id: str
    name: str
    ok: bool
    reason: str = ""
    output: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Gathered:
    """What the stage after a fan-out gets; outcomes are in the order of the children."""

    keep: Any
    outcomes: tuple[Outcome, ...]
