"""`kiosk doctor --admit`: what may be so where it runs does not make it fail."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from kiosk_tasks.cli import admin
from kiosk_tasks.cli.finding import Finding
from kiosk_tasks.cli.main import build

WRONG = [
    Finding(True, "Python 3.11"),
    Finding(False, "broker is reached without TLS"),
    Finding(False, "no worker consumes the queue track"),
]


@pytest.mark.parametrize(
    ("admitted", "status"),
    [([], 1), (["without TLS"], 1), (["without TLS", "no worker consumes"], 0), (["Python"], 1)],
)
def test_only_what_is_not_admitted_counts(
    admitted: list[str], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def examine(_: Any) -> list[Finding]:
        return WRONG

    monkeypatch.setattr(admin, "examine", examine)
    done = CliRunner().invoke(build(), ["doctor", *(f"--admit={words}" for words in admitted)])
    assert done.exit_code == status, done.output
    assert "reached without TLS" in done.output, "it is told all the same"
    assert done.output.count("look") == 2 - sum(words in str(WRONG[1:]) for words in admitted)
