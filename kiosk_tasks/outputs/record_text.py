"""The text of a record: JSON that people read, written fast."""

from __future__ import annotations

import json
from collections.abc import Mapping
from json.encoder import encode_basestring  # the C one, where there is one
from typing import Any

__all__ = ["record_text"]

_STEP = "  "
_PLAIN = (float, bool, type(None), dict, list, tuple)  # as they are, or empty
_words = json.JSONEncoder(ensure_ascii=False).encode


def record_text(value: Mapping[str, Any]) -> str:
    """Return JSON as `json.dumps` writes it with an indent of 2 and sorted keys.

    That is Python's slow encoder, which takes a millisecond for the record of one small image.
    """
    return _text(value, "\n")


def _text(value: Any, margin: str) -> str:
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is int:
        return str(value)
    inner = margin + _STEP
    if value and kind is dict:
        pairs = [f"{encode_basestring(key)}: {_text(value[key], inner)}" for key in sorted(value)]
        return "{" + inner + f",{inner}".join(pairs) + margin + "}"
    if value and kind in (list, tuple):
        return "[" + inner + f",{inner}".join([_text(one, inner) for one in value]) + margin + "]"
    if kind not in _PLAIN and isinstance(value, Mapping | list | tuple) and value:
        return _text(dict(value) if isinstance(value, Mapping) else list(value), margin)
    return _words(value)
