"""Settings are read once, and again as soon as what they are read from changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kiosk_tasks.settings import STACK_ENV, InvalidSetting, Settings


def test_reading_twice_costs_once() -> None:
    assert Settings.load() is Settings.load()


def test_what_has_changed_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings.load().max_batch == 8
    monkeypatch.setenv("KIOSK_MAX_BATCH", "3")
    assert Settings.load().max_batch == 3
    file = Path(os.environ["KIOSK_HOME"]) / STACK_ENV
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("KIOSK_MAX_FRAMES=5\n")
    assert Settings.load().max_frames == 5
    file.write_text("KIOSK_MAX_FRAMES=77\n")
    assert Settings.load().max_frames == 77
    file.unlink()
    assert Settings.load().max_frames == 10_000


def test_a_wrong_value_is_said_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    Settings.load()
    monkeypatch.setenv("KIOSK_MAX_BATCH", "none")
    for _ in range(2):
        with pytest.raises(InvalidSetting):
            Settings.load()
