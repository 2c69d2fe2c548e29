"""Files that hold images, results or passwords are their owner's only, whatever the umask says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kiosk_tasks.scratch import scratch_folder
from kiosk_tasks.stack.home import Lock, new_run_folder, publish
from kiosk_tasks.storage.local import LocalStorage


@pytest.fixture(autouse=True)
def generous_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> set[tuple[str, int]]:
    """Return what there is below a folder, each as "folder" or "file" and its mode."""
    return {
        ("folder" if path.is_dir() else "file", stat.S_IMODE(path.stat().st_mode))
        for path in (folder, *folder.rglob("*"))
    }


PRIVATE = {("folder", 0o700), ("file", 0o600)}


def test_objects_of_a_local_bucket(tmp_path: Path) -> None:
    bucket, source = LocalStorage(tmp_path / "a" / "bucket"), tmp_path / "source"
    source.write_bytes(b"pixels")  # readable by all
    bucket.put("uploads/1/image.tif", b"pixels")
    bucket.upload("uploads/2/image.tif", source)
    assert bucket.put_new("output/1/result.zip", b"zip")
    assert bucket.upload_new("output/2/result.zip", source)
    bucket.put("uploads/1/image.tif", b"other pixels")
    assert modes(tmp_path / "a") == PRIVATE


def test_object_that_is_being_written(tmp_path: Path) -> None:
    bucket = LocalStorage(tmp_path / "bucket")
    with bucket._part("uploads/image.tif") as part:
        part.write_bytes(b"half")
        assert modes(tmp_path / "bucket") == PRIVATE


def test_scratch(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "scratch") as folder:
        assert modes(tmp_path / "scratch") == {("folder", 0o700)}
    assert not folder.exists()


def test_home_of_a_stack(tmp_path: Path) -> None:
    home = tmp_path / "home"
    lock = Lock(home)
    try:
        new_run_folder(home)
        publish(home, {"KIOSK_BROKER_URL": "redis://:password@127.0.0.1/0"})
        assert stat.S_IMODE((home / "stack.env").stat().st_mode) == 0o600
        assert modes(home) == PRIVATE
    finally:
        lock.close()
