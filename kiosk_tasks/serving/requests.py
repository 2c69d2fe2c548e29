"""Which version of a model the client asks for."""

from __future__ import annotations

from collections.abc import Sequence

from kiosk_tasks.errors import ModelServerUnavailable, UnknownModel
from kiosk_tasks.serving.versions import VersionState, VersionStatus

__all__ = ["choose_version"]


def choose_version(name: str, version: int | None, statuses: Sequence[VersionStatus]) -> int:
    """Pick the version to use: the one asked for, or the newest that answers requests."""
    served = [entry.version for entry in statuses if entry.state is VersionState.AVAILABLE]
    if version is None and served:
        return max(served)
    if version in served:
        return version
    asked = [entry for entry in statuses if version in (None, entry.version)]
    if any(entry.state < VersionState.AVAILABLE for entry in asked):
        raise ModelServerUnavailable(f"model {name} is still being loaded.")
    which = f"model {name}" if version is None else f"model {name} version {version}"
    failed = next((entry.error for entry in reversed(asked) if entry.error), "")
    reason = f" It could not be loaded: {failed}" if failed else ""
    listed = ", ".join(str(entry) for entry in sorted(served)) or "none"
    raise UnknownModel(f"{which} is not served; served are {listed}.{reason}")
