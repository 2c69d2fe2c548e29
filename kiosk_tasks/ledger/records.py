"""What a job's record says, and the right to write it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kiosk_tasks.job import Job, Status

__all__ = ["OF_CHILDREN", "OLD_NAMES", "Claim", "Record", "new_fields", "now", "time_field"]

_OLD_TIME_FIELDS = {"predict": "prediction_time"}
OLD_NAMES = {
    **{"unpack": "children_upload_time", "pack_results": "cleanup_time"},
    **{"split": "prediction_time", "link_cells": "postprocess_time"},
}
"""Under which name, beside its own, older clients read the seconds of a stage."""
OF_CHILDREN = (
    *("download_time", "prediction_time", "postprocess_time", "upload_time"),
    *("predict_retries", "dim_order"),
)
"""Fields of a job that are lists in the record of an archive, an entry for each child."""


def time_field(stage: str) -> str:
    """Return the record's field for a stage's seconds, under the name that older clients read."""
    return _OLD_TIME_FIELDS.get(stage, f"{stage}_time")


@dataclass(frozen=True)
class Record:
    """One job's record as it was read."""

    id: str
    fields: Mapping[str, str]

    @property
    def status(self) -> Status:
        """What has become of the job."""
        return Status(self.fields["status"])

    @property
    def progress(self) -> int:
        """Percent, 0 to 100."""
        return int(self.fields.get("progress") or 0)

    @property
    def attempts(self) -> int:
        """How many runs of the present link have begun and not ended in order."""
        return int(self.fields.get("attempts") or 0)

    @property
    def retries(self) -> int:
        """How often the present link was put back after an error that may pass."""
        return int(self.fields.get("retries") or 0)

    @property
    def payload(self) -> dict[str, Any]:
        """The submission: source and parameters, as the client gave them."""
        fields: dict[str, Any] = json.loads(self.fields["params"])
        return fields

    def notes(self) -> dict[str, Any]:
        """The facts that the job's stages noted."""
        prefix = "note:"
        return {
            name.removeprefix(prefix): json.loads(value)
            for name, value in self.fields.items()
            if name.startswith(prefix)
        }

    def seconds(self) -> dict[str, float]:
        """Seconds of each stage that is done, by the stage's name."""
        stage_of = {field: stage for stage, field in _OLD_TIME_FIELDS.items()}
        others = {old for stage, old in OLD_NAMES.items() if time_field(stage) in self.fields}
        others.add("total_time")
        if self.fields.get("job_type", "").endswith("-zip"):
            others.update(OF_CHILDREN)
        return {
            stage_of.get(name, name.removesuffix("_time")): float(value)
            for name, value in self.fields.items()
            if name.endswith("_time") and name not in others
        }


@dataclass(frozen=True)
class Claim:
    """The right to write a job's record, until another run claims it.

    token: names this run; every write is checked against it.
    record: as it stood when the claim was made.
    exhausted: as many runs as allowed have died; the job is only to be ended.
    waited_s: seconds since its message was sent; None if this run is not the first to get it.
    """

    job_id: str
    token: str
    record: Record
    exhausted: bool = False
    waited_s: float | None = None


def now() -> str:
    """Return the time as ISO 8601, UTC."""
    return datetime.now(UTC).isoformat()


def new_fields(job: Job, *, mirror: str) -> dict[str, str]:
    """Return the fields of a record that nothing has happened to."""
    fields = {
        "original_name": job.source.name,
        "input_file_name": job.source.input_file_name,
        "model_name": job.params.model_name or "",
        "model_version": str(job.params.model_version or ""),
        "job_type": job.type_name,
        "params": json.dumps(
            {
                **job.source.model_dump(exclude_defaults=True),
                **job.params.model_dump(exclude_defaults=True, mode="json"),
            }
        ),
        "status": Status.NEW,
        "progress": "0",
        "stage_index": "0",
        "attempts": "0",
        "created_at": job.created_at,
        "updated_at": job.created_at,
    }
    if job.input_bytes is not None:
        fields["input_bytes"] = str(job.input_bytes)
    if job.files is not None:
        fields["files"] = str(job.files)
    return {**fields, "mirror": mirror} if mirror else fields
