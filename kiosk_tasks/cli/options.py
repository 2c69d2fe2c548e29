"""Command-line options made of a job type's parameters."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Union, get_args

import typer
from pydantic.fields import FieldInfo

from kiosk_tasks.job import Params

__all__ = ["ALL_CORES", "Images", "InProcess", "Workers", "with_options"]

# What the commands that run jobs have in common.
Images = Annotated[
    list[str], typer.Argument(help="Images: files, folders or patterns.", metavar="IMAGE…")
]
ALL_CORES = os.cpu_count() or 1
Workers = Annotated[int, typer.Option("--workers", "-j", min=1, help="Jobs that run at once.")]
InProcess = Annotated[
    bool, typer.Option("--in-process", help="Run here, one by one, without broker and worker.")
]


def with_options(
    command: Callable[..., None], params: type[Params], *, help_text: str
) -> Callable[..., None]:
    """Return the command with one option for each parameter of the job type.

    command: takes the keyword `params`, a dict of the parameters that were given.
    """
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values()]
    fixed = [p for p in own if p.name != "params"]
    made = [_option(name, field) for name, field in params.model_fields.items()]

    def wrapped(**values: Any) -> None:
        given = {p.name: values.pop(p.name) for p in made}
        command(params=_given(given), **values)

    wrapped.__signature__ = inspect.Signature([*fixed, *made])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in (*fixed, *made)}
    wrapped.__doc__ = help_text
    return wrapped


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    told = "" if field.default in (None, "") else f" [default: {field.default}]"
    long = name.replace("_", "-")
    can_be_off = bool in (field.annotation, *get_args(field.annotation))
    option = typer.Option(
        f"--{long}/--no-{long}" if can_be_off else f"--{long}",
        help=f"{field.description}{told}",
        show_default=False,
        rich_help_panel="Parameters",
    )
    kind: Any = _optional(field.annotation)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )


def _optional(annotation: Any) -> Any:
    return annotation if type(None) in get_args(annotation) else Union[annotation, None]  # noqa: UP007
