"""The child process of an export says what is missing; its parent never holds TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kiosk_tasks.serving import export


@pytest.mark.parametrize(
    "error", [ImportError("no module"), AttributeError("no attribute 'config'")]
)
def test_without_tensorflow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def absent(**_: int) -> None:
        raise error

    for variable in ("CUDA_VISIBLE_DEVICES", "KERAS_BACKEND"):
        monkeypatch.setenv(variable, "")  # put back afterwards
    monkeypatch.setattr(export, "load_tensorflow", absent)
    report = tmp_path / "report.json"
    arguments = [str(tmp_path), "--name", "M", "--version", "1", "--report", str(report)]
    assert export.main(arguments) == export.REFUSED
    said = json.loads(report.read_text())
    assert said["error"] == "MissingExtra"
    assert "pip install 'kiosk-tasks[local]'" in said["sentence"]


def test_the_command_line_runs_without_tensorflow() -> None:
    program = (
        "import sys\n"
        "from kiosk_tasks.cli.main import build\n"
        "from kiosk_tasks.serving import deploying, export, keras_models\n"
        "build()\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
