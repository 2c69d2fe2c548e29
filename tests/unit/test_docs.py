"""What the pages show runs, and what they list is what there is.

`python -m tests.unit.test_docs` writes the tables anew.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiosk_tasks.broker_users import BrokerKeys, broker_users, user_name
from kiosk_tasks.job import JobType, new_job
from kiosk_tasks.jobs import job_types
from kiosk_tasks.run.local import MemoryReporter, run_local
from kiosk_tasks.settings import Settings, default_home
from tests.fakes import fake_adapters, tiff_bytes

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/clumps.py"
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def settings_table() -> str:
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for field in Settings.model_fields.values():
        ours, *old = dict.fromkeys(field.validation_alias.choices)  # type: ignore[union-attr]
        names = f"`{ours}`" + "".join(f"<br>also `{name}`" for name in old if name != ours)
        if field.default_factory is default_home:
            default = "see above"
        else:
            value = field.get_default(call_default_factory=True, validated_data={})
            default = "" if value in ("", None) else f"`{value}`"
        rows.append(f"| {names} | {default} | {_cell(field.description or '')} |")
    return "\n".join(rows)


def users_table() -> str:
    names = BrokerKeys("kiosk:", "kiosk:v1:", old_queues=["<queue>"])
    heads = ("user", "who logs in", "keys", "the old Kiosk's keys", "takes jobs off queues")
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for user in broker_users(names):
        keys = [key for grant in (user.grant, *user.more) for key in grant.keys]
        ours = " ".join(f"`{key}`" for key in user.grant.keys)
        old = " ".join(f"`{key}`" for key in keys if "<queue>" in key)
        takes = "yes" if {"brpop", "@all"} & set(user.grant.commands.split()) else ""
        rows.append(
            f"| `{user_name(user.component)}` | {user.purpose} | {ours} | {old} | {takes} |"
        )
    return "\n".join(rows)


def job_types_table() -> str:
    return "\n\n".join(_section(job_type) for job_type in job_types().values())


def _section(job_type: JobType[Any]) -> str:
    facts = {
        "queue": f"`{job_type.queue}`",
        "also called": ", ".join(f"`{alias}`" for alias in job_type.aliases),
        "stages": " → ".join(step.name for step in job_type.steps),
        "model": ", ".join(f"`{model.name}`" for model in job_type.models),
        "time limit": f"{job_type.seconds} s per link",
    }
    params = job_type.params.model_fields.items()
    return "\n".join(
        [
            f"## {job_type.name}: {job_type.title}",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in facts.items() if value),
            "",
            "| parameter | default | meaning |",
            "|---|---|---|",
            *(
                f"| `{name}` | {'' if field.default is None else f'`{field.default}`'} "
                f"| {_cell(field.description or '')} |"
                for name, field in params
            ),
        ]
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


TABLES = {
    ROOT / "docs/settings.md": ("settings", settings_table),
    ROOT / "docs/job-types.md": ("job types", job_types_table),
    ROOT / "docs/security.md": ("users", users_table),
}


def with_table(page: Path) -> str:
    """Return the page's text with its table as it should be."""
    marker, table = TABLES[page]
    start, end = f"<!-- {marker} -->\n", "<!-- end -->"
    before, rest = page.read_text("utf-8").split(start)
    after = rest.split(end, 1)[1]
    return f"{before}{start}\n{table()}\n\n{end}{after}"


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The README's example as an installed package with an entry point."""
    (tmp_path / EXAMPLE.name).write_text(readme_example(), "utf-8")
    info = tmp_path / "example-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[kiosk_tasks.job_types]\nclumps = clumps\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    job_types.cache_clear()
    yield
    job_types.cache_clear()
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


@pytest.mark.parametrize("page", TABLES, ids=lambda page: page.name)
def test_tables_are_up_to_date(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert page.read_text("utf-8") == with_table(page), "run: python -m tests.unit.test_docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_that_are_named_exist(page: Path) -> None:
    known = {
        name
        for field in Settings.model_fields.values()
        for name in field.validation_alias.choices  # type: ignore[union-attr]
    }
    named = set(re.findall(r"KIOSK_[A-Z_]*[A-Z]", page.read_text("utf-8")))
    assert named <= known


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    for page in PAGES:
        named = set(re.findall(r"(?:`|\$ )make ([a-z]+)", page.read_text("utf-8")))
        assert named <= targets, page.name


if __name__ == "__main__":
    for _page in TABLES:
        _page.write_text(with_table(_page), "utf-8")
