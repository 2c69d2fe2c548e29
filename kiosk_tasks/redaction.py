"""Passwords stay out of what people read: logs, records, error texts, representations."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from kiosk_tasks.setting_files import setting_files, text_of

__all__ = [
    "RedactingFormatter",
    "Redactor",
    "SecretUrl",
    "hide",
    "redact_logs",
    "without_password",
]

HIDDEN = "***"
_SHORTEST = 4
"""Characters of the shortest password that is looked for in texts: "a" is in every word."""

_SECRET_NAME = re.compile(r"PASSWORD|PASSWD|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_KEY|_AUTH$")
_LOGIN = re.compile(
    r"(?<![a-z0-9+.-])"  # else a long word would be looked through from each of its letters on
    r"(?P<scheme>[a-z0-9+.-]+://)(?P<user>[^\s/:@'\"]*):[^\s/'\"]*@",
    re.I,
)
_QUERY = re.compile(r"\?[^#]*")


class SecretUrl(str):
    """A URL that may hold a password: used as it is, but represented without."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show everything but the password."""
        return repr(self.shown)

    @property
    def shown(self) -> str:
        """The URL as people may read it."""
        return without_password(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accept a string."""
        return core_schema.no_info_after_validator_function(cls, handler(str))


def without_password(url: str) -> str:
    """Return a URL, or several with `;` between them, with password or user and query replaced.

    A user name is shown where there is a password beside it.
    """
    if url.startswith("sentinel://"):
        return ";".join(map(_without_password, url.split(";")))
    return _without_password(url)


def _without_password(url: str) -> str:
    head, at, tail = url.rpartition("@")
    scheme, _, login = head.partition("://")
    if at:
        user, colon, _ = login.partition(":")
        head = f"{scheme}://{user}:{HIDDEN}" if colon else f"{scheme}://{HIDDEN}"
    return f"{head}{at}{_QUERY.sub(f'?{HIDDEN}', tail)}"


def redact_logs(logger: logging.Logger) -> None:
    """Hide secrets in what the logger's handlers write from now on."""
    for handler in logger.handlers:
        if not isinstance(handler.formatter, RedactingFormatter):
            handler.setFormatter(RedactingFormatter(handler.formatter))


def hide(text: str) -> str:
    """Return a text without logins in URLs and without secrets of this process's environment."""
    return Redactor(os.environ).hide(text)


class Redactor:
    """Knows the secrets of an environment, and finds them in texts."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """environ: secrets are the values of names such as …PASSWORD, and passwords in URLs."""
        self._secrets = sorted(set(_secrets_of(environ)), key=len, reverse=True)

    def hide(self, text: str) -> str:
        """Return the text without them, and without a login in any URL."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return _LOGIN.sub(rf"\g<scheme>\g<user>:{HIDDEN}@", text)


class RedactingFormatter(logging.Formatter):
    """A log's formatter that hides secrets in whole entries, traces included."""

    def __init__(self, inner: logging.Formatter | None) -> None:
        """inner: makes the text."""
        super().__init__()
        self._inner = inner or logging.Formatter()
        self._redactor = Redactor(os.environ)

    def format(self, record: logging.LogRecord) -> str:
        """Return the entry's text."""
        return self._redactor.hide(self._inner.format(record))


def _secrets_of(environ: Mapping[str, str]) -> Iterator[str]:
    for name, value in (*environ.items(), *_in_files(environ)):
        found = {value} if _SECRET_NAME.search(name.upper()) else set()
        if "://" in value:
            found |= _logins(value)
        elif found and ":" in value:
            found.add(value.rpartition(":")[2])  # user:password
            found.update(login.partition(":")[2] for login in value.split(","))  # several
        yield from (secret for secret in found if len(secret) >= _SHORTEST)


def _in_files(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the settings that come from files; of one that cannot be read, `Settings` tells."""
    for name, path in setting_files(environ):
        with suppress(OSError, UnicodeDecodeError):
            yield name, text_of(path)


def _logins(url: str) -> set[str]:
    """Return the passwords in a URL, or in several, as they are written there and as is meant."""
    found = {""}
    for one in {url, *url.split(";")}:
        try:
            password = urlsplit(one).password or ""
        except ValueError:
            continue
        found |= {password, unquote(password)}
    return found - {""}
