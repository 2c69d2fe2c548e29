"""What large images need in memory is given back to the system at once."""

from __future__ import annotations

import gc
import platform
import weakref
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from kiosk_tasks.segmenting.large_memory import give_back, small_heap

MB = 10**6


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that keeps memory")
def test_holes_between_arrays_go_back_to_the_system() -> None:
    give_back()  # what other tests have left free would be used first
    before = psutil.Process().memory_info().rss
    with small_heap():
        arrays = [np.ones(2 * MB, np.uint8) for _ in range(100)]
        full = psutil.Process().memory_info().rss
        del arrays[::2], arrays[1::2]  # what is left keeps the heap from shrinking at its end
        left = psutil.Process().memory_info().rss
    assert full - before > 150 * MB
    assert left - before < (sum(array.size for array in arrays) + 20 * MB)


class _Knot:
    """Something that refers to itself, so that only the collector can find it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def thawed() -> Iterator[None]:
    """Nothing is kept from the collector, now and afterwards."""
    gc.unfreeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_only_what_came_since_the_start_is_looked_through() -> None:
    older = weakref.ref(_Knot())
    with small_heap():
        newer = weakref.ref(_Knot())
        give_back()
        assert newer() is None
        assert older() is not None
    assert gc.get_freeze_count() == 0
    give_back()
    assert older() is None


@pytest.mark.usefixtures("thawed")
def test_what_a_worker_has_frozen_stays_so() -> None:
    gc.freeze()
    frozen = gc.get_freeze_count()
    with small_heap():
        newer = weakref.ref(_Knot())
    assert newer() is None
    assert gc.get_freeze_count() > frozen / 2
