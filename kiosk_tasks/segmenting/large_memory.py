"""Memory that is free goes back to the system: the C library keeps it for itself otherwise."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from functools import cache

__all__ = ["give_back"]


def give_back() -> None:
    """Return what nobody refers to any more; where the C library cannot, it stays.

    Arrays of some megabytes come and go with every block, on several threads, each with a heap of
    its own.
    """
    gc.collect()
    _trim()(0)


@cache
def _trim() -> Callable[[int], object]:
    library = ctypes.CDLL(None)
    found: Callable[[int], object] = getattr(library, "malloc_trim", lambda _: 0)
    return found
