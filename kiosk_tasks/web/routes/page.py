"""Routes of the web service: the page, and the files it is made of."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from fastapi import APIRouter, HTTPException, Request, Response

__all__ = ["router"]

router = APIRouter(include_in_schema=False)

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_FIRST = "no-cache"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class _File:
    """One file of the page, as it is and packed."""

    content: bytes
    packed: bytes
    media_type: str
    etag: str


@dataclass(frozen=True)
class _Page:
    """All files of the page; version: a hash over them, which is in the addresses of all but one.

    Modules import each other by relative addresses, so that all of them carry the version and may
    be kept for ever: a change of any is a change of all.
    """

    version: str
    files: MappingProxyType[str, _File]


@router.get("/")
def index(request: Request) -> Response:
    """Return the page; a browser asks each time whether it has changed."""
    return _answer(_page().files["index.html"], request, _ASK_FIRST)


@router.get("/page/{version}/{name}")
def file(version: str, name: str, request: Request) -> Response:
    """Return a file of the page; of another version than ours it must not be kept."""
    page = _page()
    if name not in page.files or name == "index.html":
        raise HTTPException(404, f"the page has no file {name}; reload it")
    return _answer(page.files[name], request, _FOR_EVER if version == page.version else _ASK_FIRST)


def _answer(found: _File, request: Request, caching: str) -> Response:
    headers = {**_HEADERS, "Cache-Control": caching, "ETag": found.etag}
    if request.headers.get("If-None-Match") == found.etag:
        return Response(status_code=304, headers=headers)
    if "gzip" not in request.headers.get("Accept-Encoding", ""):
        return Response(found.content, headers=headers, media_type=found.media_type)
    headers["Content-Encoding"] = "gzip"
    return Response(found.packed, headers=headers, media_type=found.media_type)


@cache
def _page() -> _Page:
    """Read all files, once for each process."""
    folder = files("kiosk_tasks.web") / "page"
    contents = {
        entry.name: entry.read_bytes()
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.is_file() and _ending(entry.name) in _TYPES
    }
    version = hashlib.sha256(b"\0".join(b for pair in contents.items() for b in _parts(pair)))
    short = version.hexdigest()[:12]
    contents["index.html"] = _placed(contents["index.html"], f"/page/{short}/", list(contents))
    made = {name: _file(name, content) for name, content in contents.items()}
    return _Page(short, MappingProxyType(made))


def _parts(pair: tuple[str, bytes]) -> tuple[bytes, bytes]:
    return pair[0].encode(), pair[1]


def _placed(index: bytes, base: str, names: list[str]) -> bytes:
    """Return the page with the addresses of its files; modules are fetched all at once."""
    modules = [name for name in names if name.endswith(".js")]
    links = [f'<link rel="modulepreload" href="{base}{name}">' for name in modules]
    script = f'<script type="module" src="{base}main.js"></script>'
    text = index.decode().replace("<!-- modules -->", "\n".join([*links, script]))
    for name in ("icon.svg", "style.css"):
        text = text.replace(f'href="{name}"', f'href="{base}{name}"')
    return text.encode()


def _file(name: str, content: bytes) -> _File:
    etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
    packed = gzip.compress(content, compresslevel=9, mtime=0)
    return _File(content, packed, _TYPES[_ending(name)], etag)


def _ending(name: str) -> str:
    return name[name.rfind(".") :]
