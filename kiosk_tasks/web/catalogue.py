"""What the service offers: job types with a schema that a form can be made of, and models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kiosk_tasks.choices import Choices, named_model
from kiosk_tasks.job import JobType
from kiosk_tasks.jobs import job_types
from kiosk_tasks.ports import Storage
from kiosk_tasks.serving.catalogue import from_server, in_bucket
from kiosk_tasks.serving.client import TensorFlowServing
from kiosk_tasks.serving.deployed import deployed
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import model_folders

__all__ = ["described", "form_schema", "served_models"]

_PATIENCE_S = 2.0
"""A model server that has not answered for so long is taken for one that is not there."""

Schema = dict[str, Any]


def described() -> list[dict[str, Any]]:
    """Return every declared job type as a client needs it to offer it."""
    return [_described(job_type) for job_type in job_types().values()]


def form_schema(job_type: JobType[Any]) -> Schema:
    """Return the JSON Schema of a job type's parameters, flat and in the order of declaration.

    Every property has a title. One that may be left out has no "null" beside its type: leaving it
    out says the same. `x-unit`, `x-group` ("advanced") and `x-enum-labels` are a form's.
    """
    schema = job_type.params.model_json_schema()
    fields = job_type.params.model_fields
    shapes = schema.get("$defs", {})
    properties = {
        name: _flat(schema["properties"][name], shapes) | {"title": field.title or _words(name)}
        for name, field in fields.items()
    }
    return {
        "type": "object",
        "title": job_type.title,
        "properties": properties,
        "required": schema.get("required", []),
        "additionalProperties": False,
    }


def served_models(settings: Settings, bucket: Storage) -> dict[str, list[str]]:
    """Return the versions of each model that the model server answers with.

    It cannot be asked for a list: it is asked for each name that lies in a folder or in the
    bucket, or that a job type or a setting names. Raises ModelServerUnavailable, and what
    `Storage.list` raises.
    """
    server = TensorFlowServing(settings.model_server, wait_s=_PATIENCE_S)
    names = {*deployed(model_folders(settings)), *in_bucket(bucket), *_named(settings)}
    try:
        found = from_server(server, names)
    finally:
        server.close()
    return {model.name: [str(v) for v in model.versions] for model in found if model.versions}


def _described(job_type: JobType[Any]) -> dict[str, Any]:
    sizes = [model.mpp for model in job_type.models if model.mpp]
    return {
        "name": job_type.name,
        "title": job_type.title,
        "queue": job_type.queue,
        "aliases": list(job_type.aliases),
        "accepts": [*job_type.accepts, ".zip"],
        "models": [model.name for model in job_type.models],
        "mpp": sizes[0] if sizes else None,
        "schema": form_schema(job_type),
    }


def _flat(schema: Mapping[str, Any], shapes: Mapping[str, Any]) -> Schema:
    """Return a property's schema without references, and without null as a choice."""
    own = {name: value for name, value in schema.items() if name not in ("anyOf", "$ref")}
    if "$ref" in schema:
        return _flat(shapes[schema["$ref"].rpartition("/")[2]], shapes) | own
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    if len(kinds) == 1:
        own = _flat(kinds[0], shapes) | own
    elif kinds:
        own["anyOf"] = kinds
    if own.get("default", ...) is None:
        del own["default"]
    return own


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _named(settings: Settings) -> set[str]:
    """Return the models that job types and settings name."""
    used = {model.name for one in job_types().values() for model in one.models}
    chosen = (getattr(settings, n) for n in Choices.__dataclass_fields__ if n.endswith("_model"))
    return used | {named_model(text).name for text in chosen if text}
