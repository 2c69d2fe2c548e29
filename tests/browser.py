"""Debian's Chromium without a window, the web page in it, and what a person does there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

__all__ = [
    "JOB_LIMIT_MS",
    "choose",
    "chromium",
    "faults_of",
    "has_pixels",
    "newcomer",
    "opened",
    "picture",
    "rows",
    "start",
]

JOB_LIMIT_MS = 240_000
LIMIT_MS = 60_000
"""How long anything else is waited for: far longer than it takes, so that a busy machine may be."""
PICTURES = Path(__file__).parents[1] / "test-artifacts"
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
_SERIOUS = ("serious", "critical")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium; where there is none, fail in CI and skip elsewhere."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        message = "there is no chromium; `make browser` installs it on Debian, as root"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    expect.set_options(timeout=LIMIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(_FLAGS))
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """Open the page in a window of its own; an error in its scripts fails the test."""
    context: BrowserContext = browser.new_context(**{"accept_downloads": True, **options})
    context.set_default_timeout(LIMIT_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if _is_fault(said) else None)
    page.goto(url)
    page.wait_for_selector(".card")
    yield page
    context.close()
    assert errors == []


def _is_fault(said: Any) -> bool:
    """Whether the console tells of a fault of the page; answers that refuse are told there, too."""
    return said.type == "error" and "Failed to load resource" not in said.text


def choose(page: Page, kind: str, paths: Sequence[Path], **values: str) -> None:
    """Choose files, a job type and parameters."""
    if paths:
        page.set_input_files("#file-input", [str(path) for path in paths])
    page.locator(f'.card:has(input[value="{kind}"])').click()
    for name, value in values.items():
        field = page.locator(f"#p-{name}")
        if not field.is_visible():
            page.get_by_text("More settings").click()
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def start(page: Page, name: str) -> Locator:
    """Press Start; return the row of the job that comes of the file of that name."""
    before = rows(page)
    page.locator("#start").click()
    return newcomer(page, name, before)


def rows(page: Page) -> list[str]:
    """Return the ids of the jobs in the list."""
    ids: list[str] = page.locator("#jobs .job").evaluate_all(
        "all => all.map(one => one.dataset.id)"
    )
    return ids


def newcomer(page: Page, name: str, before: Sequence[str]) -> Locator:
    """Wait for a job on the file of that name that was not in the list before; return its row."""
    found = page.wait_for_function(
        """([name, before]) => [...document.querySelectorAll("#jobs .job")].find(row =>
            !before.includes(row.dataset.id)
            && row.querySelector(".name").textContent === name)?.dataset.id""",
        arg=[name, list(before)],
    )
    return page.locator(f'#jobs .job[data-id="{found.json_value()}"]')


def has_pixels(page: Page) -> bool:
    """Whether the viewer's canvas shows more than one colour."""
    page.wait_for_selector("canvas[data-drawn]")
    page.wait_for_selector(".viewer-message", state="hidden")
    return bool(
        page.evaluate(
            """() => new Promise(done => requestAnimationFrame(() => {
                const canvas = document.querySelector("canvas");
                const { width, height } = canvas;
                const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
                done(new Set(new Uint32Array(data.buffer)).size > 20);
            }))"""
        )
    )


def picture(page: Page, name: str) -> Path:
    """Keep a picture of what the window shows."""
    PICTURES.mkdir(exist_ok=True)
    path = PICTURES / f"{name}.png"
    page.screenshot(path=path)
    return path


def faults_of(page: Page) -> list[str]:
    """Return what axe-core finds serious or critical in the page as it stands."""
    source = (files("axe_playwright_python") / "axe.min.js").read_text()
    if not page.evaluate("() => Boolean(window.axe)"):
        page.evaluate(f"() => {{ {source} }}")
    found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    return [
        " ".join(f"{fault['id']}: {node['html']} {node['failureSummary']}".split())
        for fault in found["violations"]
        if fault["impact"] in _SERIOUS
        for node in fault["nodes"]
    ]
