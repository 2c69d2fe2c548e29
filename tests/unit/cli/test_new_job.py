"""`kiosk new-job` makes a package whose job works as it is."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kiosk_tasks.cli.main import build
from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.jobs import job_types


def make(*arguments: str | Path) -> None:
    """Run `kiosk new-job`; raises what it raises."""
    CliRunner().invoke(build(), ["new-job", *map(str, arguments)], catch_exceptions=False)


def test_packages_are_whole_and_their_own_tests_pass(tmp_path: Path) -> None:
    for name, option in {"count_bright": "--model", "plain": "--no-model"}.items():
        make(name, option, "--folder", tmp_path)
        package = tmp_path / name
        names = {f"{name}_job.py", f"test_{name}_job.py", "pyproject.toml", "README.md"}
        assert {path.name for path in package.iterdir()} == names
        project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
        assert project["entry-points"]["kiosk_tasks.job_types"] == {name: f"{name}_job"}
        assert project["name"] == f"kiosk-job-{name.replace('_', '-')}"
        for path in package.iterdir():
            assert "$" not in path.read_text().replace("$ ", "")
        source = (package / f"{name}_job.py").read_text()
        assert ("grpc_predict" in source) == (option == "--model")
        run(package, "ruff", "check", "--isolated", ".")
    run(tmp_path, "pytest", "-q", "-p", "no:cacheprovider")


def run(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Count", "cannot name a job type"),
        ("count-bright", "cannot name a job type"),
        ("1count", "cannot name a job type"),
        ("../count", "cannot name a job type"),
        ("x" * 41, "at most 40"),
        ("count_", "no _ at the end"),  # pip takes no project whose name ends so
        ("import", "a word of Python"),  # nothing could import the task
        ("predict", "there is a job type"),
        ("segmentation", "there is a job type"),  # an alias
        ("storage", "part of kiosk_tasks"),
        ("app", "part of kiosk_tasks"),
    ],
)
def test_names_that_cannot_be_had_are_refused(tmp_path: Path, name: str, words: str) -> None:
    assert "predict" in job_types()
    with pytest.raises(InvalidParameter, match=words):
        make(name, "--folder", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_into_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(InvalidParameter, match="exists already"):
        make("mine", "--folder", tmp_path)
    assert list((tmp_path / "mine").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InvalidParameter, match="exists already"):
        make("mine", "--folder", tmp_path / "file")
