"""Parts of the crew: they come and go while the stack runs, and all are stopped at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from kiosk_tasks.stack import State, Supervisor
from tests.conftest import wait_for

from .conftest import MakePart, gone
from .test_stack_supervisor import SERVE, Events

CREW = 5
TOGETHER = f"""
place = pathlib.Path(os.environ['PLACE'])
def end(*_):
    place.joinpath(f'{{os.getpid()}}.asked').touch()
    while len(list(place.glob('*.asked'))) < {CREW}:
        time.sleep(0.01)
    place.joinpath(f'{{os.getpid()}}.ended').touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
"""
"""A program that ends only once all of the crew have been asked to: else it is killed."""


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


def test_the_crew_is_asked_to_end_at_once(make_part: MakePart, tmp_path: Path) -> None:
    env = {**os.environ, "PLACE": str(tmp_path)}
    with Supervisor() as supervisor:
        crew = []
        for number in range(CREW):
            name = f"worker {number}"
            ready = env | {"READY": str(tmp_path / f"{name}.ready")}
            part = make_part(name, TOGETHER + SERVE, env=ready, crew=True)
            crew.append(supervisor.add(part))
        wait_for(lambda: all([running.ask() for running in crew]))
    assert len(list(tmp_path.glob("*.ended"))) == CREW


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
    broker = """
place = pathlib.Path(os.environ['PLACE'])
def end(*_):
    place.joinpath('before').write_text(str(len(list(place.glob('*.ended')))))
    sys.exit()
signal.signal(signal.SIGTERM, end)
"""
    code = f"""
import os, pathlib, sys, time
from kiosk_tasks.stack import Part, Supervisor
place = pathlib.Path({str(tmp_path)!r})
def part(name, code, crew):
    ready = place / (name + '.ready')
    env = os.environ | {{'PLACE': str(place), 'READY': str(ready)}}
    script = 'import os, pathlib, signal, sys, time\\n' + code + {SERVE!r}
    argv = (sys.executable, '-S', '-I', '-c', script)
    return Part(name, argv, env, place / (name + '.log'), ready.exists, crew=crew)
with Supervisor() as supervisor:
    supervisor.start([part('broker', {broker!r}, False)])
    crew = [supervisor.add(part(f'worker{{n}}', {TOGETHER!r}, True)) for n in range({CREW})]
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
        assert len(family) == 1 + CREW
        os.kill(process.pid, signal.SIGKILL)
        assert gone(family, limit_s=40)
    assert (tmp_path / "before").read_text() == str(CREW)
