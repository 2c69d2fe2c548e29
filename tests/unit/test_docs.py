"""What the pages show runs, what they list is what there is, and all that there is, they list.

`python -m tests.unit.test_docs` writes the parts that are made from the code anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from kiosk_tasks.job import Status, new_job
from kiosk_tasks.jobs import declared, job_types
from kiosk_tasks.run.local import MemoryReporter, run_local
from kiosk_tasks.settings import Settings
from tests.docs_reference.commands import command_names, options_of
from tests.docs_reference.pages import DOCS, generated_pages, with_parts, write
from tests.docs_reference.routes import route_names, unlisted_routes
from tests.docs_reference.sentences import error_classes, is_said
from tests.docs_reference.tables import job_types_table
from tests.fakes import fake_adapters, tiff_bytes

__all__ = ["job_types_table"]

ROOT = DOCS.parent
EXAMPLE = DOCS / "examples/clumps.py"
STARTS = sorted(DOCS.glob("start-*.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(DOCS.rglob("*.md")),
]
HOW_TO_MEND = "run: python -m tests.unit.test_docs"


def text_of(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return what can follow a page's name after a #: its headings, as MkDocs and GitHub do it."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    slugs = {re.sub(r"[-\s]+", "-", text) for text in plain}
    return slugs | set(re.findall(r'(?:id="|\{#)([\w-]+)', prose(page)))


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The README's example as an installed package with an entry point."""
    (tmp_path / EXAMPLE.name).write_text(readme_example(), "utf-8")
    info = tmp_path / "example-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[kiosk_tasks.job_types]\nclumps = clumps\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    declared.cache_clear()
    yield
    declared.cache_clear()
    sys.modules.pop("clumps", None)


def readme_example() -> str:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    (example,) = (block for block in blocks if "job_type = JobType(" in block)
    return str(example)


def test_readme_shows_the_example_that_the_pages_include() -> None:
    assert readme_example() == EXAMPLE.read_text("utf-8")


@pytest.mark.usefixtures("plugin")
def test_example_is_found_and_runs() -> None:
    pixels = np.full((90, 120), 100, np.uint16)
    pixels[10:30, 10:30] = pixels[10:30, 30:50] = pixels[60:80, 70:90] = 900
    given = fake_adapters(**{"uploads/x.tif": tiff_bytes(pixels)})
    job = new_job(job_types()["clumps"], {"input_file_name": "uploads/x.tif"})
    report = MemoryReporter()
    result = run_local(job, given=given, report=report)
    assert report.notes()["cells"] == 2
    assert given.storage.exists(result["output_file_name"])


@pytest.mark.parametrize("page", generated_pages(), ids=lambda page: page.name)
def test_generated_parts_are_up_to_date(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert page.read_text("utf-8") == with_parts(page), HOW_TO_MEND


def test_the_pages_with_generated_parts_have_them() -> None:
    names = {str(page.relative_to(DOCS)) for page in generated_pages()}
    reference = {f"reference/{name}.md" for name in ("cli", "errors", "rest")}
    assert names >= {"settings.md", "job-types.md", "security.md", *reference}


def test_every_command_has_a_section() -> None:
    page = text_of("reference/cli.md")
    missing = [
        name
        for name in command_names()
        if f"## {name}\n" not in page and f"| `{name}` |" not in page
    ]
    assert not missing, HOW_TO_MEND


def test_every_route_has_a_section_and_an_example() -> None:
    page = text_of("reference/rest.md")
    sections = dict(re.findall(r"^### `(.*?)`\n(.*?)(?=^##|\Z)", page, re.DOTALL | re.MULTILINE))
    assert sorted(sections) == sorted(route_names()), HOW_TO_MEND
    for name, section in sections.items():
        assert "```console\n$ " in section, name
    for path in unlisted_routes():
        assert f"`{path}`" in page, f"say in reference/rest.md what {path} is"


def test_every_setting_and_every_job_type_has_its_place() -> None:
    settings, types = text_of("settings.md"), text_of("job-types.md")
    for field in Settings.model_fields.values():
        for name in field.validation_alias.choices:  # type: ignore[union-attr]
            assert f"`{name}`" in settings, HOW_TO_MEND
    for name, job_type in job_types().items():
        assert f"## {name}: {job_type.title}\n" in types, HOW_TO_MEND


def test_every_error_has_a_section_with_advice() -> None:
    page = text_of("reference/errors.md")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE))
    missing = sorted(error_classes().keys() - sections.keys())
    assert not missing, "write `## Name`, `<!-- error Name -->`, `<!-- end -->` and what to do"
    assert sorted(sections) == sorted(error_classes())
    for name, section in sections.items():
        assert f"<!-- error {name} -->" in section
        made, quoted = r"<!-- error .*?<!-- end -->", r"^>[^\n]*$"
        advice = re.sub(f"{made}|{quoted}", "", section, flags=re.DOTALL | re.MULTILINE)
        assert len(advice.split()) >= 5, f"{name}: say what to do"


def test_example_sentences_are_those_of_the_code() -> None:
    page = text_of("reference/errors.md")
    examples = re.findall(r"^## (\w+)\n\n> (.*?)\n\n", page, re.DOTALL | re.MULTILINE)
    assert len(examples) >= 35
    for name, quoted in examples:
        assert is_said(name, quoted.replace("\n> ", " ")), f"nothing says, as {name}: {quoted}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor and path.suffix == ".md":
            assert anchor in anchors(path), f"{page.name} links to {target}"


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r"- (?:.*: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert listed == {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}


def test_site_builds_without_a_warning(tmp_path: Path) -> None:
    if find_spec("mkdocs") is None or find_spec("material") is None:
        reason = "mkdocs-material is not installed; run: make docs"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(tmp_path)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_are_shown_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    lines = re.findall(r"^ *\$ kiosk (.*)$|`kiosk ([^`\n]+)`", text, re.MULTILINE)
    for shown in filter(None, (first or second for first, second in lines)):
        plain = re.split(r" #|[|;>)]", shown)[0]
        words = re.sub(r"[\"'\\]", "", plain).split()
        options = options_of(words)
        assert options is not None, f"{page.name} shows kiosk {shown}"
        named = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert named <= options, f"{page.name} shows kiosk {shown}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_that_are_named_exist(page: Path) -> None:
    known = {
        name
        for field in Settings.model_fields.values()
        for name in field.validation_alias.choices  # type: ignore[union-attr]
    }
    known |= {f"{name}_FILE" for name in known if name.startswith("KIOSK_")}
    variable = r"KIOSK_[A-Z_]*[A-Z]"
    for path in (ROOT / "kiosk_tasks/client").glob("*.py"):  # two are the client's own
        known.update(re.findall(rf'"({variable})"', path.read_text("utf-8")))
    assert set(re.findall(variable, page.read_text("utf-8"))) <= known


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    for page in PAGES:
        named = set(re.findall(r"(?:`|\$ )make ([a-z]+)", page.read_text("utf-8")))
        assert named <= targets, page.name


def glossary() -> set[str]:
    """Return the words of the glossary, in small letters."""
    rows = re.findall(r"^\| \*\*(.*?)\*\* \|", text_of("glossary.md"), re.MULTILINE)
    return {word.lower() for row in rows for word in re.split(r", | / ", row)}


@pytest.mark.parametrize("page", STARTS, ids=lambda page: page.name)
def test_words_in_bold_are_in_the_glossary(page: Path) -> None:
    bold = set(re.findall(r"\*\*(.+?)\*\*", prose(page)))
    assert bold, "a page to start with says which words are ours"
    assert {word.lower() for word in bold} <= glossary()


def test_glossary_has_the_statuses_that_there_are() -> None:
    (row,) = re.findall(r"^\| \*\*Status\*\* \| (.*) \|$", text_of("glossary.md"), re.MULTILINE)
    assert set(re.findall(r"`([a-z-]+)`", row)) == {status.value for status in Status}


if __name__ == "__main__":
    write()
