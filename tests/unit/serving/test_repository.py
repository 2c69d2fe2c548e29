"""Versions appear, change and disappear on disk; what is served follows."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from kiosk_tasks.serving.repository import NotServed, Repository
from kiosk_tasks.serving.versions import VersionState, VersionStatus


def put(folder: Path, name: str, version: int | str, text: str = "fine") -> Path:
    """Write a version whose model is its text; "broken" cannot be loaded."""
    path = folder / name / str(version)
    path.mkdir(parents=True, exist_ok=True)
    (path / "saved_model.pb").write_text(text)
    return path


def load(path: Path) -> str:
    text = (path / "saved_model.pb").read_text()
    if text.startswith("broken"):
        raise ValueError("damaged")
    return text


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, at most 10 s."""
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail("It did not happen.")


def test_the_newest_version_is_the_default(tmp_path: Path) -> None:
    for version, text in ((1, "one"), (9, "nine"), (10, "ten")):
        put(tmp_path, "M", version, text)
    put(tmp_path, "M", "draft", "not a version")
    repository = Repository([tmp_path], load)
    repository.refresh()
    assert repository.get("M") == (10, "ten")
    assert repository.get("M", 9) == (9, "nine")
    assert [status.version for status in repository.status("M")] == [10, 9, 1]


def test_what_is_not_there_is_said_as_tensorflow_serving_says_it(tmp_path: Path) -> None:
    put(tmp_path, "M", 1)
    repository = Repository([tmp_path], load)
    repository.refresh()
    with pytest.raises(NotServed, match=r"Servable not found for request: Latest\(X\)"):
        repository.get("X")
    with pytest.raises(NotServed, match=r"Servable not found for request: Specific\(M, 2\)"):
        repository.get("M", 2)
    assert repository.status("X") == []


def test_versions_come_and_go(tmp_path: Path) -> None:
    put(tmp_path, "M", 1, "one")
    repository = Repository([tmp_path], load)
    repository.refresh()
    path = put(tmp_path, "M", 2, "two")
    repository.refresh()
    assert repository.get("M") == (2, "two")
    shutil.rmtree(path)
    repository.refresh()
    assert repository.get("M") == (1, "one")


def test_a_broken_version_is_reported_and_heals(tmp_path: Path) -> None:
    put(tmp_path, "M", 1, "one")
    put(tmp_path, "M", 2, "broken")
    repository = Repository([tmp_path], load)
    repository.refresh()
    assert repository.get("M") == (1, "one")
    assert repository.status("M") == [
        VersionStatus(2, VersionState.END, "ValueError: damaged"),
        VersionStatus(1, VersionState.AVAILABLE),
    ]
    put(tmp_path, "M", 2, "whole again")
    repository.refresh()
    assert repository.get("M") == (2, "whole again")


def test_an_unchanged_version_is_loaded_once(tmp_path: Path) -> None:
    put(tmp_path, "M", 1, "broken")
    put(tmp_path, "M", 2)
    loads: list[Path] = []

    def count(path: Path) -> str:
        loads.append(path)
        return load(path)

    repository = Repository([tmp_path], count)
    repository.refresh()
    repository.refresh()
    assert len(loads) == 2


def test_the_old_model_serves_until_the_new_one_is_loaded(tmp_path: Path) -> None:
    path = put(tmp_path, "M", 1, "old")
    seen: list[object] = []

    def look(path: Path) -> str:
        if (path / "saved_model.pb").read_text() == "renewed":
            seen.append((repository.get("M"), repository.status("M")[0].state))
        return load(path)

    repository = Repository([tmp_path], look)
    repository.refresh()
    put(tmp_path, "M", 1, "renewed")
    repository.refresh()
    assert seen == [((1, "old"), VersionState.AVAILABLE)]
    assert repository.get("M") == (1, "renewed")
    put(tmp_path, "M", 1, "broken now")
    repository.refresh()
    assert repository.get("M") == (1, "renewed")
    (path / "saved_model.pb").write_text("x")
    os.utime(path / "saved_model.pb", ns=(1, 1))
    repository.refresh()
    assert repository.get("M") == (1, "x")


def test_a_new_version_is_loading_until_it_answers(tmp_path: Path) -> None:
    put(tmp_path, "M", 1)
    states: list[VersionState] = []

    def look(path: Path) -> str:
        states.append(repository.status("M")[0].state)
        return load(path)

    repository = Repository([tmp_path], look)
    repository.refresh()
    assert states == [VersionState.LOADING]


def test_an_earlier_folder_hides_a_later_one(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    put(first, "M", 1, "first")
    put(second, "M", 1, "second")
    put(second, "M", 2, "newer")
    repository = Repository([first, second, tmp_path / "missing"], load)
    repository.refresh()
    assert repository.get("M", 1) == (1, "first")
    assert repository.get("M") == (2, "newer")
    shutil.rmtree(first)
    repository.refresh()
    assert repository.get("M", 1) == (1, "second")


def test_changes_are_noticed_while_running(tmp_path: Path) -> None:
    put(tmp_path, "M", 1)
    repository = Repository([tmp_path], load, poll_s=0.01)
    repository.start()
    try:
        assert repository.get("M")[0] == 1
        put(tmp_path, "M", 2)
        wait_for(lambda: repository.get("M")[0] == 2)
    finally:
        repository.stop()


def test_an_unreadable_folder_does_not_end_the_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository([tmp_path], load, poll_s=0.01)
    repository.start()
    failed = threading.Event()

    def fail() -> None:
        failed.set()
        raise OSError("no such device")

    try:
        with monkeypatch.context() as patch:
            patch.setattr(repository, "refresh", fail)
            assert failed.wait(10)
        put(tmp_path, "M", 1)
        wait_for(lambda: bool(repository.status("M")))
    finally:
        repository.stop()
