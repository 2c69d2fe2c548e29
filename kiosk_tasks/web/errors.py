"""What can be wrong with a request, and every error as a sentence and the name of its kind."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from kiosk_tasks.errors import KioskError, UserError
from kiosk_tasks.redaction import hide
from kiosk_tasks.web.safe_headers import SAFE_HEADERS

__all__ = [
    "RESPONSES",
    "AlreadyEnded",
    "CrossSite",
    "ErrorJson",
    "InvalidRequest",
    "LinkExpired",
    "NoResult",
    "NotLoggedIn",
    "StrangeHost",
    "TooManyRequests",
    "TooSlow",
    "add_error_handlers",
    "error_response",
]

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5
_LONGEST = 1000


class ErrorJson(BaseModel):
    """What is wrong, as a sentence and as the name of its kind."""

    message: str
    error: str


_MEANING = {
    400: "What was sent cannot be understood.",
    401: "A token is needed.",
    403: "Not for a page of another site, by another name, or with this link.",
    404: "There is no such thing (any more).",
    408: "The request came too slowly.",
    409: "The job is not in a state for that.",
    413: "More than this service takes.",
    415: "Not a kind of file that the job type understands.",
    422: "A parameter or the file cannot be used.",
    429: "Too much at once; wait a moment.",
    500: "A fault of the service; its log says more.",
    503: "Broker, bucket or model server do not answer, or too much comes at once; wait a moment.",
    507: "No space is left.",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorJson, "description": meaning} for status, meaning in _MEANING.items()
}
"""What any route may answer beside what it is for."""


class InvalidRequest(UserError):
    """The request itself cannot be understood."""


class NotLoggedIn(UserError):
    """No token came along, or a wrong one."""

    http_status = 401


class CrossSite(UserError):
    """Another site's page asks for a change."""

    http_status = 403


class StrangeHost(UserError):
    """The request names this service by a host that is not its own."""

    http_status = 403


class LinkExpired(UserError):
    """A signed link is over its time, or was not signed here."""

    http_status = 403


class NoResult(UserError):
    """The job has no result, or none of that kind."""

    http_status = 404


class TooSlow(UserError):
    """The request did not arrive in time."""

    http_status = 408


class AlreadyEnded(UserError):
    """The job has ended already."""

    http_status = 409


class TooManyRequests(UserError):
    """One user asks for more than an operator allows."""

    http_status = 429


def error_response(error: KioskError) -> JSONResponse:
    """Return an error as a client gets it."""
    body = {"message": _short(hide(str(error))), "error": type(error).__name__}
    response = JSONResponse(body, error.http_status)
    if error.http_status == NotLoggedIn.http_status:
        for challenge in ('Basic realm="kiosk"', "Bearer"):  # both in one, and Chromium asks nobody
            response.headers.append("WWW-Authenticate", challenge)
    if error.http_status in (429, 503, 507):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response


def _short(message: str) -> str:
    """Return a sentence as long as a person reads; it may quote what was sent."""
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…"


def add_error_handlers(app: FastAPI) -> None:
    """Let every error end as the same JSON."""
    app.add_exception_handler(KioskError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _plain)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unforeseen)


async def _ours(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, KioskError)  # noqa: S101  # as it is registered
    return error_response(error)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # as it is registered
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "the request"
    return error_response(InvalidRequest(f"{where}: {first['msg']}."))


async def _plain(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  # as it is registered
    refusal = getattr(request.scope.get("kiosk_body"), "refusal", None)
    if refusal is not None:  # while it was read; the framework only knows that it was not
        return error_response(refusal)
    kinds = {404: "NotFound", 405: "MethodNotAllowed"}
    body = {"message": f"{error.detail}.", "error": kinds.get(error.status_code, "InvalidRequest")}
    return JSONResponse(body, error.status_code, headers=error.headers)


async def _gone(_: Request, _error: Exception) -> JSONResponse:
    return error_response(InvalidRequest("the request broke off."))  # nobody reads it


async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    log.error("unforeseen path=%s error=%s", request.url.path, type(error).__name__)
    body = {
        "message": "something went wrong in the service; its log says what.",
        "error": "InternalError",
    }
    return JSONResponse(body, 500, headers=SAFE_HEADERS)  # made outside of all else
