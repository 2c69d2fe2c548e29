from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kiosk_tasks.errors import StorageFull, StorageUnavailable
from kiosk_tasks.scratch import fetching_into, remove_stale_scratch, scratch_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from kiosk_tasks.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])) as folder:
    (folder / "input").write_bytes(b"pixels")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_goes_on_every_exit(tmp_path: Path) -> None:
    place = tmp_path / "not" / "there"
    with scratch_folder(place) as folder:
        assert folder.parent == place
        (folder / "sub").mkdir()
    with pytest.raises(ZeroDivisionError), scratch_folder(place):
        raise ZeroDivisionError
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False
    )
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    pid = left.name.split("-")[1]
    others = [
        tmp_path / left.name.replace(left.name.split("-")[3], "0" * 8),
        tmp_path / "kiosk-notes",
        tmp_path / "kiosk-1.txt",
    ]
    for other in others:
        other.mkdir()
    link = tmp_path / left.name.replace(pid, f"{pid}0")
    link.symlink_to(others[0])
    with scratch_folder(tmp_path) as ours:
        reused = tmp_path / f"kiosk-{os.getpid()}-12345-{left.name.split('-')[3]}-x"
        reused.mkdir()
        assert sorted(remove_stale_scratch(tmp_path)) == sorted([left, reused])
        assert ours.is_dir()
    assert sorted(tmp_path.iterdir()) == sorted([*others, link])
    assert remove_stale_scratch(tmp_path / "missing") == []


def test_a_full_disk_may_pass(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageFull, match=r"Free some space.*KIOSK_SCRATCH") as caught,
        scratch_folder(tmp_path),
    ):
        raise OSError(errno.ENOSPC, "full")
    assert caught.value.retry
    with pytest.raises(PermissionError), scratch_folder(tmp_path):
        raise PermissionError(errno.EACCES, "of something else")
    assert list(tmp_path.iterdir()) == []


def test_whose_disk_is_full(tmp_path: Path) -> None:
    bucket = StorageFull("the bucket's disk is full.")
    with (
        pytest.raises(StorageFull, match="KIOSK_SCRATCH"),
        scratch_folder(tmp_path) as folder,
        fetching_into(folder),
    ):
        raise bucket
    with pytest.raises(StorageFull, match="the bucket's"), scratch_folder(tmp_path):
        raise bucket


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StorageUnavailable, match="KIOSK_SCRATCH"), scratch_folder(file):
        pass
