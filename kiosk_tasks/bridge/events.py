"""What a frontend's hash asks for, as a job."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from kiosk_tasks.archive_jobs import ARCHIVE_END
from kiosk_tasks.bridge.input_keys import bucket_key
from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.job import Job, JobType, new_job
from kiosk_tasks.jobs import find_for, job_types

__all__ = ["is_text", "job_id_of", "job_of", "queue_names", "queue_of"]

log = logging.getLogger(__name__)

UNDERSTOOD = frozenset(
    {"original_name", "input_file_name", "model_name", "model_version", "dimension_order", "status"}
)
RENAMED = {"preprocess_function": "preprocess", "postprocess_function": "postprocess"}
"""Fields of older clients that are a parameter under another name, where a job type has it."""

IGNORED = frozenset(
    {
        # How to compute. A job type that takes such a parameter is given it, the others decide by
        # themselves.
        *RENAMED,
        *("cuts", "label", "scale", "channels", "segmentation_type", "compartment"),
        # Where it came from: for people who look into the hash.
        *("url", "identity_upload", "created_at", "updated_at", "updated_by", "progress"),
    }
)
"""Fields of older clients that need mean nothing to a job. Any other is logged."""


def queue_names() -> tuple[str, ...]:
    """Return the lists that frontends push to: each name of a job type, and that of archives."""
    named = (n for job_type in job_types().values() for n in (job_type.name, *job_type.aliases))
    return tuple(f"{name}{end}" for name in sorted(named) for end in ("", ARCHIVE_END))


def queue_of(key: str) -> str:
    """Return the queue that a hash's key begins with."""
    return key.partition(":")[0]


def job_id_of(key: str) -> str:
    """Return the id of the one job of a hash: whoever submits it, it is the same."""
    return uuid5(NAMESPACE_URL, f"kiosk-event:{key}").hex


def is_text(*values: str) -> bool:
    """Tell whether what came from Redis was UTF-8; bytes that were not are lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for value in values for letter in value)


def job_of(key: str, fields: Mapping[str, str], *, bucket_url: str) -> Job:
    """Return the job that a hash asks for.

    Raises a UserError if it cannot be done: its sentence becomes the hash's `reason`.
    """
    if not fields:
        raise InvalidParameter("the job's hash is gone: it expired before the job could begin.")
    for needed in ("status", "input_file_name"):
        if not fields.get(needed):
            raise InvalidParameter(f"the job's hash has no {needed!r}.")
    job_type = find_for(queue_of(key), fields)
    given = {
        **_parameters(job_type, fields),
        "input_file_name": bucket_key(fields["input_file_name"], bucket_url),
        "original_name": fields.get("original_name", ""),
    }
    if not is_text(*given.values()):
        raise InvalidParameter("the job's hash holds text that is not UTF-8.")
    return new_job(job_type, given, job_id=job_id_of(key))


def _parameters(job_type: JobType[Any], fields: Mapping[str, str]) -> dict[str, str]:
    taken = job_type.params.model_fields
    strange = fields.keys() - UNDERSTOOD - IGNORED - taken.keys()
    if strange and fields["status"] == "new":  # later it has the workers' fields, too
        log.info("ignored fields=%s job_type=%s", ",".join(sorted(strange)), job_type.name)
    given = {name: fields[name] for name in taken if name in fields}
    for old, name in RENAMED.items():
        if name in taken and old in fields:
            given.setdefault(name, fields[old])
    if "channel" in taken and "channels" not in taken and not given.get("channel"):
        given["channel"] = _first_channel(fields.get("channels", ""))
    if "axes" in taken and not given.get("axes"):
        given["axes"] = _axes_of(fields.get("dimension_order", ""))
    return given


def _first_channel(channels: str) -> str:
    """Return the first channel that a list with holes names, for a job type that looks at one."""
    return next((index for index in channels.split(",") if index.isdecimal()), "")


def _axes_of(dimension_order: str) -> str:
    """Return a frontend's order of dimensions as axes.

    It writes XY for an image as files have it, row by row: of X and Y, the first means the rows.
    """
    rows_first = iter("YX")
    return "".join(
        next(rows_first, letter) if letter in "XY" else letter for letter in dimension_order.upper()
    )
