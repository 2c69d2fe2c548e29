"""Files on their way from a client to the bucket."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["safe_name"]

_LONGEST = 120
"""Bytes of a file's name in a key; file systems and keys take 200 between slashes."""


def safe_name(name: str) -> str:
    """Return a client's file name as the last part of a key: no folders, nothing to misread."""
    last = unicodedata.normalize("NFC", name.replace("\\", "/")).rpartition("/")[2]
    plain = re.sub(r"[^\w.+-]+", "_", last).lstrip(".") or "file"
    stem, dot, end = plain.rpartition(".")
    head = stem if dot else plain
    tail = f".{end}" if dot and len(end) <= 10 else ""
    kept = head.encode()[: _LONGEST - len(tail.encode())].decode(errors="ignore")
    return f"{kept}{tail}"
