"""Every operation of the OpenAPI document is called as it says, and otherwise, by schemathesis.

The service answers what the document says it may, and has no fault. Both runs together end by
themselves within a minute.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import wait_for
from tests.kiosk_up import Kiosk

SAMPLE = Path(__file__).parents[2] / "samples" / "nuclei_512.tif"
LIMIT_S = 40
CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_schema_conformance", "response_headers_conformance"),
)


@pytest.fixture
def done(kiosk: Kiosk) -> dict[str, Any]:
    """A job with a result: made up ids lead to none."""
    with httpx.Client(base_url=kiosk.url, trust_env=False, timeout=30) as client:
        sent = client.post("/jobs/predict", files={"file": (SAMPLE.name, SAMPLE.read_bytes())})
        url = sent.json()["urls"]["self"]

        def ended() -> dict[str, Any] | None:
            job: dict[str, Any] = client.get(url).json()
            return job if job["ended"] else None

        job: dict[str, Any] = wait_for(ended, limit_s=90)
        assert job["status"] == "done"
        return job


def schemathesis(
    url: str, folder: Path, *, config: str, options: tuple[str, ...]
) -> subprocess.CompletedProcess[str]:
    """Run it in a folder of its own: it keeps what it found there."""
    (folder / "schemathesis.toml").write_text(config)
    program = Path(sys.executable).with_name("schemathesis")
    fixed = ("--seed", "1", "--request-timeout", "20", "--no-color", "--continue-on-failure")
    return subprocess.run(
        [program, "run", f"{url}/openapi.json", "--checks", ",".join(CHECKS), *fixed, *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=4 * LIMIT_S,
        check=False,
    )


def test_nothing_undocumented_and_no_fault(kiosk: Kiosk, tmp_path: Path) -> None:
    phases = ("--phases", "examples,coverage,fuzzing", "--max-examples", "3")
    run = schemathesis(
        kiosk.url, tmp_path, config="", options=(*phases, "--max-time", str(LIMIT_S))
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr
    assert "Tested: 0" not in run.stdout


def test_nor_where_a_job_is_there(kiosk: Kiosk, done: dict[str, Any], tmp_path: Path) -> None:
    config = f'[parameters]\njob_id = "{done["id"]}"\ntype_name = "predict"\nframe = 0\n'
    only = ("--include-path-regex", "^/jobs/", "--exclude-path-regex", "/retry$")
    phases = ("--phases", "examples,fuzzing", "--max-examples", "4", "--max-time", "15")
    run = schemathesis(kiosk.url, tmp_path, config=config, options=(*only, *phases))
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr
