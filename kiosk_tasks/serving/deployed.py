"""Which models lie in folders, ready to be served."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["deployed"]


def deployed(folders: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Return the versions of each model, both sorted, in `<folder>/<name>/<version>/`."""
    found: dict[str, set[int]] = {}
    for folder in folders:
        for saved in folder.glob("*/*/saved_model.pb"):
            if saved.parent.name.isdecimal():
                found.setdefault(saved.parents[1].name, set()).add(int(saved.parent.name))
    return {name: tuple(sorted(found[name])) for name in sorted(found)}
