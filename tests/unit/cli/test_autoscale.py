"""The law's bounds on one machine."""

from __future__ import annotations

import pytest

from kiosk_tasks.cli.autoscale import local_policies
from kiosk_tasks.scaling import Policy
from kiosk_tasks.settings import Settings

DRAIN_S = 10.0  # the setting's default


def test_the_target_is_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    policies = local_policies(Settings.load(), 4)
    assert set(policies) >= {"predict", "track", "spot"}
    assert policies["predict"] == Policy(DRAIN_S, slots=1, least=0, most=4)
    monkeypatch.setenv("KIOSK_TARGET_DRAIN", "60")
    assert local_policies(Settings.load(), 4)["predict"].target_drain_s == 60


def test_a_queue_may_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIOSK_SCALING", '{"track": {"min": 1, "max": 2, "slots": 1, "drain": 300}}')
    policies = local_policies(Settings.load(), 4)
    assert policies["track"] == Policy(300, slots=1, least=1, most=2)
    assert policies["predict"].target_drain_s == DRAIN_S


def test_nothing_is_more_than_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIOSK_WORKER_SLOTS", "3")
    monkeypatch.setenv("KIOSK_MIN_WORKERS", "5")
    assert local_policies(Settings.load(), 7)["predict"] == Policy(DRAIN_S, 3, 2, 2)
    assert local_policies(Settings.load(), 2)["predict"] == Policy(DRAIN_S, 2, 1, 1)
