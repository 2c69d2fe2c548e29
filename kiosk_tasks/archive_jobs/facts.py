"""What is told of each of many files that one job has done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kiosk_tasks.archive_jobs.batches import Done
from kiosk_tasks.fan_out import child_id

__all__ = ["COUNTS", "old_facts", "told_of"]

COUNTS = ("cells", "nuclei", "tracks", "divisions", "spots")
"""Facts that a job may note of an input, and that are columns of the table over all inputs."""

_SECONDS = {
    "download_time": "download",
    "prediction_time": "predict",
    "postprocess_time": "postprocess",
    "upload_time": "upload",
}
"""Fields that older clients read of a file's job, and the stages whose seconds they are."""


def old_facts(facts: Mapping[str, Any], seconds: Mapping[str, float]) -> dict[str, str]:
    """Return what older clients read of a file's job.

    facts: that its stages noted. seconds: of its stages.
    """
    told = {name: f"{seconds[s]:.4f}" for name, s in _SECONDS.items() if s in seconds}
    axes = (facts.get("image") or {}).get("axes", "")
    return {**told, "predict_retries": "0", "dim_order": str(axes)}


def told_of(batch: str, done: Sequence[Done]) -> dict[str, str]:
    """Return fields of a batch's record: by "files:", what the archive's is to say of its files.

    batch: the id of its job, from which follow those that files would have.
    """
    ids = {True: list[str](), False: list[str]()}
    for number, one in enumerate(done):
        ids[not one.reason].append(child_id(batch, number))
    told = [one.told for one in done if not one.reason]
    lists = {name: ",".join(row.get(name, "") for row in told) for name in (told or [{}])[0]}
    fields = {"done": ",".join(ids[True]), "failed": ",".join(ids[False]), **lists}
    return {f"files:{name}": value for name, value in fields.items()}
