"""What a server says of a job, as one record; and of a file of its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ResultFile", "State"]


@dataclass(frozen=True)
class State:
    """A job as the server told it last.

    progress: 0 to 100. units: (done, total) of what the job counts: tiles, frames or files.
    seconds: by stage. reason: why it failed. failures: of an archive, by file.
    """

    id: str
    type: str
    status: str
    ended: bool
    name: str = ""
    progress: int = 0
    units: tuple[int, int] | None = None
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None
    failures: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    user: str | None = None
    output_url: str | None = None

    @property
    def done(self) -> bool:
        """Whether it has ended well."""
        return self.status == "done"

    @property
    def archive(self) -> bool:
        """Whether it was an archive of images, and the result is one of results."""
        return self.type.endswith("-zip")

    @classmethod
    def parse(cls, told: Mapping[str, Any]) -> State:
        """Return the record of a server's JSON; what this client does not know is left out."""
        units = told.get("units")
        known = {
            name: told[name]
            for name in cls.__dataclass_fields__
            if name != "units" and told.get(name) is not None
        }
        pair = None if units is None else (int(units["done"]), int(units["total"]))
        return cls(**known, units=pair)


@dataclass(frozen=True)
class ResultFile:
    """A file of a result; `size` in bytes."""

    name: str
    size: int
    media_type: str = ""

    @classmethod
    def parse(cls, told: Mapping[str, Any]) -> ResultFile:
        """Return the record of a server's JSON."""
        return cls(str(told["name"]), int(told.get("bytes") or 0), told.get("media_type") or "")
