"""Parts of the crew: they come and go while the stack runs, and all are stopped at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from kiosk_tasks.stack import State, Supervisor
from tests.conftest import wait_for

from .conftest import MakePart, gone
from .test_stack_supervisor import SERVE, Events

SLOW_END = f"signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1.0), sys.exit()))\n{SERVE}"


def test_one_of_the_crew_comes_and_goes(make_part: MakePart) -> None:
    events = Events()
    with Supervisor(on_event=events) as supervisor:
        supervisor.start([make_part("broker", SERVE)])
        running = supervisor.add(make_part("worker 1", SERVE, crew=True))
        assert set(supervisor.pids) == {"broker", "worker 1"}
        wait_for(running.ask)
        running.send(signal.SIGTERM)
        wait_for(lambda: running.has_ended)
        supervisor.check()
        supervisor.remove("worker 1")
        assert set(supervisor.pids) == {"broker"}
        assert ("worker 1", State.STOPPED) in events
        supervisor.add(make_part("worker 1", SERVE, crew=True))  # the name is free again


def test_its_death_is_not_that_of_the_stack(make_part: MakePart) -> None:
    with Supervisor() as supervisor:
        running = supervisor.add(make_part("worker 1", f"os.fork()\n{SERVE}", crew=True))
        wait_for(running.ask)
        parent = psutil.Process(running.pid)
        family = [parent, *parent.children()]
        parent.kill()
        wait_for(lambda: running.has_ended)
        supervisor.check()
        supervisor.remove("worker 1")
        assert len(family) == 2
        assert gone(family)


def test_only_the_crew_is_added_and_under_names_of_their_own(make_part: MakePart) -> None:
    with Supervisor() as supervisor:
        with pytest.raises(ValueError, match="not of the crew"):
            supervisor.add(make_part("broker", SERVE))
        supervisor.add(make_part("worker 1", SERVE, crew=True))
        with pytest.raises(ValueError, match="runs already"):
            supervisor.add(make_part("worker 1", SERVE, crew=True))


def test_the_crew_is_asked_to_end_at_once(make_part: MakePart) -> None:
    """Each takes a second: one after the other would be five."""
    with Supervisor() as supervisor:
        crew = [
            supervisor.add(make_part(f"worker {number}", SLOW_END, crew=True))
            for number in range(5)
        ]
        wait_for(lambda: all([running.ask() for running in crew]))
        start = time.monotonic()
    assert time.monotonic() - start < 4


def test_wait_takes_a_step_again_and_again(make_part: MakePart) -> None:
    with Supervisor() as supervisor:
        supervisor.start([make_part("broker", SERVE)])
        steps: list[int] = []

        def step() -> None:
            steps.append(len(steps))
            if len(steps) == 3:
                supervisor.stop()

        supervisor.wait(step)
        assert steps == [0, 1, 2]


def test_the_guard_ends_the_crew_first_and_at_once(tmp_path: Path) -> None:
    """A supervisor that is killed: its guard ends the crew together, then the rest."""
    told = tmp_path / "told"
    part = (
        "import pathlib, signal, sys, time\n"
        "name, seconds = sys.argv[1], float(sys.argv[2])\n"
        "def end(*_):\n"
        "    time.sleep(seconds)\n"
        f"    open({str(told)!r}, 'a').write(name + '\\n')\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "pathlib.Path(name + '.ready').touch()\n"
        "signal.pause()\n"
    )
    code = f"""
import os, pathlib, sys, time
from kiosk_tasks.stack import Part, Supervisor
def part(name, seconds, crew):
    ready = pathlib.Path(name + '.ready')
    argv = (sys.executable, '-S', '-I', '-c', {part!r}, name, seconds)
    return Part(name, argv, dict(os.environ), pathlib.Path(name + '.log'), ready.exists, crew=crew)
with Supervisor() as supervisor:
    supervisor.start([part('broker', '0', False)])
    crew = [supervisor.add(part(f'worker{{n}}', '1', True)) for n in range(5)]
    while not all([running.ask() for running in crew]):
        time.sleep(0.01)
    print(*supervisor.pids.values(), flush=True)
    supervisor.wait()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        family = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        assert len(family) == 6
        start = time.monotonic()
        os.kill(process.pid, signal.SIGKILL)
        assert gone(family, limit_s=20)
        assert time.monotonic() - start < 4
    assert told.read_text().split()[-1] == "broker"
    assert len(told.read_text().split()) == 6
