"""The supervisor: order, readiness, crashes, stopping."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from kiosk_tasks.stack import PartDied, PartNotReady, State, Supervisor

from .conftest import MakePart, gone

SERVE = "pathlib.Path(os.environ['READY']).touch()\nsignal.pause()"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVE


class Events(list[tuple[str, State]]):
    """What the supervisor told, in order."""

    def __call__(self, part: str, state: State) -> None:
        self.append((part, state))


def test_parts_start_when_their_needs_are_ready_and_stop_in_reverse(make_part: MakePart) -> None:
    events = Events()
    with Supervisor(on_event=events) as supervisor:
        supervisor.start(
            [
                make_part("broker", SERVE),
                make_part("server", SERVE),
                make_part("worker", SERVE, needs=frozenset({"broker"})),
            ]
        )
        processes = [psutil.Process(pid) for pid in supervisor.pids.values()]
        supervisor.check()
    assert events.index(("worker", State.STARTING)) > events.index(("broker", State.READY))
    assert events.index(("server", State.STARTING)) < events.index(("broker", State.READY))
    assert [part for part, state in events if state is State.STOPPED] == [
        "worker",
        "server",
        "broker",
    ]
    assert gone(processes)


def test_slow_part_does_not_hold_up_one_that_does_not_need_it(make_part: MakePart) -> None:
    """The slow part is only ready when the other one already is: a deadlock if not concurrent."""
    quick = make_part("quick", SERVE)
    with Supervisor() as supervisor:
        supervisor.start([make_part("slow", SERVE, ready=quick.ready), quick])
        assert set(supervisor.pids) == {"slow", "quick"}


def test_part_that_ends_while_it_starts_is_shown_with_its_last_lines(make_part: MakePart) -> None:
    code = "for i in range(40): print('line', i, flush=True)\nsys.exit('no such model')"
    with Supervisor() as supervisor, pytest.raises(PartDied) as caught:
        supervisor.start([make_part("model server", code)])
    sentence = str(caught.value)
    assert sentence.startswith("The model server ended with exit code 1.")
    assert "  line 39\n  no such model" in sentence
    assert "line 26" in sentence
    assert "line 25" not in sentence


def test_part_that_is_killed_later_is_found_by_check_and_wait(make_part: MakePart) -> None:
    with Supervisor() as supervisor:
        supervisor.start([make_part("worker", SERVE)])
        os.kill(supervisor.pids["worker"], signal.SIGKILL)
        with pytest.raises(PartDied, match=r"The worker was ended by SIGKILL\. It logged nothing"):
            supervisor.wait()
        with pytest.raises(PartDied):
            supervisor.check()


def test_part_that_never_becomes_ready_is_named(make_part: MakePart) -> None:
    part = make_part("flower", "print('up', flush=True)\nsignal.pause()", start_limit_s=0.5)
    with Supervisor() as supervisor, pytest.raises(PartNotReady, match="The flower runs but"):
        supervisor.start([part])


def test_part_that_ignores_its_signal_is_killed_with_its_children(
    make_part: MakePart,
) -> None:
    with Supervisor() as supervisor:
        supervisor.start([make_part("deaf", f"os.fork()\n{DEAF}", grace_s=0.2)])
        parent = psutil.Process(supervisor.pids["deaf"])
        family = [parent, *parent.children()]
    assert len(family) == 2
    assert gone(family)


def test_part_that_never_became_ready_gets_little_grace(make_part: MakePart) -> None:
    deaf = make_part("deaf", DEAF, grace_s=600, ready=lambda: False, start_limit_s=0.1)
    with Supervisor() as supervisor, pytest.raises(PartNotReady):
        supervisor.start([deaf])


def test_hurry_ends_the_grace(make_part: MakePart) -> None:
    with Supervisor() as supervisor:
        supervisor.start([make_part("deaf", DEAF, grace_s=600)])
        supervisor.hurry()


def test_process_that_left_its_group_is_ended_too(make_part: MakePart, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        f"    pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n"
        f"    {DEAF.replace(chr(10), chr(10) + '    ')}\n"
        "signal.pause()"
    )
    with Supervisor() as supervisor:
        supervisor.start([make_part("daemon", code)])
        runaway = psutil.Process(int(pid_file.read_text()))
    assert gone([runaway])


def test_wait_returns_when_it_is_stopped_elsewhere(make_part: MakePart) -> None:
    with Supervisor() as supervisor:
        supervisor.start([make_part("broker", SERVE)])
        stopper = threading.Thread(target=supervisor.stop)
        stopper.start()
        supervisor.wait()
        stopper.join()


def test_guard_that_is_gone_is_reported(make_part: MakePart) -> None:
    with Supervisor() as supervisor:
        supervisor.start([make_part("broker", SERVE)])
        (guard,) = (
            child
            for child in psutil.Process().children()
            if "guard.py" in " ".join(child.cmdline())
        )
        guard.kill()
        with pytest.raises(PartDied, match="watchdog"):
            supervisor.wait()


def test_part_may_not_need_one_that_comes_later(make_part: MakePart) -> None:
    worker = make_part("worker", SERVE, needs=frozenset({"broker"}))
    with Supervisor() as supervisor, pytest.raises(ValueError, match="'broker'"):
        supervisor.start([worker])
    assert not worker.log_path.exists()
