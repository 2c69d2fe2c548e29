"""The pages to start with, done as their readers do it: every block, in order, on a real stack."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.docs_code import Reader, blocks, put_samples, reader_env
from tests.kiosk_up import Kiosk

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [*sorted(DOCS.glob("start-*.md")), DOCS / "reference/rest.md"]
ELSEWHERE = {"custom-job.md"}  # test_custom_job.py; python.md is run by test_client.py
_NOT_RUN_AT_MOST = 8


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_runs(page: Path, kiosk: Kiosk, tmp_path: Path) -> None:
    folder, scratch = tmp_path / "reader", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    put_samples(folder)
    env = reader_env({**os.environ, **kiosk.env, "COLUMNS": "120"})
    instead = {"http://127.0.0.1:8000": kiosk.url, "/var/lib/kiosk": str(kiosk.home)}
    with Reader(folder, scratch, env, instead=instead) as reader:
        assert reader.follow(text_of(page)) > 0
        printed = "".join(reader.said)
    for name in ("NotFound", "MethodNotAllowed", "InvalidRequest", "InternalError"):
        assert f'"error":"{name}"' not in printed, f"an example asks for what is not there: {name}"


def test_few_blocks_are_left_out_and_each_says_why() -> None:
    left_out = [block for page in PAGES for block in blocks(text_of(page)) if block.reason]
    assert len(left_out) <= _NOT_RUN_AT_MOST, [block.reason for block in left_out]
    assert all(len(block.reason.split()) >= 3 for block in left_out)


def test_every_tutorial_is_run() -> None:
    tutorials = {page.name for page in (DOCS / "tutorials").glob("*.md")}
    assert tutorials == ELSEWHERE


def test_what_is_shown_as_output_must_be_printed(tmp_path: Path) -> None:
    with Reader(tmp_path, tmp_path, reader_env(os.environ)) as reader:
        assert reader.follow("```console\n$ echo a; echo b 3 c\na\nb … c\n```\n") == 1
        with pytest.raises(AssertionError, match="b"):
            reader.follow("```console\n$ echo b; echo a\na\nb\n```\n")


def test_a_command_or_a_program_that_fails_is_noticed(tmp_path: Path) -> None:
    with Reader(tmp_path, tmp_path, reader_env(os.environ)) as reader:
        with pytest.raises(AssertionError, match="line 1"):
            reader.follow("```console\n$ false\n$ true\n```\n")
        with pytest.raises(AssertionError, match="NameError"):
            reader.follow("```python\nnothing\n```\n")


def test_blocks_of_a_page_see_what_those_before_have_set(tmp_path: Path) -> None:
    page = (
        "```console\n$ export A=1\n$ B=$(echo 2)\n```\n"
        "1. a list\n\n"
        "   ```python\n   import os\n   seen = os.environ['A'] + os.environ['B']\n   ```\n"
        "```python\nopen('seen', 'w').write(seen)\n```\n"
        "```console\n$ cat seen\n12\n```\n"
        "<!-- not run: it would fail here -->\n```console\n$ false\n```\n"
    )
    with Reader(tmp_path, tmp_path, reader_env(os.environ)) as reader:
        assert reader.follow(page) == 4
    assert re.fullmatch("it would fail here", blocks(page)[-1].reason)
