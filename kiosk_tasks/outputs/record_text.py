"""The text of a record: JSON that people read, written fast."""

from __future__ import annotations

import json
from collections.abc import Mapping
from json.encoder import encode_basestring  # the C one, where there is one
from typing import Any

__all__ = ["record_text"]

_STEP = "  "
_words = json.JSONEncoder(ensure_ascii=False).encode


def record_text(value: Mapping[str, Any]) -> str:
    """Return JSON as `json.dumps` writes it with an indent of 2 and sorted keys.

    That is Python's slow encoder, which takes a millisecond for the record of one small image.
    """
    return _text(value, "\n")


def _text(value: Any, margin: str) -> str:
    if isinstance(value, str):
        return encode_basestring(value)
    inner = margin + _STEP
    if isinstance(value, Mapping) and value:
        pairs = [f"{encode_basestring(key)}: {_text(value[key], inner)}" for key in sorted(value)]
        return "{" + inner + f",{inner}".join(pairs) + margin + "}"
    if isinstance(value, list | tuple) and value:
        return "[" + inner + f",{inner}".join([_text(one, inner) for one in value]) + margin + "]"
    return _words(value)
