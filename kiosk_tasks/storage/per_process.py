"""Clients of vendors: one per process, made on first use."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["PerProcess"]

Which = TypeVar("Which", bound=Hashable)
Made = TypeVar("Made")


class PerProcess(Generic[Which, Made]):
    """Makes a thing once in each process: no connection and no held lock survives a fork."""

    def __init__(self, make: Callable[[Which], Made]) -> None:
        """make: called with what `get` is called with."""
        self._make = make
        self._made: dict[tuple[int, Which], Made] = {}
        self._making: dict[int, Lock] = {}

    def get(self, which: Which) -> Made:
        """Return this process's own."""
        pid = os.getpid()
        with self._making.setdefault(pid, Lock()):
            if (pid, which) not in self._made:
                self._made[pid, which] = self._make(which)
        return self._made[pid, which]
