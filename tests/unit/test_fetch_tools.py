"""What `make tools` does where it can do nothing, and with a file that is not the one it knows."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import fetch_tools


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(fetch_tools, "HOME", tmp_path)
    monkeypatch.setattr(fetch_tools, "BIN", tmp_path / "bin")
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def programs() -> list[str]:
    debian = [name for packages in fetch_tools.DEBIAN.values() for name in packages.values()]
    return ["helm", "kubectl", *(program for group in debian for program in group)]


def test_what_is_there_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any) -> None:
        pytest.fail("something is fetched")

    monkeypatch.setattr(fetch_tools, "_run", run)
    for program in programs():
        (folder / program).touch(mode=0o755)
    assert fetch_tools.main() == 0


def test_a_tool_that_cannot_be_had_costs_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "no route to host\n")

    monkeypatch.setattr(subprocess, "run", fail)
    (folder / "helm").touch(mode=0o755)
    assert fetch_tools.main() == 0
    said = capsys.readouterr().out
    assert said.count("There is no ") == 3
    assert "There is no kubectl: " in said
    assert "are skipped, and fail where CI is set." in said


def test_a_file_that_we_do_not_know_is_refused(tmp_path: Path) -> None:
    (tmp_path / "helm").write_text("something else")
    with pytest.raises(fetch_tools.CannotFetch, match="helm is not the file we know"):
        fetch_tools._check(tmp_path / "helm", "helm")
