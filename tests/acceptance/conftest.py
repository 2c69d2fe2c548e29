"""The command line as a person uses it: real processes, the bundled model, nothing faked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kiosk_up import QUICK, Kiosk

SAMPLES = Path(__file__).parents[2] / "samples"
_COMMAND_LIMIT_S = 180


@dataclass(frozen=True)
class Shell:
    """Runs `kiosk` with a home folder of its own."""

    home: Path
    extra: Mapping[str, str]

    @property
    def env(self) -> dict[str, str]:
        """This process's environment, without any setting but ours."""
        clean = {name: v for name, v in os.environ.items() if not name.startswith("KIOSK_")}
        return {**clean, "KIOSK_HOME": str(self.home), "COLUMNS": "200", **self.extra}

    def start(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command that goes on by itself."""
        with log.open("wb") as file:
            return subprocess.Popen(command(*arguments), env=self.env, stdout=file, stderr=file)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever its exit code."""
        return subprocess.run(
            command(*map(str, arguments)),
            env=self.env,
            capture_output=True,
            text=True,
            timeout=_COMMAND_LIMIT_S,
            check=False,
        )

    def outcomes(self, *arguments: str | Path) -> tuple[int, list[dict[str, Any]]]:
        """Run `kiosk run … --json`; return the exit code and what it says of each image."""
        done = self.run("run", *arguments, "--json")
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)["images"]


def command(*arguments: str) -> list[str]:
    """Return the command line of `kiosk`."""
    return [sys.executable, "-m", "kiosk_tasks", *arguments]


@pytest.fixture(scope="session")
def up(kiosk: Kiosk) -> Shell:
    """`kiosk up`, for all tests of the session, and commands beside it."""
    return Shell(kiosk.home, {**QUICK, "KIOSK_MODELS_DIR": str(kiosk.models)})


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """`kiosk` with an empty home: each `kiosk run` starts a stack of its own."""
    return Shell(tmp_path / "home", {})
