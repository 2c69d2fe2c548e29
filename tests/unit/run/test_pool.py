"""The pool of a worker that is told to stop."""

from __future__ import annotations

from typing import Any

from celery.concurrency import get_implementation
from celery.worker import state

from kiosk_tasks.run.chain import app
from kiosk_tasks.run.pool import TaskPool


class _Processes:
    _processes = 3


def test_a_pool_that_has_ended_has_no_room() -> None:
    pool: Any = TaskPool(limit=3, app=app)
    assert pool.num_processes == 0  # not begun
    pool._pool = _Processes()
    assert pool.num_processes == 3
    pool._pool = None  # what `terminate` leaves
    assert len(state.reserved_requests) >= pool.num_processes  # as the loop asks: no room


def test_workers_use_it() -> None:
    assert get_implementation(app.conf.worker_pool) is TaskPool
