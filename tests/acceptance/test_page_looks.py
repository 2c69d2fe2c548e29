"""The page's views, light and dark, wide and on a phone: seen by axe-core, kept as pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import chromium, faults_of, has_pixels, opened, picture
from tests.conftest import wait_for
from tests.kiosk_up import Kiosk
from tests.page_images import CASES, draw_images

WIDE = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740}
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def jobs(kiosk: Kiosk, images: Path) -> dict[str, str]:
    """Ids of ended jobs by the name of their view: one of each case, and a failed one."""
    with httpx.Client(base_url=kiosk.url) as client:

        def send(kind: str, path: Path, values: dict[str, str]) -> str:
            with path.open("rb") as file:
                answer = client.post(f"/jobs/{kind}", data=values, files={"file": file})
            assert answer.status_code == 202, answer.text
            return str(answer.json()["id"])

        sent = {
            ("zip" if case.file.endswith(".zip") else case.kind): send(
                case.kind, images / case.file, case.values
            )
            for case in CASES
        }
        sent["failed"] = send("predict", images / "bad.tif", {})
        for job in sent.values():
            wait_for(lambda job=job: client.get(f"/jobs/{job}").json()["ended"], limit_s=240)
    return sent


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_is_usable_by_all(
    browser: Browser,
    kiosk: Kiosk,
    images: Path,
    jobs: dict[str, str],
    scheme: str,
    size: dict[str, int],
) -> None:
    name = f"{scheme}_{'wide' if size is WIDE else 'phone'}"
    with opened(browser, kiosk.url, viewport=size, color_scheme=scheme) as page:
        page.wait_for_selector("#jobs .job")
        page.set_input_files("#file-input", [images / "nuclei.ome.tif", images / "spots.tif"])
        expect(page.locator(".file-facts").last).to_contain_text("160 × 192")
        picture(page, f"new_{name}")
        page.get_by_text("More settings").click()
        checked(page)
        for view, job in jobs.items():
            page.goto(f"{kiosk.url}/#/jobs/{job}")
            settled(page, view)
            if view == "track":
                page.locator("#frame").fill("5")
                page.wait_for_selector('canvas[data-frame="5"]')
            picture(page, f"{view}_{name}")
            checked(page)


def settled(page: Page, view: str) -> None:
    expect(page.locator(".job-view[data-status]")).to_be_visible()
    if view == "failed":
        return
    if view == "zip":
        expect(page.locator("canvas")).to_have_count(0)
    else:
        assert has_pixels(page)
    expect(page.locator(".fact-list .found").first).to_be_visible()


def checked(page: Page) -> None:
    assert faults_of(page) == []
    assert page.evaluate(OVERFLOW) == 0, "the page is wider than the window"


def test_axe_finds_what_is_wrong(browser: Browser, kiosk: Kiosk) -> None:
    with opened(browser, kiosk.url) as page:
        page.evaluate("document.querySelector('main').append(document.createElement('img'))")
        assert [fault.split(":")[0] for fault in faults_of(page)] == ["image-alt"]


def test_parts_outlines_cells_and_frames(
    browser: Browser, kiosk: Kiosk, jobs: dict[str, str]
) -> None:
    with opened(browser, kiosk.url, viewport=WIDE) as page:
        page.goto(f"{kiosk.url}/#/jobs/{jobs['mesmer']}")
        shown = [seen(page)]
        for words in ("Nuclear", "Outlines", "Off"):
            page.locator(".segment", has_text=words).click()
            shown.append(seen(page, unlike=shown[-1]))
        assert len(set(shown)) == len(shown)
        page.locator(".segment", has_text="Filled").click()
        pointed(page)
        whole = seen(page)
        page.mouse.wheel(0, -600)
        near = seen(page, unlike=whole)
        page.mouse.down()
        page.mouse.move(500, 500, steps=3)
        page.mouse.up()
        seen(page, unlike=near)
        page.get_by_role("button", name="Show all").click()
        page.mouse.move(0, 0)  # no cell is marked then
        page.wait_for_function(
            "() => document.querySelector('canvas').style.touchAction === 'pan-y'"
        )

        page.goto(f"{kiosk.url}/#/jobs/{jobs['track']}")
        before = seen(page)
        page.get_by_role("button", name="Play").click()
        page.wait_for_selector('canvas[data-frame="3"]')
        page.get_by_role("button", name="Pause").click()
        after = seen(page, unlike=before)
        page.get_by_role("checkbox", name="Tracks").uncheck()
        seen(page, unlike=after)


def seen(page: Page, *, unlike: str = "") -> str:
    """Return what the canvas shows, once it is not that."""
    has_pixels(page)
    drawn = "document.querySelector('canvas').toDataURL()"
    page.wait_for_function(f"unlike => {drawn} !== unlike", arg=unlike)
    return str(page.evaluate(drawn))


def pointed(page: Page) -> None:
    """Move over the canvas until a cell is under the pointer."""
    box = page.locator("canvas").bounding_box()
    assert box is not None
    readout = page.locator(".readout")
    for step in range(40):
        page.mouse.move(box["x"] + box["width"] * (0.3 + step / 100), box["y"] + box["height"] / 2)
        if "· cell " in readout.inner_text():
            return
    pytest.fail(f"no cell was pointed at: {readout.inner_text()}")


def test_motion_is_left_out_where_it_is_not_wanted(browser: Browser, kiosk: Kiosk) -> None:
    turning = """() => {
        const icon = document.querySelector('.brand svg');
        icon.classList.add('icon-running');
        return getComputedStyle(icon).animationName;
    }"""
    for wish, name in (("no-preference", "turn"), ("reduce", "none")):
        with opened(browser, kiosk.url, reduced_motion=wish) as page:
            assert page.evaluate(turning) == name
