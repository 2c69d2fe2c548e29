"""The web page as a person uses it: a real browser, a real service, nothing faked on the way."""

from __future__ import annotations

import base64
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tifffile
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser import JOB_LIMIT_MS, choose, chromium, has_pixels, newcomer, opened, rows, start
from tests.kiosk_up import Kiosk
from tests.page_images import CASES, Case, draw_images

DROP = """async ([selector, files]) => {
    const transfer = new DataTransfer();
    for (const [name, content] of files) {
        const bytes = Uint8Array.from(atob(content), one => one.charCodeAt(0));
        transfer.items.add(new File([bytes], name));
    }
    const target = document.querySelector(selector);
    for (const type of ["dragenter", "dragover", "drop"]) {
        target.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true }));
    }
}"""

HEAR = """() => {
    window.heard = "";
    const place = document.querySelector("#sending");
    const hear = new MutationObserver(() => { window.heard += place.textContent; });
    hear.observe(place, { subtree: true, childList: true, characterData: true });
}"""
"""Some words are there for a second only."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser, kiosk: Kiosk) -> Iterator[Page]:
    with opened(browser, kiosk.url) as page:
        yield page


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """An image that takes seconds."""
    path = tmp_path_factory.mktemp("large") / "large.tif"
    tifffile.imwrite(path, np.tile(tifffile.imread(images / "a.tif"), (12, 12)))
    return path


def drop(page: Page, *paths: Path) -> None:
    """Drop files anywhere on the page."""
    files = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in paths]
    page.evaluate(DROP, ["header", files])


@pytest.mark.parametrize("case", CASES, ids=[f"{case.kind} {case.file}" for case in CASES])
def test_from_a_dropped_file_to_its_result(
    page: Page, images: Path, case: Case, tmp_path: Path
) -> None:
    drop(page, images / case.file)
    choose(page, case.kind, (), **case.values)
    row = start(page, case.file)
    expect(row).to_have_attribute("data-status", "done", timeout=JOB_LIMIT_MS)
    expect(row.locator(".state")).to_have_text("Done")
    expect(page.locator("#live")).to_contain_text(f"{case.file}: Done.")

    row.locator("a.name").click()
    facts = page.locator(".fact-list")
    for word in case.found:
        expect(facts.locator(".found", has_text=word)).to_have_text(re.compile(rf"{word}[1-9]"))
    assert (page.locator("canvas").count() == 1) == case.view
    if case.view:
        assert has_pixels(page)
    else:
        expect(page.locator(".gallery figcaption")).to_have_text(["well 1/a", "b"])
        for image in page.locator(".gallery img").all():
            expect(image).to_have_js_property("complete", value=True)
            assert image.evaluate("image => image.naturalWidth") > 50
    with page.expect_download() as fetching:
        page.get_by_role("link", name="Download all").click()
    fetching.value.save_as(tmp_path / "result.zip")
    with zipfile.ZipFile(tmp_path / "result.zip") as result:
        assert case.members <= set(result.namelist())
        record = next(name for name in result.namelist() if name.endswith("_job.json"))
        given = json.loads(result.read(record))["parameters"]
    assert {name: str(given[name]) for name in case.values} == case.values


def test_several_files_at_once_and_one_taken_back(page: Page, images: Path) -> None:
    drop(page, *(images / name for name in ("a.tif", "b.tif", "bad.tif")))
    expect(page.locator("#start")).to_have_text("Start 3 jobs")
    page.get_by_role("button", name="Remove bad.tif").click()
    before = rows(page)
    page.locator("#start").click()
    expect(page.locator(".file")).to_have_count(0)
    for name in ("a.tif", "b.tif"):
        row = newcomer(page, name, before)
        expect(row).to_have_attribute("data-status", "done", timeout=JOB_LIMIT_MS)


def test_the_form_follows_the_schema_and_the_file(page: Page, images: Path) -> None:
    choose(page, "predict", [images / "nuclei.ome.tif"])
    expect(page.locator("#p-mpp")).to_have_value("0.65")
    expect(page.locator("#p-mpp-note")).to_contain_text("Read from nuclei.ome.tif")
    expect(page.locator("#p-preprocess")).not_to_be_visible()
    page.locator("#p-min_size").fill("-3")
    page.locator("#start").click()
    expect(page.locator("#p-min_size-error")).to_have_text("Smallest object should be 0 or more.")
    expect(page.locator("#p-min_size")).to_be_focused()
    page.locator("#p-min_size").fill("40")
    page.get_by_role("button", name="20×").click()
    row = start(page, "nuclei.ome.tif")
    expect(row).to_have_attribute("data-status", "done", timeout=JOB_LIMIT_MS)
    row.locator("a.name").click()
    expect(page.locator(".fact-list .param")).to_contain_text(["mpp0.5", "min_size40"])


def test_a_look_into_a_file_is_tried_again(page: Page, images: Path) -> None:
    """So that a low rate does not keep the pixel size from the form."""
    asked = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        if len(asked) > 1:
            route.continue_()
            return
        body = {"message": "too many at once.", "error": "TooManyRequests"}
        route.fulfill(status=429, json=body, headers={"Retry-After": "1"})

    page.route("**/inspect", refuse)
    choose(page, "predict", [images / "nuclei.ome.tif"])
    expect(page.locator("#p-mpp")).to_have_value("0.65")
    assert len(asked) == 2


def test_no_answer_is_not_called_no_job(page: Page, kiosk: Kiosk) -> None:
    page.route(re.compile(r"/jobs/x$"), lambda route: route.fulfill(status=503, body=""))
    page.goto(f"{kiosk.url}/#/jobs/x")
    expect(page.locator(".job-view > .reason")).to_contain_text("cannot take this at the moment")
    expect(page.locator("#job-title")).to_have_text("Job")


def test_a_file_of_the_wrong_kind_is_not_sent(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    choose(page, "predict", [tmp_path / "notes.txt"])
    expect(page.locator(".file .error")).to_contain_text("takes .tif, .tiff")
    expect(page.locator("#start")).to_have_attribute("aria-disabled", "true")
    page.locator("#start").click(force=True)
    expect(page.locator("#sending .job")).to_have_count(0)


def test_a_bad_file_says_why_and_can_be_tried_again(page: Page, images: Path) -> None:
    choose(page, "predict", [images / "bad.tif"])
    row = start(page, "bad.tif")
    expect(row).to_have_attribute("data-status", "failed", timeout=JOB_LIMIT_MS)
    reason = row.locator(".reason").inner_text()
    assert reason.startswith("bad.tif")
    assert "Traceback" not in reason
    count = page.locator("#jobs .job[data-status=failed]").count()
    row.get_by_role("button", name="Try again: bad.tif").click()
    failed = page.locator("#jobs .job[data-status=failed]")
    expect(failed).to_have_count(count + 1, timeout=JOB_LIMIT_MS)
    failed.first.locator("a.name").click()
    expect(page.locator(".job-view > .reason")).to_have_text(reason)


def test_cancelled_reloaded_and_done_again(page: Page, large: Path) -> None:
    choose(page, "predict", [large])
    row = start(page, "large.tif")
    expect(row.locator(".units")).to_have_text(re.compile(r"\d+ of \d+ tiles"))
    row.get_by_role("button", name="Cancel large.tif").click()
    expect(row.locator(".state")).to_have_text("Cancelled")

    before = rows(page)
    row.get_by_role("button", name="Try again: large.tif").click()
    again = newcomer(page, "large.tif", before)
    page.reload()
    expect(again.locator("progress")).to_be_visible()
    again.locator("a.name").click()
    page.reload()  # the address names the job
    expect(page.locator("#job-title")).to_have_text("large.tif")
    expect(page.locator(".job-view")).to_have_attribute("data-status", "done", timeout=JOB_LIMIT_MS)


def test_an_upload_that_a_reload_cuts_off_is_not_sent(page: Page, images: Path) -> None:
    page.on("dialog", lambda dialog: dialog.accept())
    page.route("**/jobs/predict", lambda _route: None)  # never answers
    choose(page, "predict", [images / "a.tif"])
    page.locator("#start").click()
    row = page.locator("#sending .job")
    expect(row.locator(".state")).to_have_text("Sending")
    page.reload()
    expect(row.locator(".state")).to_have_text("Not sent")
    expect(row.locator(".reason")).to_contain_text("before the upload was complete")
    row.get_by_role("button", name="Dismiss a.tif").click()
    expect(row).to_have_count(0)


def test_an_upload_is_stopped(page: Page, images: Path) -> None:
    page.route("**/jobs/predict", lambda _route: None)
    choose(page, "predict", [images / "a.tif", images / "b.tif"])
    page.locator("#start").click()
    page.get_by_role("button", name="Cancel a.tif").click()
    expect(page.locator("#sending .job")).to_have_count(1)
    expect(page.locator("#sending .name")).to_have_text("b.tif")
    page.get_by_role("button", name="Cancel b.tif").click()
    expect(page.locator("#sending .job")).to_have_count(0)


def test_progress_without_events(page: Page, images: Path) -> None:
    page.route("**/events", lambda route: route.abort())
    choose(page, "predict", [images / "b.tif"])
    row = start(page, "b.tif")
    expect(row).to_have_attribute("data-status", "done", timeout=JOB_LIMIT_MS)


def test_a_lost_server_is_said_and_found_again(page: Page, images: Path) -> None:
    choose(page, "predict", [images / "a.tif"])
    before = rows(page)
    page.context.set_offline(True)
    page.locator("#start").click()
    banner = page.locator("#banner")
    expect(banner).to_have_text("No answer from the server; trying again…")
    expect(page.locator("#sending .reason")).to_have_text(banner.inner_text())
    page.context.set_offline(False)
    expect(banner).not_to_be_visible()
    expect(page.locator("#sending .job")).to_have_count(0)
    row = newcomer(page, "a.tif", before)
    expect(row).to_have_attribute("data-status", "done", timeout=JOB_LIMIT_MS)


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_waited_for(page: Page, images: Path, status: int) -> None:
    refused = []

    def refuse(route: Route) -> None:
        if refused:
            route.continue_()
            return
        refused.append(route.request.headers["idempotency-key"])
        body = {"message": "too many at once.", "error": "TooManyRequests"}
        route.fulfill(status=status, json=body, headers={"Retry-After": "1"})

    page.route("**/jobs/predict", refuse)
    page.evaluate(HEAR)
    choose(page, "predict", [images / "a.tif"])
    with page.expect_request(
        lambda request: request.method == "POST" and bool(refused) and "predict" in request.url
    ) as second:
        page.locator("#start").click()
    assert "Trying again in 1 s." in page.evaluate("window.heard")
    assert second.value.headers["idempotency-key"] == refused[0]
    expect(page.locator("#sending .job")).to_have_count(0)


@pytest.mark.parametrize("status", [401, 403, 413])
def test_a_refusal_is_a_sentence_beside_the_file(page: Page, images: Path, status: int) -> None:
    page.route("**/jobs/predict", lambda route: route.fulfill(status=status, body=""))
    choose(page, "predict", [images / "a.tif"])
    page.locator("#start").click()
    row = page.locator("#sending .job")
    words = {401: "Sign in", 403: "refuses", 413: "larger than"}[status]
    expect(row.locator(".reason")).to_contain_text(words)
    page.unroute("**/jobs/predict")
    row.get_by_role("button", name="Send a.tif again").click()
    expect(row).to_have_count(0)


def test_by_keyboard_alone(page: Page, images: Path) -> None:
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    page.keyboard.press("Enter")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Tab")
        expect(page.locator("#choose")).to_be_focused()
        page.keyboard.press("Enter")
    chooser.value.set_files(images / "spots.tif")
    expect(page.locator(".file")).to_have_count(1)
    for _step in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.type") == "radio":
            break
    for _step in range(3):
        page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.value") == "spot"
    for _step in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "start":
            break
    before = rows(page)
    page.keyboard.press("Enter")
    row = newcomer(page, "spots.tif", before)
    expect(page.locator("#sending .job")).to_have_count(0)
    expect(row).to_have_attribute("data-status", "done", timeout=JOB_LIMIT_MS)
    expect(page.locator("#jobs-title")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#job-title")).to_have_text("spots.tif")
    expect(page.locator("#job-title")).to_be_focused()
    assert has_pixels(page)
    page.locator("canvas").focus()
    zoomed = "() => document.querySelector('canvas').style.touchAction"
    assert page.evaluate(zoomed) == "pan-y"
    page.keyboard.press("+")
    page.wait_for_function(f"() => ({zoomed})() === 'none'")
    page.keyboard.press("0")
    page.wait_for_function(f"() => ({zoomed})() === 'pan-y'")


def test_an_address_of_no_job(page: Page, kiosk: Kiosk) -> None:
    page.goto(f"{kiosk.url}/#/jobs/{'0' * 32}")
    expect(page.locator("#job-title")).to_have_text("No such job")
    expect(page.locator(".job-view > .reason")).to_contain_text("0" * 32)


def test_older_jobs_come_page_by_page(page: Page, kiosk: Kiosk, images: Path) -> None:
    with httpx.Client(base_url=kiosk.url) as client:
        for _number in range(5):
            file = {"file": ("bad.tif", (images / "bad.tif").read_bytes())}
            assert client.post("/jobs/predict", files=file).status_code == 202

    def fewer(route: Route) -> None:
        route.continue_(url=route.request.url.replace("limit=50", "limit=2"))

    page.route(re.compile(r"/jobs\?"), fewer)
    page.reload()
    rows = page.locator("#jobs .job")
    expect(rows).to_have_count(2)
    page.get_by_role("button", name="Show older jobs").click()
    expect(rows).to_have_count(4)
    ids = rows.evaluate_all("all => all.map(one => one.dataset.id)")
    assert ids == [job["id"] for job in httpx.get(f"{kiosk.url}/jobs?limit=4").json()["jobs"]]
