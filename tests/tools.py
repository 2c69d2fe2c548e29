"""Programs that check the deployment files: helm, promtool, docker-compose and their like."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

__all__ = ["tool"]

_FETCHED = Path(__file__).parents[1] / ".tools" / "bin"


def tool(name: str) -> Path:
    """Return where the program is; where there is none, fail in CI and skip elsewhere."""
    found = shutil.which(name, path=str(_FETCHED)) or shutil.which(name)
    if found is None:
        message = f"there is no {name}; `make tools` fetches it"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return Path(found)
