"""From settings to adapters, once for each process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kiosk_tasks import wiring
from kiosk_tasks.storage.local import LocalStorage
from kiosk_tasks.storage.memory import MemoryStorage


def test_adapters_follow_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KIOSK_BUCKET", tmp_path.as_uri())
    monkeypatch.setenv("KIOSK_WORKSPACE", "memory://scratch")
    monkeypatch.setenv("KIOSK_MAX_PIXELS", "100")
    outside = wiring.adapters()
    assert isinstance(outside.storage, LocalStorage)
    assert outside.storage.root == tmp_path
    assert outside.limits.max_pixels == 100
    outside.workspace.put("job", "stage", 1)
    assert list(MemoryStorage.named("scratch").list()) == ["job/stage.artifact"]


@pytest.mark.parametrize(
    ("given", "items"),
    [
        ({}, 32),
        ({"KIOSK_MAX_BATCH": "4"}, 4),
        ({"TF_MAX_BATCH_SIZE": "16"}, 16),
        ({"KIOSK_MAX_BATCH": "4", "KIOSK_MAX_ITEMS": "64"}, 64),
    ],
)
def test_small_tiles_of_a_request_are_no_more_than_a_server_was_said_to_take(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], items: int
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert wiring.adapters().limits.max_items == items


def test_one_set_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    first = wiring.adapters()
    assert wiring.adapters() is first
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        assert wiring.adapters() is not first
