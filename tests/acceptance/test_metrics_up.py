"""What a running Kiosk tells of a job that it has done: its stages, its wait, its predictions."""

from __future__ import annotations

import urllib.request

from kiosk_tasks.client import Client
from tests.acceptance.conftest import SAMPLES
from tests.conftest import wait_for
from tests.kiosk_up import Kiosk

MODEL = '{model="NuclearSegmentation"}'


def numbers(kiosk: Kiosk) -> dict[str, float]:
    """Return every sample by its name and labels."""
    with urllib.request.urlopen(f"{kiosk.url}/metrics", timeout=20) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def test_stages_waits_and_predictions_of_a_job_are_counted(kiosk: Kiosk) -> None:
    before = numbers(kiosk)

    def more(name: str) -> float:
        return numbers(kiosk).get(name, 0) - before.get(name, 0)

    with Client(kiosk.url) as client:
        client.segment(SAMPLES / "nuclei_512.tif").wait(timeout=120)
    stages = ("download", "preprocess", "predict", "postprocess", "upload")
    counts = [f'kiosk_stage_seconds_count{{job_type="predict",stage="{s}"}}' for s in stages]
    wait_for(lambda: more(counts[-1]) == 1, what="a worker has told")
    assert [more(name) for name in counts] == [1] * len(stages)
    assert more('kiosk_job_wait_seconds_count{queue="predict"}') == 1
    tiles, slots = (more(f"kiosk_model_{w}_total{MODEL}") for w in ("tiles", "batch_slots"))
    requests = more(f"kiosk_model_request_seconds_count{MODEL}")
    assert 1 <= requests <= tiles <= slots <= 8 * requests
    # each request lies within the stage; two may be on their way at once
    in_stage = more('kiosk_stage_seconds_sum{job_type="predict",stage="predict"}')
    assert 0 < more(f"kiosk_model_request_seconds_sum{MODEL}") <= 2 * in_stage
    assert more('kiosk_jobs_ended_total{job_type="predict",status="done"}') == 1
