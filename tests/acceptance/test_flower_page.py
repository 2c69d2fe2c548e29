"""Flower beside a running stack, in a real browser: workers, queues and the jobs as tasks."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Browser, Locator, Page, expect

from kiosk_tasks.settings import PROTOCOL
from tests.acceptance.conftest import SAMPLES, Shell
from tests.browser import LIMIT_MS, chromium, picture
from tests.conftest import wait_for
from tests.kiosk_up import Kiosk
from tests.ports import free_port
from tests.processes import child
from tests.security_site import ask, python

USER, PASSWORD = "lab", "word-12345"
IMAGE = SAMPLES / "nuclei_512.tif"


@pytest.fixture(scope="module")
def url(kiosk: Kiosk, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Flower beside the stack, started as a person does it."""
    folder, port = tmp_path_factory.mktemp("flower"), free_port()
    env = {**kiosk.env, "KIOSK_FLOWER_AUTH": f"{USER}:{PASSWORD}"}
    command = [sys.executable, "-m", "kiosk_tasks", "flower", "--port", str(port)]
    with child(command, log=folder / "flower.log", env=env, cwd=folder):
        wait_for(lambda: ask(port, "/healthcheck"), limit_s=60, what="Flower answers")
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window that knows the login; an error in Flower's scripts fails the test."""
    login = {"username": USER, "password": PASSWORD}
    context = browser.new_context(http_credentials=login, viewport={"width": 1200, "height": 560})
    context.set_default_timeout(LIMIT_MS)
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []


@pytest.fixture
def held(kiosk: Kiosk, tmp_path: Path) -> Iterator[None]:
    """Nobody takes jobs off the queue `spot`."""

    def control(command: str) -> None:
        done = python(
            kiosk.env, "-m", "celery", "-A", "kiosk_tasks", "control", command, "spot",
            folder=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    control("cancel_consumer")
    yield
    control("add_consumer")


def truth(kiosk: Kiosk) -> dict[str, int]:
    """Messages in the broker's lists, all priorities together."""
    with redis.Redis.from_url(kiosk.values["KIOSK_BROKER_URL"], decode_responses=True) as client:
        prefix = f"kiosk:v{PROTOCOL}:"
        queues = ("mesmer", "polaris", "predict", "reaper", "spot", "track")
        return {
            queue: client.llen(f"{prefix}{queue}") + client.llen(f"{prefix}{queue}:6")
            for queue in queues
        }


def ended_task(page: Page, url: str, job: str) -> Locator:
    """The row of a job that has succeeded; the list does not renew itself."""
    task = page.locator("#tasks-table tbody tr", has_text=job)

    def shown() -> bool:
        page.goto(f"{url}/tasks")
        expect(page.locator("#tasks-table tbody tr").first).to_be_visible()
        return task.filter(has_text="SUCCESS").count() == 1

    wait_for(shown, limit_s=120, what="Flower shows that the job has succeeded")
    return task


@pytest.mark.usefixtures("held")
def test_workers_queues_and_tasks_while_the_stack_runs(
    kiosk: Kiosk, up: Shell, url: str, page: Page, tmp_path: Path
) -> None:
    copies = [shutil.copy(IMAGE, tmp_path / f"{number}.tif") for number in range(3)]
    spots = up.run("submit", "spot", *copies).stdout.split()
    job = up.run("submit", "predict", IMAGE).stdout.strip()

    page.goto(f"{url}/workers")
    worker = page.locator("#workers-table tbody tr", has_text=f"kiosk@{socket.gethostname()}")
    expect(worker.locator("td").nth(1)).to_have_text("Online")

    task = ended_task(page, url, job)
    expect(task.locator("td").first).to_have_text("predict")
    picture(page, "flower-tasks")
    task.get_by_role("link", name=job).click()
    expect(page.locator("body")).to_contain_text(f"{{'job_id': '{job}', 'stop': 5}}")
    assert "nuclei_512.tif" not in page.locator("body").inner_text(), "what the job is about"

    page.goto(f"{url}/broker")
    rows = [row.split("\t")[:2] for row in page.locator("#queue-table tbody tr").all_inner_texts()]
    shown = {queue: int(messages) for queue, messages in rows}
    assert shown == truth(kiosk)
    assert shown["spot"] == len(spots) == 3
    picture(page, "flower-broker")


def test_jobs_that_were_held_go_on(up: Shell, url: str, page: Page) -> None:
    """What the buttons of Flower do, such as cancelling a consumer, can be taken back."""
    job = up.run("submit", "spot", IMAGE).stdout.strip()
    ended_task(page, url, job)
