"""Every route of the web service, from its OpenAPI description."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

from fastapi import FastAPI

from kiosk_tasks.settings import Settings
from kiosk_tasks.web.app import create_app
from kiosk_tasks.wiring import Adapters
from tests.docs_reference.tables import cell, table, values_of

__all__ = ["answers", "route_names", "routes", "unlisted_routes"]

_JSON = "-H 'Content-Type: application/json'"
_OF_JSON = "python -c 'import json, sys; print(json.load(sys.stdin)[\"{}\"])'"
_EXAMPLES = {
    "POST /jobs/{type_name}": [
        "curl -sS -F file=@samples/nuclei_512.tif -F mpp=0.65 $URL/jobs/predict"
    ],
    "POST /inspect": ["curl -sS -F file=@samples/nuclei_512.tif $URL/inspect"],
    "GET /jobs/{job_id}/result": ["curl -sS $URL/jobs/$JOB/result -o result.zip"],
    "GET /files/{key}": [
        f"LINK=$(curl -sS $URL/jobs/$JOB | {_OF_JSON.format('output_url')})",
        'curl -sS "$LINK" -o result.zip',
    ],
    "POST /api/upload": [
        "curl -sS -F file=@samples/nuclei_512.tif $URL/api/upload > uploaded.json",
        f"NAME=$({_OF_JSON.format('uploadedName')} < uploaded.json)",
    ],
    "POST /api/predict": [
        f"curl -sS {_JSON} $URL/api/predict > hash.json \\\n"
        """    -d '{"jobType": "segmentation", "imageName": "x.tif", "uploadedName": "'$NAME'"}'""",
        f"HASH=$({_OF_JSON.format('hash')} < hash.json)",
    ],
    "POST /api/status": [f"""curl -sS {_JSON} $URL/api/status -d '{{"hash": "'$HASH'"}}'"""],
    "POST /api/redis": [
        f"""curl -sS {_JSON} $URL/api/redis -d '{{"hash": "'$HASH'", "key": ["status"]}}'"""
    ],
    "POST /api/redis/expire": [
        f"""curl -sS {_JSON} $URL/api/redis/expire -d '{{"hash": "'$HASH'", "expireIn": 3600}}'"""
    ],
}
_NOT_RUN = {"GET /api/files/{expires}/{signature}/{key}": "such a link comes with a result"}
_IN_PATHS = {
    "{job_id}": "$JOB",
    "{type_name}": "predict",
    "{frame}": "0",
    "labels/{name}": "labels/$PART",
    "{name}": "nuclei_512_cells.csv",
}
_FILES = ("application/octet-stream", "application/zip", "image/png")
_KNOWN = {"JobJson": "[a job](#a-job)", "ErrorJson": "[an error](#an-error)"}


def route_names() -> list[str]:
    """Return "GET /jobs", … of every route that is described."""
    return [f"{method} {path}" for method, path, _ in _operations(_openapi())]


def unlisted_routes() -> list[str]:
    """Return the paths that answer, but are not in the OpenAPI description: pages."""
    described = set(_openapi()["paths"])
    groups = (getattr(route, "original_router", None) for route in _app().routes)
    inner = [route for group in groups if group for route in group.routes]
    paths = {getattr(route, "path", "") for route in (*_app().routes, *inner)}
    plain = {path.replace(":path}", "}").rstrip("/") or "/" for path in paths if path}
    return sorted(plain - described)


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


@cache
def _app() -> FastAPI:
    nothing = SimpleNamespace(storage=None, ledger=None)
    return create_app(Settings.load(), outside=cast(Adapters, nothing))


def _openapi() -> dict[str, Any]:
    return _app().openapi()


def _operations(api: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            yield method.upper(), path, operation


def answers() -> str:
    """Return what each status of an error means, unless a route says otherwise."""
    rows = sorted(_usual_errors(_openapi()).items())
    return table(("status", "meaning"), *((code, cell(text)) for code, text in rows))


def _usual_errors(api: Mapping[str, Any]) -> dict[str, str]:
    said: dict[str, Counter[str]] = {}
    for _, _, operation in _operations(api):
        for code, answer in operation["responses"].items():
            if code >= "400":
                said.setdefault(code, Counter())[answer.get("description", "")] += 1
    return {code: texts.most_common(1)[0][0] for code, texts in said.items()}


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
    parts = [f"### `{name}`", operation.get("description", ""), _example(name, operation)]
    parts += [table(*rows)] if len(rows) > 1 else []
    return "\n\n".join(filter(None, [*parts, _answers(api, operation)]))


def _answers(api: Mapping[str, Any], operation: Mapping[str, Any]) -> str:
    """Return the answers of a route; errors that mean what they always mean share a row."""
    usual = _usual_errors(api)
    rows, rest = [], []
    for code, said in sorted(operation["responses"].items()):
        if usual.get(code) == said.get("description", ""):
            rest.append(code)
        else:
            rows.append((code, cell(_answer(api, said))))
    if rest:
        rows.append((", ".join(rest), _KNOWN["ErrorJson"]))
    return table(("answer", ""), *rows)


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
    lines = _EXAMPLES.get(name) or [_plain_example(name, operation)]
    text = "\n".join(f"$ {line}" for line in lines)
    before = f"<!-- not run: {_NOT_RUN[name]} -->\n" if name in _NOT_RUN else ""
    return f"{before}```console\n{text}\n```"


def _plain_example(name: str, operation: Mapping[str, Any]) -> str:
    method, path = name.split()
    for part, value in _IN_PATHS.items():
        path = path.replace(part, value)
    (good, *_) = operation["responses"].values()
    is_file = any(media in _FILES for media in good.get("content", {}))
    verb = "" if method == "GET" else f"-X {method} "
    return f"curl -sS {verb}$URL{path}" + (f" -o {path.rpartition('/')[2]}" if is_file else "")
