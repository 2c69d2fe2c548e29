"""The page of a service that asks for tokens: the browser's own question for a name serves."""

from __future__ import annotations

import socket
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
from tests.processes import child


@pytest.fixture
def closed(kiosk: Kiosk, tmp_path: Path) -> Iterator[str]:
    """URL of a second service of the same stack, which asks for tokens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, log = f"http://127.0.0.1:{port}", tmp_path / "log"
    argv = [sys.executable, "-m", "kiosk_tasks", "web", "--port", str(port)]
    env = {**kiosk.env, "KIOSK_API_TOKENS": "alice:sesame"}
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
