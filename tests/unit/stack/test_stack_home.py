"""The home folder: one stack at a time, found by others through `stack.env`."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from kiosk_tasks.stack import HomeBusy, running
from kiosk_tasks.stack.home import PID_KEY, RUNS_KEPT, Lock, forget, new_run_folder, publish

VALUES = {"KIOSK_BROKER_URL": "redis://:a=b@127.0.0.1:1/0", PID_KEY: str(os.getpid())}


def test_published_values_are_read_back_until_forgotten(tmp_path: Path) -> None:
    publish(tmp_path, VALUES)
    assert running(tmp_path) == VALUES
    assert [path.name for path in tmp_path.iterdir()] == ["stack.env"]
    forget(tmp_path)
    assert running(tmp_path) is None


def test_only_the_owner_reads_the_passwords(tmp_path: Path) -> None:
    publish(tmp_path, VALUES)
    assert stat.S_IMODE((tmp_path / "stack.env").stat().st_mode) == 0o600


def test_file_of_a_dead_stack_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-S", "-I", "-c", ""]) as process:
        process.wait()
    publish(tmp_path, {**VALUES, PID_KEY: str(process.pid)})
    assert running(tmp_path) is None
    assert not (tmp_path / "stack.env").exists()


def test_process_that_was_given_the_number_later_is_not_the_stack(tmp_path: Path) -> None:
    publish(tmp_path, VALUES)
    os.utime(tmp_path / "stack.env", (1_000_000_000, 1_000_000_000))
    assert running(tmp_path) is None


@pytest.mark.parametrize("text", ["", "nonsense", f"{PID_KEY}=x"])
def test_damaged_file_is_removed(tmp_path: Path, text: str) -> None:
    (tmp_path / "stack.env").write_text(text)
    assert running(tmp_path) is None
    assert not (tmp_path / "stack.env").exists()


def test_second_lock_says_who_holds_the_first(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "home")
    with pytest.raises(HomeBusy, match=f"process {os.getpid()}"):
        Lock(tmp_path / "home")
    lock.close()
    Lock(tmp_path / "home").close()


def test_lock_waits_for_the_guard_of_a_dead_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heir of the lock outlives the stack, as the guard does; the next stack waits for it."""
    holder = (
        "import os, sys; from pathlib import Path; from kiosk_tasks.stack.home import Lock\n"
        "lock = Lock(Path(sys.argv[1]))\n"
        "if os.fork() == 0:\n"
        "    sys.stdin.read(); os._exit(0)\n"
        "os._exit(0)\n"
    )
    argv = [sys.executable, "-c", holder, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.wait()
        monkeypatch.setattr("kiosk_tasks.stack.home.CLEAN_UP_LIMIT_S", 0.1)
        with pytest.raises(HomeBusy):
            Lock(tmp_path)
        monkeypatch.undo()
        process.stdin.close()
        Lock(tmp_path).close()


def test_only_the_newest_run_folders_are_kept(tmp_path: Path) -> None:
    made = [new_run_folder(tmp_path) for _ in range(RUNS_KEPT + 3)]
    assert sorted((tmp_path / "run").iterdir()) == made[-RUNS_KEPT:]
