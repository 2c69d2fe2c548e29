"""The embedded stack as the command line starts it: settings, messages, environment."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from kiosk_tasks.jobs import task_types
from kiosk_tasks.run.links import queue_names
from kiosk_tasks.settings import Settings
from kiosk_tasks.stack import Autoscale, Stack, State
from kiosk_tasks.stack.web import check_web
from kiosk_tasks.wiring import model_folders

__all__ = ["FROM_SETTINGS", "embedded_stack"]

FROM_SETTINGS = -1


@contextmanager
def embedded_stack(
    home: Path,
    *,
    concurrency: int,
    flower: bool,
    console: Console,
    web_port: int | None = None,
    autoscale: Autoscale | None = None,
) -> Iterator[Stack]:
    """Start a stack in a folder, say so, and point this process at it while it runs.

    web_port: of the web service, 0 for a free one; FROM_SETTINGS for theirs, or a free
        one where they name none and 8000 is taken; None for no web service.
    autoscale: as for `Stack`.
    """
    settings = Settings.load()
    if web_port is not None:
        check_web(settings.web_address, tokens=bool(settings.users) or settings.web_open)
    start = time.perf_counter()

    def say(part: str, state: State) -> None:
        if state is State.READY:
            seconds = time.perf_counter() - start
            console.print(f"{part} ready after {seconds:.1f} s", highlight=False)

    stack = Stack(
        home,
        queues=queue_names(task_types(), settings.stage_queues),
        concurrency=concurrency,
        models_dirs=model_folders(settings),
        flower=flower,
        flower_address=settings.flower_address,
        flower_auth=settings.flower_auth.get_secret_value() if settings.flower_auth else None,
        web_port=settings.web_port if web_port == FROM_SETTINGS else web_port,
        web_port_fixed=web_port != FROM_SETTINGS or "web_port" in settings.model_fields_set,
        web_address=settings.web_address,
        bucket=settings.bucket or None,
        autoscale=autoscale,
        on_event=say,
    )
    before = dict(os.environ)
    with stack:
        os.environ.update(stack.values)
        try:
            yield stack
        finally:
            os.environ.clear()
            os.environ.update(before)
