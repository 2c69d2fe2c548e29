"""What the old frontend's API means here: its submissions as jobs, our records as its hashes.

A submission is read as the frontend would have written it into Redis, and then as the bridge reads
that: so both ways in take the same jobs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from kiosk_tasks.archive_jobs import ARCHIVE_END
from kiosk_tasks.bridge.events import is_text, job_id_of, job_of
from kiosk_tasks.bridge.input_keys import bucket_key
from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.job import Job, Status
from kiosk_tasks.jobs import find_for
from kiosk_tasks.ledger import Ledger, Record
from kiosk_tasks.web.uploads import shown_name

__all__ = ["RETRY_WINDOW_S", "event_of", "id_of", "job_for", "told"]

RETRY_WINDOW_S = 600.0
"""So long after a job failed, the same submission is still taken for a retry of the same call."""

_UPLOADED = re.compile(r"uploads/[0-9a-f]{32}/.+", re.DOTALL)
"""A key that only one upload has: whoever names it twice means one file."""
_FROM_BODY = {
    "modelName": "model_name",
    "modelVersion": "model_version",
    "preprocessFunction": "preprocess_function",
    "postprocessFunction": "postprocess_function",
    "dataRescale": "scale",
    "dataLabel": "label",
    "cuts": "cuts",
}
_FROM_FORM = {
    "dimensionOrder": "dimension_order",
    "selectedChannels": "channels",
    "scale": "scale",
    "segmentationType": "segmentation_type",
}
_PARAMS = {
    "preprocess_function": "preprocess",
    "postprocess_function": "postprocess",
    "dimension_order": "axes",
    **{name: name for name in ("label", "scale", "channels", "segmentation_type", "compartment")},
}
"""Fields that a frontend writes, and under which name the record's parameters have them."""
_TOLD = frozenset(
    {
        *("original_name", "input_file_name", "model_name", "model_version", "created_at"),
        *("progress", "reason", "failures", "output_file_name", "dim_order", "finished_at"),
        *("identity_started", "started_at", "updated_by", "updated_at", "predict_retries"),
        *("total_jobs", "children", "children:done", "children:failed", "job_type"),
    }
)
"""Fields of a record that are answered as they are; so are all that end in `_time`."""


def event_of(body: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Return a submission's queue and hash, as a frontend would have written them.

    Raises InvalidParameter for what is missing or no text, UnknownJobType.
    """
    queue, name = (_needed(body, field) for field in ("jobType", "imageName"))
    given = body.get("jobForm")
    form: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    named = _text(body, "uploadedName") or _text(body, "imageUrl")
    fields = {
        "status": str(Status.NEW),
        "original_name": shown_name(name),
        "input_file_name": named or (name if name.startswith("uploads/") else f"uploads/{name}"),
    }
    for source, names in ((body, _FROM_BODY), (form, _FROM_FORM)):
        told = {field: _text(source, old) for old, field in names.items()}
        fields |= {field: text for field, text in told.items() if text}
    if not is_text(queue, name, *fields.values()) or "\0" in "".join((queue, *fields.values())):
        raise InvalidParameter("the submission holds characters that are no text.")
    archive = find_for(queue, fields).name.endswith(ARCHIVE_END)
    return f"{queue.removesuffix(ARCHIVE_END)}{ARCHIVE_END if archive else ''}", fields


def job_for(
    body: Mapping[str, Any], *, ledger: Ledger, bucket_url: str, user: str
) -> tuple[str, Job]:
    """Return the key that an old client polls, and the job behind it, new or there already.

    The same submission of the same upload is the same job: clients that get no answer try again.
    One that has failed or was cancelled a while ago is begun anew.
    """
    queue, fields = event_of(body)
    once = _UPLOADED.fullmatch(bucket_key(fields["input_file_name"], bucket_url))
    seed = json.dumps([user, queue, fields], sort_keys=True)
    for number in count():
        last = uuid5(NAMESPACE_URL, f"kiosk-old-api:{number}:{seed}") if once else uuid4()
        key = f"{queue}:{fields['original_name']}:{last}"
        job = job_of(key, fields, bucket_url=bucket_url)
        if not any(map(_is_over, ledger.records([job.id]))):
            break
    return key, job


def id_of(key: str) -> str:
    """Return the id of the job that a client means: by a key, as events have, or by the id."""
    return job_id_of(key) if ":" in key else key


def told(record: Record, field: str, *, output_url: str | None) -> str | None:
    """Return what an old client reads in a field of its hash; None where there is nothing.

    output_url: where the result is to be fetched, if there is one.
    """
    if field == "status":  # of the words for a job's end they know two, and poll on at any other
        ended = record.status is Status.CANCELLED
        return str(Status.FAILED if ended else record.status)
    if field == "output_url":
        return output_url
    if field == "job_id":
        return record.id
    if field in _PARAMS:
        value = record.payload.get(_PARAMS[field])
        return None if value is None else str(value)
    known = field in _TOLD or field.endswith("_time")
    return record.fields.get(field) if known else None


def _is_over(record: Record) -> bool:
    """Tell whether a job ended without a result, too long ago for a retry of the same call."""
    if record.status not in (Status.FAILED, Status.CANCELLED):
        return False
    ended = datetime.fromisoformat(record.fields["finished_at"])
    return (datetime.now(UTC) - ended).total_seconds() > RETRY_WINDOW_S


def _needed(body: Mapping[str, Any], field: str) -> str:
    text = _text(body, field)
    if not text:
        raise InvalidParameter(f"the submission has no {field!r}.")
    return text


def _text(values: Mapping[str, Any], field: str) -> str:
    """Return a value as a hash has it: text; of a list, its entries with commas between."""
    value = values.get(field)
    if isinstance(value, list):
        return ",".join("" if one is None else str(one) for one in value)
    if not value or isinstance(value, str):  # false is a form's way to leave something out
        return str(value or ("0" if value == 0 and value is not False else ""))
    if isinstance(value, bool | dict):
        raise InvalidParameter(f"{field!r} should be a text or a number.")
    return str(value)
