"""What a notebook shows of a job and of a result; whatever the server said is escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from kiosk_tasks.client.state import ResultFile, State

__all__ = ["job_html", "progress_html", "result_html"]

_BOX = "font-family:sans-serif;border:1px solid #8884;border-radius:6px;padding:.6em .8em"
_COLOURS = {"done": "#1a7f37", "failed": "#c62828", "cancelled": "#8a6d00"}
_MOST_FILES = 12
_MOST_PICTURE_BYTES = 4 * 2**20


def job_html(state: State, picture: bytes | None = None) -> str:
    """Return a job as a box: what, how far, why not, and the overlay if it is at hand."""
    facts = _facts(state)
    bar = "" if state.ended else progress_html(state)
    return f'<div style="{_BOX};display:inline-block">{facts}{bar}{_picture(picture, state)}</div>'


def result_html(state: State, files: Sequence[ResultFile], picture: bytes | None) -> str:
    """Return a result as a box: facts, files and their sizes, the overlay."""
    rows = "".join(
        f"<li>{escape(file.name)} <small>{_size(file.size)}</small></li>"
        for file in files[:_MOST_FILES]
    )
    if len(files) > _MOST_FILES:
        rows += f"<li>and {len(files) - _MOST_FILES} more</li>"
    listed = f'<ul style="margin:.4em 0;padding-left:1.2em">{rows}</ul>' if rows else ""
    return (
        f'<div style="{_BOX};display:inline-block">{_facts(state)}{listed}'
        f"{_picture(picture, state)}</div>"
    )


def progress_html(state: State) -> str:
    """Return a bar, and in words how far the job is."""
    units = "" if state.units is None else f", {state.units[0]} of {state.units[1]}"
    return (
        f'<div><progress max="100" value="{int(state.progress)}" '
        f'aria-label="progress"></progress> {int(state.progress)} % '
        f"({escape(state.status)}{units})</div>"
    )


def _facts(state: State) -> str:
    colour = _COLOURS.get(state.status, "#555")
    name = escape(state.name or state.id)
    head = (
        f"<b>{escape(state.type)}</b> of {name}: "
        f'<b style="color:{colour}">{escape(state.status)}</b>'
    )
    lines = [head, f'<small title="job">{escape(state.id)}</small>']
    if state.params:
        told = ", ".join(f"{k} = {v}" for k, v in state.params.items())
        lines.append(f"<small>{escape(told)}</small>")
    total = sum(state.seconds.values())
    if state.ended and total:
        lines.append(f"<small>{total:.2f} s of work</small>")
    if state.reason:
        lines.append(f"<span>{escape(state.reason)}</span>")
    for file, reason in list(state.failures.items())[:_MOST_FILES]:
        lines.append(f"<small>{escape(file)}: {escape(reason)}</small>")
    return "<br>".join(lines)


def _picture(picture: bytes | None, state: State) -> str:
    if not picture or len(picture) > _MOST_PICTURE_BYTES:
        return ""
    data = base64.b64encode(picture).decode("ascii")
    kind = "gif" if picture.startswith(b"GIF8") else "png"
    return (
        '<div><img style="max-width:512px;max-height:512px;margin-top:.5em" '
        f'alt="overlay of {escape(state.name)}" src="data:image/{kind};base64,{data}"></div>'
    )


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(size, 1000) / 1e3:.0f} kB"
