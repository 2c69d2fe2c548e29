"""The page of a service that asks for tokens: the browser's own question for a name serves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser import JOB_LIMIT_MS, choose, chromium, has_pixels, opened, start
from tests.conftest import wait_for
from tests.kiosk_up import Kiosk
from tests.page_images import draw_images
from tests.ports import free_port
from tests.processes import child

RATE = 12


@pytest.fixture
def closed(kiosk: Kiosk, tmp_path: Path) -> Iterator[str]:
    """URL of a second service of the same stack, which asks for tokens."""
    port = free_port()
    url, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    argv = [sys.executable, "-m", "kiosk_tasks", "web", "--port", str(port)]
    env = {**kiosk.env, "KIOSK_API_TOKENS": "alice:sesame", "KIOSK_WEB_RATE": str(RATE)}
    with child(argv, log=log, env=env) as process:

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            try:
                return httpx.get(f"{url}/healthz").status_code == 200
            except httpx.TransportError:
                return False

        wait_for(answers, limit_s=60, what=f"kiosk web, see {log}")
        yield url


def test_a_browser_that_knows_name_and_token(closed: str, tmp_path: Path) -> None:
    assert httpx.get(closed).status_code == 401
    images = draw_images(tmp_path)
    known = {"username": "alice", "password": "sesame"}
    with chromium() as browser, opened(browser, closed, http_credentials=known) as page:
        choose(page, "predict", [images / "a.tif"])
        row = start(page, "a.tif")
        expect(row).to_have_attribute("data-status", "done", timeout=JOB_LIMIT_MS)
        row.locator("a.name").click()
        assert has_pixels(page)
        expect(page.locator(".fact-list")).to_contain_text("alice")
        expect(page.locator("pre").last).to_contain_text("curl -u alice -F")
        with page.expect_download() as fetching:
            page.get_by_role("link", name="Download all").click()
        fetching.value.save_as(tmp_path / "result.zip")
        assert (tmp_path / "result.zip").read_bytes().startswith(b"PK")


def test_more_files_than_a_minute_takes_are_all_sent(closed: str, tmp_path: Path) -> None:
    """Looks into files take nothing from what may be sent; what is too much waits, and is sent."""
    paths = [tmp_path / f"{number}.tif" for number in range(RATE + 1)]
    for path in paths:
        path.write_bytes(b"II*\0")
    refused: list[str] = []
    known = {"username": "alice", "password": "sesame"}
    with chromium() as browser, opened(browser, closed, http_credentials=known) as page:
        page.on(
            "response", lambda answer: refused.append(answer.url) if answer.status == 429 else None
        )
        choose(page, "predict", paths)
        page.locator("#start").click()
        for path in paths:
            name = page.locator("#jobs .name").get_by_text(path.name, exact=True)
            expect(name).to_have_count(1)
        expect(page.locator("#sending .job")).to_have_count(0)
    sent = [url for url in refused if url.endswith("/jobs/predict")]
    assert len(sent) == 1, "others waited while one had been refused"
