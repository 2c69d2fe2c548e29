"""`python -m tests.flower_picture`: draw docs/images/flower.png, a real Flower beside real jobs."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tests.browser import LIMIT_MS, chromium
from tests.conftest import wait_for
from tests.kiosk_up import Kiosk, kiosk_up
from tests.ports import free_port
from tests.processes import child
from tests.security_site import ask

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "flower.png"
IMAGE = Path(__file__).parents[1] / "samples" / "nuclei_512.tif"
LOGIN = {"username": "lab", "password": "word-12345"}
WIDE = 1080
QUEUES = ("predict",)
"""Each has one more worker, beside the stack's for all queues."""


def main() -> None:
    """Run a stack, one more worker, Flower and some jobs; keep what Flower shows of them."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as life:
        site = life.enter_context(kiosk_up(Path(folder)))
        for queue in QUEUES:
            life.enter_context(_worker(site, Path(folder), queue))
        url = life.enter_context(_flower(site, Path(folder)))
        for kind, number in (("spot", 8), ("polaris", 4), ("predict", 24)):
            images = [shutil.copy(IMAGE, Path(folder) / f"{n}.tif") for n in range(number)]
            done = site.run("submit", kind, *images)
            assert len(done.stdout.split()) == number, done.stderr
        page = life.enter_context(_window())
        pictures = [_shot(page, url, name, Path(folder)) for name in ("workers", "broker", "tasks")]
        _below_each_other(pictures)


@contextmanager
def _worker(site: Kiosk, folder: Path, queue: str) -> Iterator[None]:
    ready, log = folder / f"{queue}.ready", folder / f"{queue}.log"
    command = [sys.executable, "-m", "celery", "-A", "kiosk_tasks", "worker", "-c", "1"]
    options = ["-Q", queue, "-n", f"{queue}@%h", "--", "worker.soft_shutdown_timeout=0"]
    with child([*command, *options], log=log, env={**site.env, "KIOSK_READY_FILE": str(ready)}):
        wait_for(ready.exists, limit_s=60, what=f"worker is ready, see {log}")
        yield


@contextmanager
def _flower(site: Kiosk, folder: Path) -> Iterator[str]:
    port = free_port()
    env = {**site.env, "KIOSK_FLOWER_AUTH": ":".join(LOGIN.values())}
    command = [sys.executable, "-m", "kiosk_tasks", "flower", "--port", str(port)]
    with child(command, log=folder / "flower.log", env=env):
        wait_for(lambda: ask(port, "/healthcheck"), limit_s=60, what="Flower answers")
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _window() -> Iterator[Page]:
    with chromium() as browser:
        context = browser.new_context(
            http_credentials=LOGIN, viewport={"width": WIDE, "height": 900}
        )
        context.set_default_timeout(LIMIT_MS)
        yield context.new_page()
        context.close()


def _shot(page: Page, url: str, name: str, folder: Path) -> Path:
    page.goto(f"{url}/{name}")
    table = {"workers": "#workers-table", "broker": "#queue-table", "tasks": "#tasks-table"}
    page.wait_for_selector(f"{table[name]} tbody td:nth-child(2)")
    page.wait_for_timeout(1500)  # its own scripts fill it, and fade it in
    path = folder / f"{name}.png"
    height = {"workers": 560, "broker": 520, "tasks": 560}[name]
    top = 0 if name == "workers" else 64
    page.screenshot(path=path, clip={"x": 0, "y": top, "width": WIDE, "height": height - top})
    return path


def _below_each_other(paths: list[Path]) -> None:
    pictures = [Image.open(path).convert("RGB") for path in paths]
    whole = Image.new("RGB", (WIDE, sum(picture.height for picture in pictures)), "white")
    top = 0
    for picture in pictures:
        whole.paste(picture, (0, top))
        top += picture.height
    whole.quantize(64).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
