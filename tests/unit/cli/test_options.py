"""Parameters as options of the command line."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from kiosk_tasks.cli.options import with_options
from kiosk_tasks.job import Params


class SwitchParams(Params):
    """One that is on, and one that the operator decides."""

    divisions: bool = Field(True, description="On.")
    correct_drift: bool | None = Field(None, description="The operator's choice.")


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        ([], {}),
        (["--no-divisions", "--correct-drift"], {"divisions": False, "correct_drift": True}),
        (["--divisions", "--no-correct-drift"], {"divisions": True, "correct_drift": False}),
    ],
)
def test_what_can_be_on_can_be_off(typed: list[str], given: dict[str, bool]) -> None:
    seen: list[Any] = []

    def command(*, params: Any) -> None:
        seen.append(params)

    app = typer.Typer()
    app.command()(with_options(command, SwitchParams, help_text="Try."))
    assert CliRunner().invoke(app, typed).exit_code == 0
    assert seen == [given]
