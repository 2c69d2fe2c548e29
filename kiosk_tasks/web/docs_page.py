"""The page at /docs: every operation of the OpenAPI document, as plain HTML.

It runs no script and loads nothing: it reads the same in every browser, with no network but the
server.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

__all__ = ["HEADERS", "docs_page"]

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}
code,pre{font:14px/1.4 ui-monospace,monospace}
pre{overflow-x:auto;border:1px solid;padding:.5rem}
summary{cursor:pointer;padding:.4rem 0}
summary b{display:inline-block;min-width:4.5rem}
details{border-bottom:1px solid}
table{border-collapse:collapse;display:block;overflow-x:auto}
th,td{text-align:left;vertical-align:top;padding:.2rem 1rem .2rem 0}
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
_METHODS = ("get", "put", "post", "delete")
_AUTH = (
    "Where the operator has set tokens, send <code>Authorization: Bearer TOKEN</code>, or the name "
    "and the token as a login. A refusal is JSON: <code>message</code> is a sentence for a person, "
    "<code>error</code> the name of its kind."
)

Json = Mapping[str, Any]


def docs_page(document: Json, base: str) -> str:
    """Return the page.

    document: as OpenAPI. base: URL of the service, for the examples.
    """
    info = document["info"]
    groups: dict[str, list[tuple[str, str, Json]]] = {}
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                tag = (item[method].get("tags") or ["other"])[0]
                groups.setdefault(tag, []).append((method, path, item[method]))
    body = [
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        f"<p>{escape(info.get('description', ''))} {_AUTH}</p>",
        '<p><a href="/">The page</a> · <a href="/openapi.json">OpenAPI document</a></p>',
    ]
    for tag, operations in groups.items():
        body.append(f"<h2>{escape(tag.capitalize())}</h2>")
        body += [_operation(*one, base=base) for one in operations]
    body.append("<h2>Shapes</h2>")
    shapes = document.get("components", {}).get("schemas", {})
    body += [_shape(name, shape) for name, shape in sorted(shapes.items())]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])}: REST</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>"
    )


def _operation(method: str, path: str, operation: Json, *, base: str) -> str:
    said = operation.get("description") or operation.get("summary", "")
    parts = [
        f"<summary><b>{method.upper()}</b> <code>{escape(path)}</code> "
        f"{escape(operation.get('summary', ''))}</summary>",
        f"<p>{escape(said)}</p>",
        _table(("parameter", "in", "kind", "meaning"), _parameters(operation)),
        _table(("body", "shape"), _body(operation)),
        _table(("status", "meaning", "shape"), _responses(operation)),
        f"<pre>{escape(_example(method, base + path, operation))}</pre>",
    ]
    return f'<details id="{escape(operation["operationId"])}">{"".join(parts)}</details>'


def _parameters(operation: Json) -> Iterator[tuple[str, ...]]:
    for one in operation.get("parameters", []):
        must = "" if one.get("required") else ", optional"
        yield (
            f"<code>{escape(one['name'])}</code>",
            escape(one["in"]),
            _kind(one.get("schema", {})) + must,
            escape(one.get("description", "")),
        )


def _body(operation: Json) -> Iterator[tuple[str, ...]]:
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<code>{escape(media_type)}</code>", _kind(content.get("schema", {}))


def _responses(operation: Json) -> Iterator[tuple[str, ...]]:
    for status, answer in operation.get("responses", {}).items():
        shapes = (_kind(c.get("schema", {})) for c in answer.get("content", {}).values())
        kinds = " or ".join(dict.fromkeys(shape for shape in shapes if shape))
        yield escape(status), escape(answer.get("description", "")), kinds


def _shape(name: str, shape: Json) -> str:
    must = shape.get("required", [])
    rows = (
        (
            f"<code>{escape(field)}</code>",
            _kind(facts) + ("" if field in must else ", optional"),
            escape(facts.get("description", "")),
        )
        for field, facts in shape.get("properties", {}).items()
    )
    table = _table(("field", "kind", "meaning"), rows)
    said = escape(shape.get("description", ""))
    return (
        f'<details id="shape-{escape(name)}"><summary>{escape(name)}</summary>'
        f"<p>{said}</p>{table}</details>"
    )


def _kind(schema: Json) -> str:
    """Return a schema in a few words, with links to the shapes it names."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#shape-{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return escape(", ".join(map(json.dumps, schema["enum"])))
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return escape(str(schema.get("type", "")))


def _table(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    cells = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    if not cells:
        return ""
    titles = "".join(f"<th>{head}</th>" for head in heads)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{cells}</tbody></table>"


def _example(method: str, url: str, operation: Json) -> str:
    """Return a call of the operation for a command line."""
    verb = "" if method == "get" else f"-X {method.upper()} "
    kinds = operation.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in kinds:
        verb, kinds = "-F file=@image.tif ", {}
    if "application/json" in kinds:
        verb = "--json '{…}' "
    return f"curl {verb}'{url}'"
