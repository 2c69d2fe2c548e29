"""Requests that arrive together share a run, and none is harmed by its neighbours."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from kiosk_tasks.serving.batching import Abandoned, Arrays, Batcher, Limits, QueueFull


class Runner:
    """A model that doubles, notes the size of each run, and can be held back."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, inputs: Arrays) -> Arrays:
        self.entered.set()
        assert self.gate.wait(10)
        self.sizes.append(len(inputs["x"]))
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return {"y": inputs["x"] * 2}


def items(*values: float) -> Arrays:
    return {"x": np.array(values, "f4")}


def together(
    batcher: Batcher, runner: Callable[[Arrays], Arrays], requests: list[Arrays]
) -> list[Future[Arrays]]:
    """Submit each request from a thread of its own and wait for all."""
    with ThreadPoolExecutor(len(requests)) as pool:
        return [
            pool.submit(batcher.submit, "k", runner, request, items=len(request["x"]))
            for request in requests
        ]


def test_requests_share_a_run_and_each_gets_its_part() -> None:
    runner, told = Runner(), []
    batcher = Batcher(Limits(max_items=6, max_wait_s=10), on_run=lambda *run: told.append(run[:3]))
    done = together(batcher, runner, [items(1), items(2, 3), items(4, 5, 6)])
    assert [future.result()["y"].tolist() for future in done] == [[2], [4, 6], [8, 10, 12]]
    assert runner.sizes == [6]
    assert told == [("k", 3, 6)]


def test_a_batch_does_not_wait_longer_than_told() -> None:
    runner = Runner()
    batcher = Batcher(Limits(max_items=100, max_wait_s=0.001))
    assert batcher.submit("k", runner, items(1), items=1)["y"].tolist() == [2]


def test_a_batch_grows_while_the_model_is_busy() -> None:
    runner = Runner()
    batcher = Batcher(Limits(max_wait_s=0.0, max_runs=1))
    runner.gate.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(batcher.submit, "k", runner, items(0), items=1)
        assert runner.entered.wait(10)
        rest = [pool.submit(batcher.submit, "k", runner, items(i), items=1) for i in (1, 2, 3)]
        while batcher._queued < 4:  # all have joined; nothing else tells
            threading.Event().wait(0.001)
        runner.gate.set()
    assert first.result()["y"].tolist() == [0]
    assert [future.result()["y"].tolist() for future in rest] == [[2], [4], [6]]
    assert runner.sizes == [1, 3]


def test_a_request_that_does_not_fit_starts_the_next_batch() -> None:
    runner = Runner()
    batcher = Batcher(Limits(max_items=3, max_wait_s=0.2))
    done = together(batcher, runner, [items(1, 1), items(2, 2)])
    assert [future.result()["y"].tolist() for future in done] == [[2, 2], [4, 4]]
    assert runner.sizes == [2, 2]


def test_large_and_single_requests_run_alone() -> None:
    runner = Runner()
    batcher = Batcher(Limits(max_items=2, max_wait_s=10))
    assert len(batcher.submit("k", runner, items(1, 2, 3), items=3)["y"]) == 3
    assert len(batcher.submit("k", runner, items(1), items=None)["y"]) == 1
    assert runner.sizes == [3, 1]


def test_one_bad_request_does_not_fail_its_neighbours() -> None:
    runner = Runner()
    batcher = Batcher(Limits(max_items=3, max_wait_s=10))
    good, bad, other = together(batcher, runner, [items(1), items(-1), items(2)])
    assert good.result()["y"].tolist() == [2]
    assert other.result()["y"].tolist() == [4]
    with pytest.raises(ValueError, match="negative"):
        bad.result()
    assert runner.sizes == [3, 1, 1, 1]


def test_outputs_that_cannot_be_split_are_computed_singly() -> None:
    def total(inputs: Arrays) -> Arrays:
        return {"y": inputs["x"].sum(keepdims=True)}

    done = together(Batcher(Limits(max_items=2, max_wait_s=10)), total, [items(1), items(5)])
    assert [future.result()["y"].tolist() for future in done] == [[1], [5]]


def test_a_full_queue_refuses_and_takes_again_later() -> None:
    runner = Runner()
    batcher = Batcher(Limits(max_queued=1))
    runner.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(batcher.submit, "k", runner, items(1), items=1)
        assert runner.entered.wait(10)
        with pytest.raises(QueueFull):
            batcher.submit("k", runner, items(2), items=1)
        runner.gate.set()
        assert first.result()["y"].tolist() == [2]
    assert batcher.submit("k", runner, items(3), items=1)["y"].tolist() == [6]


def test_a_request_that_nobody_waits_for_is_not_run() -> None:
    runner = Runner()
    with pytest.raises(Abandoned):
        Batcher(Limits()).submit("k", runner, items(1), items=1, wanted=lambda: False)
    assert runner.sizes == []


def test_a_leader_that_is_interrupted_leaves_nobody_waiting() -> None:
    started = threading.Event()

    def interrupted(_inputs: Arrays) -> Arrays:
        started.set()
        raise KeyboardInterrupt

    batcher = Batcher(Limits(max_items=2, max_wait_s=10))
    errors: list[type[BaseException]] = []

    def ask() -> None:
        try:
            batcher.submit("k", interrupted, items(1), items=1)
        except (KeyboardInterrupt, Abandoned) as exc:
            errors.append(type(exc))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(errors, key=str) == [KeyboardInterrupt, Abandoned]
