"""What the page gives to copy runs as it stands: command line, Python, curl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import JOB_LIMIT_MS, choose, chromium, opened, start
from tests.kiosk_up import Kiosk
from tests.page_images import draw_images

NAME = "it's <b>a $HOME & more.tif"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = draw_images(tmp_path_factory.mktemp("images"))
    place = tmp_path_factory.mktemp("work")
    (images / "a.tif").rename(place / NAME)
    return place


@pytest.fixture(scope="module")
def texts(browser: Browser, kiosk: Kiosk, folder: Path) -> dict[str, str]:
    """What is copied, by its title; of a job with parameters on a file with an ugly name."""
    allowed = {"permissions": ["clipboard-read", "clipboard-write"]}
    with opened(browser, kiosk.url, **allowed) as page:
        choose(page, "predict", [folder / NAME], mpp="0.5", min_size="30", preprocess="clahe")
        page.locator("#p-labels_only").check()
        row = start(page, NAME)
        expect(row).to_have_attribute("data-status", "done", timeout=JOB_LIMIT_MS)
        row.locator("a.name").click()
        expect(page.locator("#job-title")).to_have_text(NAME)
        return {title: copied(page, title) for title in ("Command line", "Python", "curl")}


def copied(page: Page, title: str) -> str:
    page.get_by_role("button", name=f"Copy for {title}").click()
    expect(page.get_by_role("button", name=f"Copy for {title}")).to_have_text("Copied")
    return str(page.evaluate("navigator.clipboard.readText()"))


def parameters(record: Path) -> dict[str, object]:
    given = json.loads(record.read_text())["parameters"]
    return {name: given[name] for name in ("mpp", "min_size", "preprocess", "labels_only")}


WANTED = {"mpp": 0.5, "min_size": 30, "preprocess": "clahe", "labels_only": True}


def shell(line: str, folder: Path, kiosk: Kiosk) -> str:
    """Run a line in a shell that knows `kiosk` as a function of the tests' own Python."""
    function = f'kiosk() {{ "{sys.executable}" -m kiosk_tasks "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-c", function + line],
        cwd=folder,
        env={**kiosk.env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line(texts: dict[str, str], folder: Path, kiosk: Kiosk) -> None:
    shell(texts["Command line"], folder, kiosk)
    (record,) = (folder / "results").glob("*_job.json")
    assert parameters(record) == WANTED
    shutil.rmtree(folder / "results")


def test_the_python_program(texts: dict[str, str], folder: Path) -> None:
    (folder / "again.py").write_text(texts["Python"], "utf-8")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "again.py"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (record,) = (folder / "results").rglob("*_job.json")
    assert parameters(record) == WANTED
    shutil.rmtree(folder / "results")


def test_curl(texts: dict[str, str], folder: Path, kiosk: Kiosk) -> None:
    if shutil.which("curl") is None:
        message = "there is no curl"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    job = json.loads(shell(texts["curl"], folder, kiosk))
    assert job["name"] == NAME
    assert job["params"] == WANTED
    httpx.delete(f"{kiosk.url}/jobs/{job['id']}")
