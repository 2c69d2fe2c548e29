"""The autoscaler on workers and numbers that are not real, and on a clock that a test moves."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from kiosk_tasks.errors import BrokerUnavailable
from kiosk_tasks.queues import QueueState
from kiosk_tasks.stack import PartDied, PartNotReady, autoscaler, crew
from kiosk_tasks.stack.autoscaler import Autoscaler, Scale
from kiosk_tasks.stack.crew import Crew
from kiosk_tasks.stack.shares import Need, shares
from kiosk_tasks.stack.workers import node_of

WINDOW_S = 20.0
JOB_LIMIT_S = 600.0


@dataclass
class FakeProcess:
    """A worker's process: it starts when told, ends at a signal unless it is deaf."""

    name: str
    ready: bool = True
    ended: bool = False
    deaf: bool = False
    error: Exception | None = None
    signals: list[str] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        return self.ended

    @property
    def fate(self) -> str:
        return f"The worker {self.name} was ended by SIGKILL."

    def ask(self) -> bool:
        if self.error:
            raise self.error
        if self.ended:
            raise PartDied(self.fate)
        return self.ready

    def send(self, number: signal.Signals) -> None:
        self.signals.append(number.name)
        self.ended = not self.deaf

    def ask_to_end(self) -> None:
        self.send(signal.SIGTERM)


class FakeRemote:
    """The workers' side: which take from their queue, and what each holds."""

    def __init__(self) -> None:
        self.holds: dict[str, int] = {}
        self.left: set[str] = set()
        self.silent: set[str] = set()
        self.unwilling: set[str] = set()

    def leave(self, queue: str, nodes: Sequence[str]) -> set[str]:
        assert all(node.startswith(f"{queue}-") for node in nodes)
        agreed = set(nodes) - self.silent - self.unwilling
        self.left |= agreed
        return agreed

    def rejoin(self, queue: str, nodes: Sequence[str]) -> set[str]:
        assert all(node.startswith(f"{queue}-") for node in nodes)
        agreed = set(nodes) - self.silent
        self.left -= agreed
        return agreed

    def held(self, nodes: Sequence[str]) -> dict[str, int]:
        return {node: self.holds.get(node, 0) for node in nodes if node not in self.silent}


class Machine:
    """All of it, and the queues' wishes: `wants` sets them, `run` lets seconds pass."""

    def __init__(self, *, most: int = 4, slots: int = 1) -> None:
        self.now_s = 0.0
        self.running: dict[str, FakeProcess] = {}
        self.all: list[FakeProcess] = []
        self.next_error: Exception | None = None
        self.starts_ready = True
        self.remote = FakeRemote()
        self.states: list[QueueState] = []
        self.said: list[str] = []
        self.most_at_once = 0
        queues = ("predict", "track", "spot", "aged")
        sizes = dict.fromkeys(queues, slots)
        self.crew = Crew(
            self._start, self._remove, self.remote, slots=sizes, job_limit_s=JOB_LIMIT_S
        )
        scale = Scale(most, sizes, WINDOW_S)
        self.autoscaler = Autoscaler(self.crew, self._look, scale, self.said.append)
        self.broker_away = False

    def wants(self, **wanted: int | tuple[int, float]) -> None:
        """Set how many workers queues want, and, in a pair, how long their oldest job waits."""
        self.states = []
        for queue in ("predict", "track", "spot"):
            wish = wanted.get(queue, 0)
            count, oldest_s = wish if isinstance(wish, tuple) else (wish, 1.0 if wish else 0.0)
            self.states.append(QueueState(queue, count, 0, oldest_s, 10.0 * count, 0.0, count))

    def run(self, seconds: float) -> None:
        end = self.now_s + seconds
        while self.now_s < end:
            self.now_s += 0.2
            self.autoscaler.step()
            self.most_at_once = max(self.most_at_once, len(self.running))

    def names(self) -> list[str]:
        return sorted(self.running)

    def _look(self) -> list[QueueState]:
        if self.broker_away:
            raise BrokerUnavailable("away")
        return self.states

    def _start(self, queue: str, number: int) -> FakeProcess:
        name = f"{queue} {number}"
        assert name not in self.running
        process = FakeProcess(name, ready=self.starts_ready, error=self.next_error)
        self.running[name] = process
        self.all.append(process)
        return process

    def _remove(self, queue: str, number: int) -> None:
        del self.running[f"{queue} {number}"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine()
    for module in (autoscaler, crew):
        monkeypatch.setattr(f"{module.__name__}.time.monotonic", lambda: made.now_s)
    yield made
    assert made.most_at_once <= 4


def test_from_none_to_some_and_back(machine: Machine) -> None:
    machine.wants()
    machine.run(3)
    assert machine.names() == []
    machine.wants(predict=3)
    machine.run(2)
    assert machine.names() == ["predict 1", "predict 2", "predict 3"]
    machine.wants()
    machine.run(WINDOW_S - 2)
    assert len(machine.names()) == 3  # damped
    machine.run(8)
    assert machine.names() == []
    assert machine.said == [
        "predict: 0 → 3 workers, 3 jobs wait, about 30 s of work",
        "predict: 3 → 0 workers, no job is open",
    ]
    assert [process.signals for process in machine.all] == [["SIGINT"]] * 3


def test_a_worker_ends_only_when_it_holds_nothing(machine: Machine) -> None:
    machine.wants(predict=2)
    machine.run(2)
    busy, idle = node_of("predict", 1), node_of("predict", 2)
    machine.remote.holds[busy] = 1
    machine.wants()
    machine.run(WINDOW_S + 8)
    assert machine.remote.left == {busy, idle}  # neither takes more
    assert machine.names() == ["predict 1"]
    assert machine.running["predict 1"].signals == []
    machine.run(300)
    assert machine.running["predict 1"].signals == []
    machine.remote.holds.clear()
    machine.run(1.2)
    assert machine.running["predict 1"].signals == []  # a message may still be on its way
    machine.run(5)
    assert machine.names() == []


def test_idle_workers_leave_first(machine: Machine) -> None:
    machine.wants(predict=3)
    machine.run(2)
    machine.remote.holds = {node_of("predict", number): 1 for number in (1, 3)}
    machine.wants(predict=2)
    machine.run(WINDOW_S + 8)
    assert machine.names() == ["predict 1", "predict 3"]


def test_one_that_does_not_answer_counts_as_busy(machine: Machine) -> None:
    machine.wants(predict=2)
    machine.run(2)
    machine.remote.silent = {node_of("predict", 2)}
    machine.remote.holds = {node_of("predict", 1): 1}
    machine.wants(predict=1)
    machine.run(WINDOW_S + 4)
    assert machine.remote.left == {node_of("predict", 1)}


def test_one_that_does_not_answer_stays_until_any_run_has_ended(machine: Machine) -> None:
    machine.wants(predict=1)
    machine.run(2)
    machine.remote.silent = {node_of("predict", 1)}
    machine.wants()
    machine.run(JOB_LIMIT_S)
    assert machine.running["predict 1"].signals == []
    machine.run(WINDOW_S + 8)
    assert machine.all[0].signals == ["SIGTERM"]  # at which it puts its jobs back
    assert machine.names() == []


def test_one_that_has_not_agreed_to_leave_may_still_take_a_job(machine: Machine) -> None:
    machine.wants(predict=1)
    machine.run(2)
    machine.remote.unwilling = {node_of("predict", 1)}
    machine.wants()
    machine.run(WINDOW_S + 60)
    assert machine.all[0].signals == []
    machine.remote.unwilling = set()  # it is asked again and again
    machine.run(8)
    assert machine.names() == []


def test_one_that_leaves_is_called_back_before_another_is_started(machine: Machine) -> None:
    machine.wants(predict=1)
    machine.run(2)
    machine.remote.holds = {node_of("predict", 1): 1}
    machine.wants()
    machine.run(WINDOW_S + 4)
    assert machine.remote.left
    machine.wants(predict=1)
    machine.run(2)
    assert machine.remote.left == set()
    assert len(machine.all) == 1
    machine.remote.holds.clear()
    machine.run(30)
    assert machine.names() == ["predict 1"]
    assert machine.all[0].signals == []


def test_one_that_is_lost_is_replaced(machine: Machine) -> None:
    machine.wants(predict=2)
    machine.run(2)
    machine.running["predict 1"].ended = True
    machine.run(2)
    assert machine.names() == ["predict 1", "predict 2"]
    assert len(machine.all) == 3
    assert machine.said[1:] == [
        "The worker predict 1 was ended by SIGKILL. What it ran is run again.",
        "predict: 1 → 2 workers, 2 jobs wait, about 20 s of work",
    ]


def test_one_that_hangs_while_it_ends_is_removed(machine: Machine) -> None:
    machine.wants(predict=1)
    machine.run(2)
    machine.all[0].deaf = True
    machine.wants()
    machine.run(WINDOW_S + 50)
    assert machine.all[0].signals[0] == "SIGINT"
    assert "SIGTERM" in machine.all[0].signals
    assert machine.names() == []


@pytest.mark.parametrize("error", [PartDied("no such module"), PartNotReady("slow")])
def test_workers_that_cannot_start_are_tried_ever_more_rarely(
    machine: Machine, error: Exception
) -> None:
    machine.next_error = error
    machine.wants(predict=1)
    machine.run(60)
    assert 3 <= len(machine.all) <= 6
    assert str(error) in machine.said
    assert "predict: the next worker is tried in 4 s" in machine.said
    machine.next_error = None
    machine.run(70)
    assert machine.names() == ["predict 1"]


def test_one_that_works_is_no_sign_that_more_can_start(machine: Machine) -> None:
    """The machine's memory may be just enough for it."""
    machine.wants(predict=1)
    machine.run(2)
    machine.next_error = PartDied("no memory")
    machine.wants(predict=2)
    machine.run(60)
    assert 4 <= len(machine.all) <= 7
    machine.next_error = None
    machine.run(70)
    assert machine.names() == ["predict 1", "predict 2"]
    machine.next_error = PartDied("no memory")
    machine.wants(predict=3)
    machine.run(4)
    assert machine.said[-1] == "predict: the next worker is tried in 2 s"  # it is forgotten


def test_one_that_only_starts_is_not_asked_to_leave(machine: Machine) -> None:
    """It would not hear it, and might take a job in the next moment."""
    machine.starts_ready = False
    machine.wants(predict=1)
    machine.run(2)
    machine.wants()
    machine.run(WINDOW_S + 8)
    assert machine.names() == ["predict 1"]
    machine.all[0].ready = True
    machine.run(8)
    assert machine.all[0].signals == ["SIGINT"]
    assert machine.names() == []


def test_a_queue_gives_its_workers_to_one_that_has_work(machine: Machine) -> None:
    machine.wants(predict=4)
    machine.run(2)
    machine.wants(predict=4, track=4)
    machine.run(8)
    assert machine.names() == ["predict 1", "predict 2", "track 1", "track 2"]
    machine.wants(track=4)  # predict's are only kept: track needs them now
    machine.run(8)
    assert machine.names() == ["track 1", "track 2", "track 3", "track 4"]


def test_none_is_started_only_to_be_kept(machine: Machine) -> None:
    """Damping lets workers stay; those that have gone for other work need not come back."""
    machine.wants(predict=4)
    machine.run(2)
    machine.wants(track=4)
    machine.run(8)
    assert machine.names() == ["track 1", "track 2", "track 3", "track 4"]
    machine.wants()
    machine.run(WINDOW_S + 8)
    assert machine.names() == []
    assert len(machine.all) == 8


def test_the_least_of_idle_queues_takes_nothing_from_runs(machine: Machine) -> None:
    idle = [QueueState(queue, 0, 0, 0.0, 0.0, 0.0, 1) for queue in ("track", "aged")]
    machine.states = [*idle, QueueState("predict", 0, 3, 0.0, 3.0, 0.0, 3)]
    machine.run(2)
    assert machine.names() == ["aged 1", "predict 1", "predict 2", "predict 3"]


def test_a_run_is_waited_for_before_another_queue_gets_the_process(machine: Machine) -> None:
    machine.wants(predict=4)
    machine.run(2)
    machine.remote.holds = {node_of("predict", number): 1 for number in range(1, 5)}
    machine.wants(track=(4, 9.0))
    machine.run(60)
    assert len(machine.names()) == 4
    assert all(process.signals == [] for process in machine.all)
    machine.remote.holds.clear()
    machine.run(8)
    assert machine.names() == ["track 1", "track 2", "track 3", "track 4"]


def test_a_broker_that_is_away_changes_nothing(machine: Machine) -> None:
    machine.wants(predict=2)
    machine.run(2)
    machine.broker_away = True
    machine.wants()
    machine.run(60)
    assert machine.names() == ["predict 1", "predict 2"]


def need(queue: str, wanted: int, *, kept: int = 0, slots: int = 1, oldest_s: float = 0.0) -> Need:
    return Need(queue, wanted, max(wanted, kept), slots, oldest_s)


@pytest.mark.parametrize(
    ("needs", "most", "expected"),
    [
        ([need("a", 3)], 10, [3]),
        ([need("a", 30)], 10, [10]),
        ([need("a", 9), need("b", 1)], 4, [3, 1]),
        ([need("a", 9), need("b", 3)], 8, [6, 2]),
        ([need("a", 9), need("b", 9), need("c", 9)], 2, [1, 1, 0]),
        ([need("a", 9), need("b", 9, oldest_s=9), need("c", 9, oldest_s=5)], 2, [0, 1, 1]),
        ([need("a", 0, kept=4), need("b", 1)], 4, [3, 1]),
        ([need("a", 1, kept=4), need("b", 4)], 4, [1, 3]),
        ([need("a", 2, slots=2), need("b", 2)], 4, [1, 2]),
        ([need("a", 2, slots=2), need("b", 2)], 5, [2, 1]),
        ([need("a", 1, slots=2, oldest_s=9), need("b", 1)], 1, [0, 1]),
        ([], 4, []),
    ],
)
def test_processes_are_shared_out(needs: list[Need], most: int, expected: list[int]) -> None:
    assert list(shares(needs, most).values()) == expected
