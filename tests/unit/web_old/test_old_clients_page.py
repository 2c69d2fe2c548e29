"""The page on old clients names what they can call and read."""

from __future__ import annotations

import re
from pathlib import Path

from kiosk_tasks.jobs import job_types
from kiosk_tasks.ledger.records import OF_CHILDREN, OLD_NAMES
from kiosk_tasks.web.old_api import _FROM_BODY, _FROM_FORM
from kiosk_tasks.web.routes.old import swagger

PAGE = (Path(__file__).parents[3] / "docs" / "old-clients.md").read_text("utf-8")
CODE = set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", PAGE, flags=re.S | re.M)))


def test_calls_are_on_the_page() -> None:
    calls = {
        f"{method.upper()} {path}"
        for path, methods in swagger()["paths"].items()
        for method in methods
        if "{" not in path
    }
    assert len(calls) == 9
    named = {match[0] for text in CODE if (match := re.match(r"(GET|POST) /api/[\w./-]+", text))}
    assert named == calls


def test_fields_and_names_are_on_the_page() -> None:
    aliases = {alias for one in job_types().values() for alias in one.aliases}
    fields = {*OF_CHILDREN, *OLD_NAMES.values(), *_FROM_FORM, *_FROM_BODY} - {"cuts"}
    assert (aliases | fields) - CODE == set()
