"""The stack with a real broker; the other parts are small processes that stand in for the real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import redis

from kiosk_tasks.stack import HomeBusy, Part, PartDied, Stack, State, running
from kiosk_tasks.stack.parts import Plan, parts_of

SERVER = """
import os, signal, socket, sys
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((options["--host"], int(options["--port"])))
listener.listen()
with open(options["--port-file"], "w") as file:
    file.write(options["--port"])
signal.pause()
"""

WORKER = """
import os, signal, socket
host, port = os.environ["KIOSK_BROKER_URL"].rpartition("@")[2].split("/")[0].split(":")
socket.create_connection((host, int(port))).close()
for _ in range(2):
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pause()
if os.fork() == 0:
    os.setsid()
    signal.pause()
open(os.environ["KIOSK_READY_FILE"], "w").close()
signal.pause()
"""


def stand_ins(plan: Plan) -> Sequence[Part]:
    """The real broker, and for the rest processes that honour the same contract."""
    broker, server, worker = parts_of(replace(plan, flower=None))[:3]
    python = (sys.executable, "-S", "-I", "-c")
    options = tuple(server.argv[3 + len(plan.models_dirs) :])
    return (
        broker,
        replace(server, argv=(*python, SERVER, *options), start_limit_s=20),
        replace(worker, argv=(*python, WORKER), grace_s=2, start_limit_s=20),
    )


def small_stack(home: Path) -> Stack:
    return Stack(home, queues=["predict"], flower=False, parts_of=stand_ins)


@contextmanager
def client(stack: Stack) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(stack.values["KIOSK_BROKER_URL"]) as connection:
        yield connection


def gone(processes: Sequence[psutil.Process], *, limit_s: float = 20.0) -> bool:
    """Wait until every process has ended (a zombie that nobody collects has)."""

    def runs(process: psutil.Process) -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    deadline = time.monotonic() + limit_s
    while any(map(runs, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_jobs_survive_a_restart_in_the_same_home(tmp_path: Path) -> None:
    with small_stack(tmp_path) as stack, client(stack) as broker:
        broker.lpush("predict", "job")
        assert running(tmp_path) == stack.values
        first = stack.values
    assert running(tmp_path) is None
    with small_stack(tmp_path) as stack, client(stack) as broker:
        assert broker.lrange("predict", 0, -1) == [b"job"]
        assert stack.values["KIOSK_BROKER_URL"] != first["KIOSK_BROKER_URL"]


def test_broker_refuses_whoever_lacks_the_password(tmp_path: Path) -> None:
    with small_stack(tmp_path) as stack:
        address = stack.values["KIOSK_BROKER_URL"].rpartition("@")[2]
        with (
            redis.Redis.from_url(f"redis://{address}") as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()


def test_two_stacks_do_not_meet_but_one_home_has_one(tmp_path: Path) -> None:
    with small_stack(tmp_path / "a") as one, small_stack(tmp_path / "b") as other:
        assert one.values["KIOSK_BROKER_URL"] != other.values["KIOSK_BROKER_URL"]
        with pytest.raises(HomeBusy, match=f"process {os.getpid()}"):
            small_stack(tmp_path / "a").start()
        one.check()


def test_long_home_path_with_spaces_and_quotes(tmp_path: Path) -> None:
    home = tmp_path / ("a long folder " * 8) / 'with "quotes"'
    with small_stack(home) as stack, client(stack) as broker:
        assert broker.config_get("dir")["dir"] == str(home / "valkey")


def test_progress_is_told(tmp_path: Path) -> None:
    events: list[tuple[str, State]] = []
    stack = small_stack(tmp_path)
    stack.on_event = lambda part, state: events.append((part, state))
    with stack:
        assert {part for part, state in events if state is State.READY} == {
            "broker",
            "model server",
            "worker",
        }
    assert events[-1] == ("broker", State.STOPPED)


def test_dead_broker_ends_the_wait_with_its_log(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    with small_stack(tmp_path) as stack:
        ours = set(psutil.Process().children()) - before
        (broker,) = (child for child in ours if child.name() == "valkey-server")
        broker.kill()
        with pytest.raises(PartDied, match=r"(?s)The broker was ended by SIGKILL.*Ready to accept"):
            stack.wait()


def test_failed_start_leaves_nothing(tmp_path: Path) -> None:
    def broken(plan: Plan) -> Sequence[Part]:
        broker, server, worker = stand_ins(plan)
        return broker, server, replace(worker, argv=(*worker.argv[:4], "raise SystemExit(3)"))

    before = set(psutil.Process().children(recursive=True))
    stack = Stack(tmp_path, queues=["predict"], flower=False, parts_of=broken)
    with pytest.raises(PartDied, match="The worker ended with exit code 3"):
        stack.start()
    assert set(psutil.Process().children(recursive=True)) == before
    assert running(tmp_path) is None
    with small_stack(tmp_path):
        pass


@contextmanager
def stack_in_another_process(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a stack in a process of its own; ready when this yields."""
    script = f"""
        import signal
        import sys
        from pathlib import Path
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup
        sys.path[:0] = [{str(Path.cwd())!r}, {str(Path(__file__).parent)!r}]
        from test_stack_broker import small_stack
        with small_stack(Path(sys.argv[1])) as stack:
            print("ready", flush=True)
            stack.wait()
    """
    argv = [sys.executable, "-c", textwrap.dedent(script), str(home)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_killed_parent_leaves_no_orphan_and_the_home_is_free_again(tmp_path: Path) -> None:
    with stack_in_another_process(tmp_path) as process:
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) == 7  # guard, broker, server, worker and its two children, the runaway
        process.kill()
        process.wait()
        with small_stack(tmp_path) as stack:  # waits until the guard is done
            assert gone(family, limit_s=0.5)
            assert stack.values["KIOSK_STACK_PID"] == str(os.getpid())
    assert running(tmp_path) is None


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 128 + signal.SIGTERM),
        (signal.SIGHUP, 128 + signal.SIGHUP),
        (signal.SIGINT, -signal.SIGINT),
    ],
)
def test_signal_stops_in_order(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with stack_in_another_process(tmp_path) as process:
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert process.wait(20) == code
        assert gone(family)
        assert not (tmp_path / "stack.env").exists()
    (log,) = tmp_path.glob("run/*/broker.log")
    assert "bye bye" in log.read_text()
