"""What the URL of any cloud bucket may say after the question mark."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from kiosk_tasks.errors import InvalidParameter

__all__ = ["check_endpoint", "options_of"]

Options = TypeVar("Options")

_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def options_of(query: str, kind: type[Options]) -> Options:
    """Return the dataclass of options that a URL's query gives.

    Raises InvalidParameter for one that there is not, naming those that there are.
    """
    known = {field.name: str(field.type) for field in fields(kind)}  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise InvalidParameter(
                f"a bucket has no option {name!r}; there are {', '.join(known)}."
            )
        given[name] = _value(name, known[name], text)
    return kind(**given)


def check_endpoint(name: str, url: str | None) -> None:
    """Raise InvalidParameter if it is no address of a server, or says a password."""
    if url is None:
        return
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise InvalidParameter(f"{name} must be an http(s)://host:port URL without credentials.")


def _value(name: str, kind: str, text: str) -> str | int | float | bool:
    if kind == "bool":
        if text.lower() not in _TRUTH:
            raise InvalidParameter(f"{name} of the bucket must be true or false, not {text!r}.")
        return _TRUTH[text.lower()]
    try:
        if kind == "int":
            return int(text)
        return float(text) if kind == "float" else text
    except ValueError as exc:
        raise InvalidParameter(f"{name} of the bucket must be a number, not {text!r}.") from exc
