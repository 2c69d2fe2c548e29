"""Memory that is free goes back to the system: the C library keeps it for itself otherwise."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

__all__ = ["give_back", "small_heap"]

# Numbers of glibc's malloc.h, and its own largest threshold on machines of 64 bits.
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
_OF_ITS_OWN = 2**20  # bytes; pages of larger arrays are had from the system, and freed, each time
_LARGEST_THRESHOLD = 2**25


@contextmanager
def small_heap() -> Iterator[None]:
    """Have large arrays lie outside of the heap meanwhile, and all threads share one heap.

    Arrays of some megabytes come and go with every block, on several threads. On heaps they leave
    holes: a job on 16,384² px had 814 MB at its highest, and 523 MB so (`benchmarks.large_images`).
    glibc only; elsewhere nothing of that happens.

    `give_back` looks meanwhile only through objects that came after the start, as it always does in
    a worker, which has all of its modules frozen: to look through all objects of a process for each
    row of blocks may take longer than to find the cells.
    """
    ours = not gc.get_freeze_count()
    if ours:
        gc.freeze()
    _call("mallopt", _ARENA_MAX, 1)
    _call("mallopt", _MMAP_THRESHOLD, _OF_ITS_OWN)
    try:
        yield
    finally:  # what glibc comes to by itself in a process that has freed large arrays
        _call("mallopt", _MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        give_back()
        if ours:
            gc.unfreeze()


def give_back() -> None:
    """Return what nobody refers to any more; where the C library cannot, it stays."""
    gc.collect()
    _call("malloc_trim", 0)


def _call(name: str, *arguments: int) -> None:
    _function(name)(*arguments)


@cache
def _function(name: str) -> Callable[..., object]:
    library = ctypes.CDLL(None)
    found: Callable[..., object] = getattr(library, name, lambda *_: 0)
    return found
