"""One file of a result, and how a result says which files it becomes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any

from kiosk_tasks.errors import InternalError
from kiosk_tasks.outputs.packed import Packed

__all__ = ["OutputFile", "output_files"]


@dataclass(frozen=True)
class OutputFile:
    """One file of a result.

    data: its bytes or, for one that should not lie in memory, the path of a file that holds them.
    packed: what it is in another archive, in the place of `data`.
    """

    name: str
    data: bytes | Path = b""
    packed: Packed | None = None

    def describe(self) -> dict[str, Any]:
        """Return size and checksum for the provenance record."""
        if self.packed is not None:
            return self.packed.described
        if isinstance(self.data, Path):
            with self.data.open("rb") as file:
                checksum = hashlib.file_digest(file, "sha256").hexdigest()
            return {"bytes": self.data.stat().st_size, "sha256": checksum}
        return {"bytes": len(self.data), "sha256": hashlib.sha256(self.data).hexdigest()}


@singledispatch
def output_files(result: object, stem: str) -> Iterable[OutputFile]:
    """Return the files of a result, named after the input's stem; one function per result type.

    They are drawn one by one, so that a generator need not hold the files of many planes.
    """
    raise InternalError(f"no output files are defined for {type(result).__name__} ({stem}).")
