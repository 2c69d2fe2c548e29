"""Bars while one waits: rich's in a terminal, a plain one in a notebook, none elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from kiosk_tasks.client.html import job_html
from kiosk_tasks.client.state import State

__all__ = ["say", "showing"]

Show = Callable[[State], None]


@contextmanager
def showing(wanted: bool | Show, what: str) -> Iterator[Show]:
    """Give a function that shows a job's state.

    wanted: whether to show it; or one's own function. what: to call the job in a terminal.
    """
    if callable(wanted):
        yield wanted
    elif not wanted:
        yield _hidden
    elif _in_notebook():
        yield _notebook()
    elif sys.stderr.isatty():
        with _terminal(what) as show:
            yield show
    else:
        yield _hidden


def say(sentence: str) -> None:
    """Tell the person something beside the program's output."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def _hidden(_state: State) -> None:
    """Show nothing."""


def _in_notebook() -> bool:
    """Tell whether a kernel runs this, not a terminal; IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def _notebook() -> Show:
    """Return what shows the job in the cell's output, in place of what it showed before."""
    display: Any = import_module("IPython.display")
    handle: Any = None

    def show(state: State) -> None:
        nonlocal handle
        html = display.HTML(job_html(state))
        if handle is None:
            handle = display.display(html, display_id=True)
        else:
            handle.update(html)

    return show


@contextmanager
def _terminal(what: str) -> Iterator[Show]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[status]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(escape(what), total=100, status="")

        def show(state: State) -> None:
            bars.update(task, completed=state.progress, status=state.status)

        yield show
