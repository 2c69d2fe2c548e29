"""What large images need in memory is given back to the system at once."""

from __future__ import annotations

import platform

import numpy as np
import psutil
import pytest

from kiosk_tasks.segmenting.large_memory import small_heap

MB = 10**6


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that keeps memory")
def test_holes_between_arrays_go_back_to_the_system() -> None:
    before = psutil.Process().memory_info().rss
    with small_heap():
        arrays = [np.ones(2 * MB, np.uint8) for _ in range(100)]
        full = psutil.Process().memory_info().rss
        del arrays[::2], arrays[1::2]  # what is left keeps the heap from shrinking at its end
        left = psutil.Process().memory_info().rss
    assert full - before > 150 * MB
    assert left - before < (sum(array.size for array in arrays) + 20 * MB)
