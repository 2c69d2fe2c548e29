"""The program that starts a worker, beside Celery's own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from celery.bin.celery import celery
from celery.bin.worker import worker

from kiosk_tasks.run import __main__ as program


def test_options_are_celerys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert worker is celery.commands["worker"]
    monkeypatch.setattr(sys, "argv", ["kiosk_tasks.run", "worker", "-c", "many"])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 2
    assert "Error: Invalid value for '-c' / '--concurrency'" in capsys.readouterr().err


def test_it_loads_nothing_of_celerys_other_commands() -> None:
    look = "import sys, kiosk_tasks.run.__main__; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    loaded = set(ended.stdout.split())
    assert "celery.bin.worker" in loaded
    unused = {"click_repl", "prompt_toolkit", "flower", "tornado", "celery.bin.celery"}
    unused |= {"ml_dtypes", "PIL.ImageFont"}  # for few models, and for one type of jobs
    assert not loaded & unused
