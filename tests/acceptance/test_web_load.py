"""Many submissions at once while the worker is busy: each is taken once, or told to come back."""

from __future__ import annotations

import asyncio

import httpx

from benchmarks.web_load import begin_work, burst, not_done_once, small_image
from tests.kiosk_up import Kiosk

_COUNT = 50


def test_fifty_submissions_at_once_lose_nothing(kiosk: Kiosk) -> None:
    image = small_image()
    begin_work(kiosk.url, image, 2)
    tries = asyncio.run(burst(kiosk.url, image, _COUNT, job_type="spot"))
    answers = [answer for one in tries for answer in one]
    assert {answer.status for answer in answers} <= {202, 429, 503}
    assert all(answer.wait_s >= 1 for answer in answers if answer.status != 202)
    assert [one[-1].status for one in tries] == [202] * _COUNT
    jobs = [one[-1].job for one in tries]
    assert len(set(jobs)) == _COUNT
    assert not_done_once(kiosk.url, jobs) == 0
    with httpx.Client(base_url=kiosk.url, trust_env=False) as http:
        listed = [one["id"] for one in http.get("/jobs", params={"limit": 500}).json()["jobs"]]
    assert len(listed) == len(set(listed)), "no job is listed twice"
