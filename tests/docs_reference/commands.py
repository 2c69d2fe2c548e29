"""Every command of `kiosk` with its arguments and options, from the Typer application itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_args

import typer

from kiosk_tasks.cli.main import build
from kiosk_tasks.cli.options import ALL_CORES
from kiosk_tasks.jobs import job_types
from tests.docs_reference.tables import cell, table

__all__ = ["command_names", "commands", "options_of"]

_OF_READERS = ("bright", "clumps")  # job types that readers make
_METAVARS = {int: "N", float: "X", Path: "PATH", str: "TEXT"}


def command_names() -> list[str]:
    """Return every command as it is typed: "kiosk up", "kiosk run predict", …"""
    return [
        " ".join(filter(None, ["kiosk", name, sub]))
        for name, command in _root().commands.items()
        for sub in getattr(command, "commands", None) or [""]
    ]


def options_of(words: Sequence[str]) -> set[str] | None:
    """Return the options of the command that a line begins with; None if there is no such command.

    A group without a job type, as `kiosk run JOB_TYPE`, has the options of all its commands.
    """
    command = _root()
    for word in words:
        inner = getattr(command, "commands", None)
        if inner is None or word.startswith("-"):
            break
        if word not in inner:
            if word.isupper() or word in ("…", *_OF_READERS):
                break
            return None
        command = inner[word]
    many = [command, *getattr(command, "commands", {}).values()]
    params = [param for one in many for param in one.params]
    names = {name for param in params for name in (*param.opts, *param.secondary_opts)}
    return names | {"--help", "--times"}  # the latter of a job type that a reader makes


def commands() -> str:
    """Return a section for each command, and one for the options that a job type brings."""
    root = _root().commands
    sections = [_section(name, command) for name, command in sorted(root.items())]
    return "\n\n".join([*sections, *(_of_job_type(*each) for each in root["run"].commands.items())])


@cache
def _root() -> Any:
    return typer.main.get_command(build())


def _section(name: str, command: Any) -> str:
    inner = getattr(command, "commands", {})
    if inner.keys() <= job_types().keys():
        return _group(name, command) if inner else _single(name, command)
    return "\n\n".join(_single(f"{name} {sub}", one) for sub, one in inner.items())


def _single(name: str, command: Any) -> str:
    parts = [f"## kiosk {name}", _text(command.help), _usage(f"kiosk {name}", command)]
    return "\n\n".join([*parts, *_tables(command.params)])


def _group(name: str, group: Any) -> str:
    """Say what a command for each job type has, but for the parameters of the job type."""
    own = {sub: _not_of(sub, command.params) for sub, command in group.commands.items()}
    first, *_ = own.values()
    shared = [row for row in first if all(row in rows for rows in own.values())]
    usage = _usage(f"kiosk {name} JOB_TYPE", next(iter(group.commands.values())))
    parts = [f"## kiosk {name}", _text(group.help), usage, *_rows_table(shared)]
    parts.append("| command | options besides these |\n|---|---|")
    for sub, rows in own.items():
        more = [f"{row[0]} ({row[1]}): {row[2]}" for row in rows if row not in shared]
        link = f"[those of {sub}](#options-of-{sub})"
        parts[-1] += f"\n| `kiosk {name} {sub}` | {'<br>'.join([link, *more])} |"
    return "\n\n".join(parts)


def _of_job_type(name: str, command: Any) -> str:
    fields = job_types()[name].params.model_fields
    own = [param for param in command.params if param.name in fields]
    return "\n\n".join([f"## Options of {name}", f"{job_types()[name].title}.", *_tables(own)])


def _not_of(job_type: str, params: Iterable[Any]) -> list[tuple[str, str, str]]:
    fields = job_types()[job_type].params.model_fields
    return [_row(param) for param in _shown(params) if param.name not in fields]


def _usage(start: str, command: Any) -> str:
    arguments = [
        (p.metavar or p.name.upper()) if p.required else f"[{p.metavar or p.name.upper()}]"
        for p in _shown(command.params)
        if p.param_type_name == "argument"
    ]
    return f"```text\n{' '.join([start, *arguments, '[OPTIONS]'])}\n```"


def _tables(params: Iterable[Any]) -> list[str]:
    return _rows_table([_row(param) for param in _shown(params)])


def _rows_table(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    return [table(("argument or option", "default", "meaning"), *rows)] if rows else ["No options."]


def _text(help_text: str | None) -> str:
    return (help_text or "").replace("<", "&lt;")


def _shown(params: Iterable[Any]) -> list[Any]:
    return [param for param in params if not param.hidden and param.name != "help"]


def _row(param: Any) -> tuple[str, str, str]:
    if param.param_type_name == "argument":
        name = f"`{param.metavar or param.name.upper()}`"
    else:
        value = "" if param.is_flag else f" {_metavar(param)}"
        name = ", ".join(f"`{one}{value}`" for one in _long_first(param.opts))
        name += "".join(f", `{one}`" for one in param.secondary_opts)
    told, _, default = (param.help or "").partition(" [default: ")
    value = f"`{default[:-1]}`" if default not in ("", "False]") else _default(param)
    return name, value, cell(told)


def _long_first(names: Sequence[str]) -> list[str]:
    return sorted(names, key=len, reverse=True)


def _metavar(param: Any) -> str:
    if param.metavar:
        return str(param.metavar)
    annotation = param.type_descriptor.annotation
    kinds = [kind for kind in (*get_args(annotation), annotation) if kind in _METAVARS]
    return _METAVARS[kinds[0]] if kinds else "TEXT"


def _default(param: Any) -> str:
    value = param.default
    if isinstance(param.show_default, str):
        return cell(param.show_default)
    if param.required:
        return "required"
    if value in (None, "") or value is False or callable(value):
        return ""
    if param.name == "workers" and value == ALL_CORES:
        return "one per core"
    if value is True:
        return f"`{param.opts[0]}`"
    return f"`{value}`"
