"""A setting may come from a file: `KIOSK_BROKER_URL_FILE=/run/secrets/broker-url`.

So passwords of containers lie in files, not in an environment that `docker inspect` shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["setting_files", "text_of"]

_START, _END = "KIOSK_", "_FILE"
_FILES = ("KIOSK_READY_FILE", "KIOSK_ALIVE_FILE")
"""Settings that are files themselves, touched again and again."""


def setting_files(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Yield each setting that may come from a file, and that file.

    A setting that stands in the environment itself does not.
    """
    for variable, path in environ.items():
        if variable in _FILES:
            continue
        name = variable.removesuffix(_END)
        if variable.startswith(_START) and name != variable and path and not environ.get(name):
            yield name, Path(path)


def text_of(file: Path) -> str:
    """Return what a file holds, without the space around it; raises OSError."""
    return file.read_text("utf-8").strip()
