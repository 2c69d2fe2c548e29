"""What a doctor says of one thing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Finding", "wrong_or"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    ok: bool
    text: str


def wrong_or(wrong: Iterable[str], well: str) -> list[Finding]:
    """Return what is wrong, or that all is well."""
    found = [Finding(False, text) for text in wrong]
    return found or [Finding(True, well)]
