"""A worker's pool of processes: one that has ended takes no more messages."""

from __future__ import annotations

from celery.concurrency.prefork import TaskPool as PreforkPool

__all__ = ["TaskPool"]


class TaskPool(PreforkPool):
    """Celery's, but that it can be asked for its size once it has ended.

    A worker that is told to stop ends its pool in the handler of the signal; the event loop turns
    once more after that, asks the pool whether there is room for a message, and the worker would
    end with an AttributeError instead of in order.
    """

    @property
    def num_processes(self) -> int:
        """How many processes there are; none after the end."""
        return int(self._pool._processes) if self._pool else 0  # type: ignore[attr-defined]
