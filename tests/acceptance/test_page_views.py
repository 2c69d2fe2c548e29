"""What the page makes of odd results and of hostile words: lost inputs, movies' spots, tracks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser import JOB_LIMIT_MS, choose, chromium, opened, picture, start
from tests.kiosk_up import Kiosk
from tests.page_images import draw_images

EVIL = "<x-evil>&amp;<img src=x onerror=alert(1)>"


def within(page: Page, name: str, expression: str) -> Any:
    """Return what an expression gives that knows one of the page's modules as `module`."""
    link = f"document.querySelector('link[href$=\"/{name}.js\"]').href"
    return page.evaluate(
        f"async () => {{ const module = await import({link}); return {expression}; }}"
    )


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


def test_labels_are_shown_where_the_input_is_gone(page: Page, kiosk: Kiosk, images: Path) -> None:
    choose(page, "predict", [images / "b.tif"])
    row = start(page, "b.tif")
    expect(row).to_have_attribute("data-status", "done", timeout=JOB_LIMIT_MS)
    job = httpx.get(f"{kiosk.url}/jobs/{row.get_attribute('data-id')}").json()
    (stored,) = kiosk.home.rglob(f"*/{job['input']}")
    stored.unlink()
    row.locator("a.name").click()
    note = page.locator(".viewer > .note")
    expect(note).to_contain_text("b.tif is gone from the bucket")
    expect(page.locator(".viewer-message")).to_be_hidden()
    page.wait_for_selector("canvas[data-drawn]")
    colours = page.evaluate(
        """() => {
            const canvas = document.querySelector("canvas");
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            return [...new Set(new Uint32Array(data.buffer))];
        }"""
    )
    assert 0xFF000000 in colours, "black"
    assert len(colours) > 3, "labels"
    picture(page, "gone_light_wide")


def hostile(job: dict[str, Any]) -> dict[str, Any]:
    return job | {
        "type": EVIL,
        "reason": f"{EVIL} a reason",
        "params": {EVIL: EVIL},
        "user": EVIL,
        "failures": {EVIL: EVIL},
    }


def test_words_of_others_stay_words(page: Page, images: Path, tmp_path: Path) -> None:
    """Names, reasons, parameters, users, failures, files and records: nothing becomes HTML."""
    name = f"{EVIL}.tif"
    (tmp_path / name).write_bytes((images / "a.tif").read_bytes())
    member = f"{EVIL}_overlay.png"

    def listed(route: Route) -> None:
        answer = route.fetch()
        found = answer.json()["files"]
        files = [{**found[0], "name": one} for one in (member, f"{EVIL}_job.json")]
        route.fulfill(json={"files": files})

    def told(route: Route) -> None:
        answer = route.fetch()
        body = answer.json()
        jobs = [hostile(job) for job in body["jobs"]] if "jobs" in body else hostile(body)
        route.fulfill(json={**body, "jobs": jobs} if "jobs" in body else jobs)

    choose(page, "predict", [tmp_path / name])
    expect(page.locator(".file-name")).to_have_text(name)
    row = start(page, name)
    expect(row).to_have_attribute("data-status", "done", timeout=JOB_LIMIT_MS)
    record = {"cells": 1, "image": {"shape": [EVIL], "axes": EVIL, "dtype": EVIL, "mpp": 1}}
    record |= {"model": {"name": EVIL, "version": EVIL}, "detector": EVIL}
    page.route(re.compile(r"/jobs(\?|/[0-9a-z-]+$)"), told)
    page.route("**/files", listed)
    page.route("**/files/**", lambda route: route.fulfill(json=record))
    refusal = {"message": f"{EVIL} refused", "error": "NoResult"}
    page.route("**/view", lambda route: route.fulfill(status=404, json=refusal))
    page.reload()
    expect(row.locator(".reason")).to_have_text(f"{EVIL} a reason")
    unharmed(page)
    row.locator("a.name").click()
    expect(page.locator("#job-title")).to_have_text(name)
    expect(page.locator(".job-view > .reason")).to_have_text(f"{EVIL} a reason")
    expect(page.locator(".job-stage .note")).to_have_text(f"{EVIL} refused")
    expect(page.locator(".fact-list")).to_contain_text(f"{EVIL}, version {EVIL}")
    expect(page.locator(".fact-list .param")).to_contain_text(EVIL)
    expect(page.locator(".file-list a").first).to_have_text(member)
    expect(page.locator("table td")).to_have_text(EVIL)
    expect(page.locator("pre").first).to_contain_text(EVIL)
    unharmed(page)
    page.goto(f"{page.url.partition('#')[0]}#/jobs/{quote(EVIL, safe='')}")
    expect(page.locator("#job-title")).to_have_text("No such job")
    page.goto(f"{page.url.partition('#')[0]}#/jobs/%")  # no address at all
    expect(page.locator("#job-title")).to_have_text("No such job")
    unharmed(page)


def test_harm_is_seen(page: Page) -> None:
    unharmed(page)
    page.evaluate("evil => { document.querySelector('main').innerHTML += evil; }", "<x-evil>")
    with pytest.raises(AssertionError):
        unharmed(page)


def unharmed(page: Page) -> None:
    assert page.locator("x-evil").count() == 0
    assert page.locator('img[src="x"]').count() == 0


ODD = (
    ("a,b;c.tif", {}, """-F 'file=@"a,b;c.tif"'"""),
    ('say "x".tif', {}, """-F 'file=@"say \\"x\\".tif"'"""),
    ("a.tif", {"model_name": "</etc/passwd"}, "--form-string 'model_name=</etc/passwd'"),
    ("a.tif", {"model_name": "@x"}, "--form-string model_name=@x"),
    ("a.tif", {"mpp": 0.5}, "-F mpp=0.5"),
    ("--help.tif", {}, "kiosk run predict ./--help.tif"),
)


def test_commands_read_no_other_file(page: Page) -> None:
    """What a stranger has called a file or written as a parameter is no option and no path."""
    for name, params, wanted in ODD:
        job = json.dumps({"type": "predict", "name": name, "params": params})
        texts = within(page, "commands", f"module.commandsOf({job})")
        assert wanted in "\n".join(text for _title, text in texts)


def test_a_movie_shows_the_spots_of_its_frame(page: Page) -> None:
    drawn = """[0, 1].map(frame => {
        const canvas = new OffscreenCanvas(40, 20);
        const context = canvas.getContext("2d");
        const spots = { spots: [[10, 10], [10, 30]], cells: null, frames: FRAMES };
        const how = { at: (y, x) => [x, y], size: 1, width: 40, height: 20 };
        module.drawSpots(context, spots, frame, how);
        return [10, 30].map(x => context.getImageData(x, 10, 1, 1).data[3] > 0);
    })"""
    movie = within(page, "drawing", drawn.replace("FRAMES", "[0, 1]"))
    assert movie == [[True, False], [False, True]]
    image = within(page, "drawing", drawn.replace("FRAMES", "null"))
    assert image == [[True, True], [True, True]]


def test_tracks_beside_each_other_differ_in_colour(page: Page) -> None:
    """A field of 10 × 10 cells, whose ids alone would give many the colour of the one beside."""
    found = within(
        page,
        "colours",
        """(() => {
                const tracks = [];
                for (let i = 0; i < 100; i += 1) {
                    const [y, x] = [20 * Math.floor(i / 10), 20 * (i % 10)];
                    tracks.push({ id: i + 1, points: [[0, y, x], [1, y + 1, x], [2, y, x + 1]] });
                }
                const places = module.trackPlaces(tracks);
                const beside = (of) => tracks.flatMap(({ id }) => [1, 10].filter((step) =>
                    (step === 10 || id % 10) && id + step <= 100 && of(id) === of(id + step)));
                return [beside(module.place).length, beside((id) => places.get(id)).length];
            })()""",
    )
    assert found[0] > 10
    assert found[1] == 0
