"""The JSON of the old frontend's API."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

__all__ = [
    "FILE",
    "Expiry",
    "Hash",
    "JobTypes",
    "Message",
    "Models",
    "StatusWord",
    "Uploaded",
    "Value",
    "string",
    "takes",
]


class Message(BaseModel):
    """That all is well."""

    message: str


class JobTypes(BaseModel):
    """Every name that a job can be asked for by."""

    jobTypes: list[str]  # noqa: N815  # the old frontend's


class Models(BaseModel):
    """Versions of each model."""

    models: dict[str, list[str]]


class Uploaded(BaseModel):
    """Where an uploaded file is: for a browser, and for a submission."""

    imageURL: str  # noqa: N815
    uploadedName: str  # noqa: N815


class Hash(BaseModel):
    """The key by which a job is asked after."""

    hash: str


class StatusWord(BaseModel):
    """What has become of a job; null if there is none."""

    status: str | None


class Value(BaseModel):
    """A field of a job, or a list of them; null where there is nothing."""

    value: str | list[str | None] | None


class Expiry(BaseModel):
    """1 if the job will expire, 0 if there is none."""

    value: int


def takes(**fields: Any) -> dict[str, Any]:
    """Return what the OpenAPI document says of a JSON body."""
    needed = [name for name, kind in fields.items() if not kind.pop("optional", False)]
    schema = {"type": "object", "properties": fields, "required": needed}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def string(**more: Any) -> dict[str, Any]:
    """Return what it says of a text."""
    return {"type": "string", **more}


_FORM = {
    "type": "object",
    "properties": {"file": {"type": "string", "format": "binary"}},
    "required": ["file"],
}
FILE: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}
}
"""What the OpenAPI document says of a form with a file."""
