"""An array that stays in its file: only what is asked for is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DiskArray"]


@dataclass(frozen=True)
class DiskArray:
    """Elements that follow each other in a file without any packing.

    kind: with the file's byte order. offset: of the first element, bytes.
    fortran: the first index runs fastest.
    """

    path: Path
    kind: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    fortran: bool = False

    def part(self, index: tuple[int | slice, ...]) -> NDArray[Any]:
        """Return a copy of what lies at that index: native byte order, C-contiguous.

        The file is mapped for this time only, so that what was read does not stay in memory.
        """
        order = "F" if self.fortran else "C"
        whole = np.memmap(self.path, self.kind, "r", self.offset, self.shape, order)  # type: ignore[call-overload]
        native: NDArray[Any] = np.array(whole[index], self.kind.newbyteorder("="), order="C")
        return native
