"""`kiosk new-job NAME`: a package with one job type, to be edited in one file."""

from __future__ import annotations

import importlib.util
import keyword
import os
import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.jobs import job_types

__all__ = ["new_job"]

_NAME = re.compile(r"[a-z]([a-z0-9_]{0,38}[a-z0-9])?")
_TAKEN = ("app", "celery")
"""What `kiosk_tasks` itself has by these names, beside its modules."""


def new_job(
    name: Annotated[str, typer.Argument(help="Name of the job type: lower case, digits, _.")],
    folder: Annotated[Path, typer.Option(help="Where the package's folder is made.")] = Path(),
    model: Annotated[
        bool, typer.Option(help="Ask a model; without one, a threshold finds the objects.")
    ] = True,
) -> None:
    """Make a package with a job type of your own: one job file, its test, an entry point."""
    package = folder.expanduser() / name
    _check_name(name)
    made = _write(package, _contents(name, model=model))
    for path in made:
        typer.echo(str(path))
    typer.echo(
        f"edit {package / _module(name)}.py, then: pip install -e {package}; kiosk run {name} IMAGE"
    )


def _check_name(name: str) -> None:
    """Refuse what cannot name a job type, or names something already."""
    if not _NAME.fullmatch(name):
        raise InvalidParameter(
            f"{name!r} cannot name a job type: use lower-case letters, digits and _, "
            "a letter first, no _ at the end, at most 40."
        )
    if keyword.iskeyword(name):
        raise InvalidParameter(f'"{name}" is a word of Python. Take another name.')
    for job_type in job_types().values():
        if name in (job_type.name, *job_type.aliases):
            raise InvalidParameter(
                f'there is a job type "{name}" already: {job_type.title}. Take another name.'
            )
    if name in _TAKEN or importlib.util.find_spec(f"kiosk_tasks.{name}"):
        raise InvalidParameter(f'"{name}" is a part of kiosk_tasks itself. Take another name.')


def _module(name: str) -> str:
    """Return the name of the job's module: one that hides no other package."""
    return f"{name}_job"


def _contents(name: str, *, model: bool) -> dict[str, str]:
    """Return the text of each file of the package, by its name."""
    which = "with_model" if model else "without_model"
    words = {
        "name": name,
        "module": _module(name),
        "package": f"kiosk-job-{name.replace('_', '-')}",  # replaces no other package
        "title": name.replace("_", " ").strip().capitalize(),
        "params": "".join(part.capitalize() for part in name.split("_")) + "Params",
    }
    sources = {
        f"{_module(name)}.py": f"job_{which}.py.txt",
        f"test_{_module(name)}.py": f"test_{which}.py.txt",
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
    }
    templates = files("kiosk_tasks") / "templates" / "new_job"
    return {
        target: Template((templates / source).read_text("utf-8")).substitute(words)
        for target, source in sources.items()
    }


def _write(package: Path, contents: dict[str, str]) -> list[Path]:
    try:
        package.parent.mkdir(parents=True, exist_ok=True)
        package.mkdir()
        for name, text in contents.items():
            (package / name).write_text(text, "utf-8")
    except FileExistsError as exc:
        raise InvalidParameter(
            f"{package} exists already. Remove it, or take another name or --folder."
        ) from exc
    except OSError as exc:
        reason = os.strerror(exc.errno or 0)
        raise InvalidParameter(f"{package} cannot be made: {reason}.") from exc
    return [package / name for name in contents]
