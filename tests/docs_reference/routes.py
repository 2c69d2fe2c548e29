"""Every route of the web service, from its OpenAPI description."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

from kiosk_tasks.settings import Settings
from kiosk_tasks.web.app import create_app
from kiosk_tasks.wiring import Adapters
from tests.docs_reference.tables import cell, table, values_of

__all__ = ["route_names", "routes"]

_EXAMPLES = {
    "POST /jobs/{type_name}": "-F file=@samples/nuclei_512.tif -F mpp=0.65 $URL/jobs/predict",
    "POST /inspect": "-F file=@samples/nuclei_512.tif $URL/inspect",
    "POST /api/upload": "-F file=@samples/nuclei_512.tif $URL/api/upload",
    "POST /api/predict": """-d '{"jobType": "segmentation", "imageName": "nuclei.tif"}'""",
    "POST /api/status": """-d '{"hash": "'$HASH'"}'""",
    "POST /api/redis": """-d '{"hash": "'$HASH'", "key": ["status", "progress"]}'""",
    "POST /api/redis/expire": """-d '{"hash": "'$HASH'", "expireIn": 3600}'""",
}
_IN_PATHS = {
    "{job_id}": "$JOB",
    "{type_name}": "predict",
    "{frame}": "0",
    "{frame}.png": "0.png",
    "{name}": "nuclei_512_cells.csv",
    "{key}": "output/…",
    "{expires}": "…",
    "{signature}": "…",
}
_FILES = ("application/octet-stream", "application/zip", "image/png")
_KNOWN = {"JobJson": "[a job](#a-job)", "ErrorJson": "[an error](#an-error)"}


def route_names() -> list[str]:
    """Return "GET /jobs", … of every route that is described."""
    return [f"{method} {path}" for method, path, _ in _operations(_openapi())]


def routes() -> str:
    """Return a section for each group of routes, and one within it for each route."""
    api = _openapi()
    groups: dict[str, list[str]] = {}
    for method, path, operation in _operations(api):
        (group, *_) = operation.get("tags", ["other"])
        groups.setdefault(group, []).append(_route(api, f"{method} {path}", operation))
    return "\n\n".join(
        f"## {group.capitalize()}\n\n" + "\n\n".join(sections) for group, sections in groups.items()
    )


def _openapi() -> dict[str, Any]:
    nothing = SimpleNamespace(storage=None, ledger=None)
    app = create_app(Settings.load(), outside=cast(Adapters, nothing))
    return app.openapi()


def _operations(api: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            yield method.upper(), path, operation


def _route(api: Mapping[str, Any], name: str, operation: Mapping[str, Any]) -> str:
    rows: list[tuple[object, ...]] = [("what you send", "where", "values", "meaning")]
    rows += [
        (
            f"`{one['name']}`",
            one["in"] + (", required" if one.get("required") else ""),
            cell(values_of(one.get("schema", {}))),
            cell(one.get("description", one.get("schema", {}).get("description", ""))),
        )
        for one in operation.get("parameters", [])
    ]
    rows += _body(api, operation)
    answers = [(code, cell(_answer(api, said))) for code, said in operation["responses"].items()]
    parts = [f"### `{name}`", operation.get("description", ""), _example(name, operation)]
    parts += [table(*rows)] if len(rows) > 1 else []
    parts.append(table(("answer", ""), *sorted(answers)))
    return "\n\n".join(filter(None, parts))


def _body(api: Mapping[str, Any], operation: Mapping[str, Any]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(api, content.get("schema", {}))
        where = "JSON" if "json" in media else "form" if "form" in media else media
        for name, one in schema.get("properties", {}).items():
            needed = ", required" if name in schema.get("required", []) else ""
            meaning = cell(one.get("description", ""))
            file = one.get("format") == "binary" or "contentMediaType" in one
            values = "a file" if file else cell(values_of(_resolved(api, one)))
            rows.append((f"`{name}`", where + needed, values, meaning))
    return rows


def _answer(api: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    """Return what an answer is, with the fields of a JSON object."""
    parts = [str(said.get("description", "")).removeprefix("Successful Response").rstrip(".")]
    for media, content in said.get("content", {}).items():
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        fields = _resolved(api, content.get("schema", {})).get("properties", {})
        if name in _KNOWN:
            parts.append(_KNOWN[name])
        elif "json" not in media:
            parts.append(f"`{media}`")
        elif fields:
            parts.append(", ".join(f"`{field}`" for field in fields))
    return ": ".join(filter(None, parts)) or "done"


def _resolved(api: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        schema = api["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _example(name: str, operation: Mapping[str, Any]) -> str:
    method, path = name.split()
    for part, value in _IN_PATHS.items():
        path = path.replace(part, value)
    rest = _EXAMPLES.get(name, "")
    if "-d " in rest:
        rest = f"-H 'Content-Type: application/json' {rest} $URL{path}"
    rest = rest or f"$URL{path}"
    verb = "" if method == "GET" or "-F" in rest or "-d" in rest else f"-X {method} "
    (good, *_) = operation["responses"].values()
    is_file = any(media in _FILES for media in good.get("content", {}))
    return f"```console\n$ curl {'-sSOJ' if is_file else '-sS'} {verb}{rest}\n```"
