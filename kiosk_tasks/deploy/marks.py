"""The part of a file that is made by us, between two marks."""

from __future__ import annotations

import re
from textwrap import dedent, indent

from kiosk_tasks.errors import InvalidParameter

__all__ = ["made_part", "with_made_part"]

_PART = re.compile(
    r"^(?P<space> *)# begin queues\b[^\n]*\n(?P<made>.*?)^ *# end queues$",
    re.DOTALL | re.MULTILINE,
)
MADE = "# Made by `kiosk deploy"
"""What a file that is ours as a whole begins with."""


def made_part(text: str, *, where: str) -> str:
    """Return the part that is made by us, without its indentation; a file of ours is all of it.

    where: the file's name, for the error.
    Raises InvalidParameter if the text has no such part, or several.
    """
    return text if text.startswith(MADE) else dedent(_find(text, where)["made"])


def with_made_part(text: str, made: str, *, where: str) -> str:
    """Return the text with that part replaced."""
    if not text or text.startswith(MADE):
        return made
    match = _find(text, where)
    start, end = match.span("made")
    return text[:start] + indent(made, match["space"]) + text[end:]


def _find(text: str, where: str) -> re.Match[str]:
    found = list(_PART.finditer(text))
    if len(found) != 1:
        raise InvalidParameter(
            f"{where} has {len(found) or 'no'} part(s) between `# begin queues` and "
            "`# end queues`. Put these two lines once where the queues belong, or name a new file."
        )
    return found[0]
