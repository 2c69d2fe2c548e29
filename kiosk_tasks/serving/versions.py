"""States of a model version, numbered as TensorFlow Serving's `ModelVersionStatus.State`."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["VersionState", "VersionStatus"]


class VersionState(enum.IntEnum):
    """Where a version is in its life."""

    UNKNOWN = 0
    START = 10  #: seen, not yet being loaded
    LOADING = 20
    AVAILABLE = 30  #: answers requests
    UNLOADING = 40
    END = 50  #: unloaded, or could not be loaded; then `error` says why


@dataclass(frozen=True)
class VersionStatus:
    """One version of a model, as its server reports it."""

    version: int
    state: VersionState
    error: str = ""
