"""Memory that is free goes back to the system: the C library keeps it for itself otherwise."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

__all__ = ["give_back"]


def give_back() -> None:
    """Return what has been freed; where the C library cannot, nothing happens.

    Arrays of some megabytes come and go with every block, on several threads, each with a heap of
    its own. It takes about a millisecond.
    """
    _trim()(0)


@cache
def _trim() -> Callable[[int], object]:
    library = ctypes.CDLL(None)
    found: Callable[[int], object] = getattr(library, "malloc_trim", lambda _: 0)
    return found
