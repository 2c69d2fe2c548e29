"""The commands around jobs, with `kiosk up` running."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import SAMPLES, Shell
from tests.conftest import wait_for

NUCLEI = SAMPLES / "nuclei_512.tif"


def test_submit_status_jobs_fetch(up: Shell, tmp_path: Path) -> None:
    job = up.run("submit", "predict", NUCLEI).stdout.strip()
    record = wait_for(lambda: ended(up, job), limit_s=60)
    assert record["status"] == "done"
    assert record["progress"] == "100"
    assert record["original_name"] == NUCLEI.name
    for field in ("created_at", "finished_at", "output_url", "prediction_time", "total_time"):
        assert record[field]

    assert job in up.run("jobs").stdout
    assert job in [row["id"] for row in json.loads(up.run("jobs", "--json").stdout)]
    fetched = up.run("fetch", job, "-o", tmp_path)
    assert fetched.returncode == 0
    assert (tmp_path / "nuclei_512_labels.ome.tif").exists()
    assert up.run("cancel", job).stdout.strip() == "the job has ended already"


def test_a_job_that_nobody_knows(up: Shell) -> None:
    done = up.run("status", "no-such-job")
    assert done.returncode == 2
    assert "no job no-such-job" in done.stderr


def test_five_lines_of_python(up: Shell, tmp_path: Path) -> None:
    bucket = up.home / "bucket" / "uploads"
    bucket.mkdir(parents=True, exist_ok=True)
    shutil.copy(NUCLEI, bucket / "x.tif")
    script = (
        "from kiosk_tasks import predict\n"
        'job = predict.delay(input_file_name="uploads/x.tif", '
        'model_name="NuclearSegmentation", model_version=1)\n'
        'print(job.get(timeout=60)["output_file_name"])\n'
    )
    done = python(script, up, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (up.home / "bucket" / done.stdout.strip()).exists()


def test_celery_answers_from_another_folder(up: Shell, tmp_path: Path) -> None:
    ping = [sys.executable, "-m", "celery", "-A", "kiosk_tasks", "inspect", "ping"]
    done = subprocess.run(
        ping, env=up.env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "pong" in done.stdout


def _sound(doctor: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str] | None:
    return None if doctor.returncode else doctor


def test_models_and_doctor(up: Shell) -> None:
    assert "NuclearSegmentation" in up.run("models").stdout
    doctor = wait_for(lambda: _sound(up.run("doctor")), limit_s=30, what="the reaper has looked")
    assert "lost jobs were last looked for" in doctor.stdout
    assert "broker writes every change to disk" in doctor.stdout
    assert "queue predict is consumed by 1 worker(s)" in doctor.stdout


def test_doctor_names_a_queue_that_nobody_consumes(up: Shell) -> None:
    doctor = Shell(up.home, {"KIOSK_STAGE_QUEUES": '{"postprocess": "cpu"}'}).run("doctor")
    assert doctor.returncode == 1
    assert "celery -A kiosk_tasks worker -Q cpu" in doctor.stdout


def test_doctor_without_a_stack_says_what_to_do(shell: Shell) -> None:
    done = Shell(shell.home, {"KIOSK_MODEL_WAIT": "0.2", "INTERVAL": "1"}).run("doctor")
    assert done.returncode == 1
    assert "kiosk up" in done.stdout
    assert "INTERVAL is set, but has no meaning any more" in done.stdout


def test_submit_without_a_stack_ends_with_3(shell: Shell) -> None:
    done = shell.run("submit", "predict", NUCLEI)
    assert done.returncode == 3
    assert "kiosk up" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "predict", "--help"]])
def test_help_needs_no_stack(shell: Shell, arguments: list[str]) -> None:
    done = shell.run(*arguments)
    assert done.returncode == 0
    assert done.stdout


def ended(shell: Shell, job: str) -> dict[str, str] | None:
    """The job's record once it has ended."""
    record: dict[str, str] = json.loads(shell.run("status", job, "--json").stdout)
    return record if record["status"] in ("done", "failed", "cancelled") else None


def python(script: str, shell: Shell, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in another folder, warnings being errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=shell.env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
