"""Which pages have parts that are made from the code, and what those should be."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from tests.docs_reference import commands, sentences, tables

__all__ = ["DOCS", "PARTS", "generated_pages", "with_parts", "write"]

DOCS = Path(__file__).parents[2] / "docs"
PARTS: dict[str, Callable[..., str]] = {
    "settings": tables.settings_table,
    "job types": tables.job_types_table,
    "users": tables.users_table,
    "commands": commands.commands,
    "answers": lambda: import_module("tests.docs_reference.routes").answers(),
    "routes": lambda: import_module("tests.docs_reference.routes").routes(),
    "error": sentences.error,
}
_PART = re.compile(
    rf"<!-- (?P<name>{'|'.join(PARTS)})(?: (?P<of>\w+))? -->\n.*?<!-- end -->", re.DOTALL
)


def generated_pages() -> list[Path]:
    """Return the pages that have such parts."""
    return [page for page in sorted(DOCS.rglob("*.md")) if _PART.search(page.read_text("utf-8"))]


def with_parts(page: Path) -> str:
    """Return the page's text with all its parts as they should be."""
    return _PART.sub(_part, page.read_text("utf-8"))


def write() -> None:
    """Write all parts anew."""
    for page in generated_pages():
        text = with_parts(page)
        if text != page.read_text("utf-8"):
            page.write_text(text, "utf-8")


def _part(match: re.Match[str]) -> str:
    head = match[0].partition("\n")[0]
    text = PARTS[match["name"]](*filter(None, [match["of"]]))
    return f"{head}\n\n{text}\n\n<!-- end -->"
