"""What a client sends with a job: where its input lies, and its parameters; checked on arrival."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.types import JsonValue

from kiosk_tasks.errors import InvalidParameter

__all__ = ["ImageParams", "Params", "Source", "form", "validated"]


def form(*, unit: str = "", rare: bool = False, words: Sequence[str] = ()) -> dict[str, JsonValue]:
    """Return what a form shows of a parameter beside its range; for a Field's `json_schema_extra`.

    unit: of the number. rare: shown on request only. words: of the choices 0, 1, …, in order.
    """
    shown: dict[str, JsonValue] = {"x-unit": unit} if unit else {}
    if rare:
        shown["x-group"] = "advanced"
    if words:
        shown |= {"enum": list(range(len(words))), "x-enum-labels": list(words)}
    return shown


class _Edge(BaseModel):
    """What comes from outside: unknown names are refused, empty strings mean "not given"."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_empty(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {name: value for name, value in values.items() if value not in ("", None)}


class Source(_Edge):
    """Where a job's input lies and what the user calls it."""

    input_file_name: str = Field(description="Key of the input in the bucket.")
    original_name: str = Field("", description="The user's file name; results are named after it.")

    @cached_property
    def name(self) -> str:
        """The name a person knows the file by."""
        name = (self.original_name or self.input_file_name).replace("\\", "/")  # Windows paths
        return PurePosixPath(name).name


class Params(_Edge):
    """Parameters that every job type has; a job type's own class adds to them."""

    model_name: str | None = Field(
        None,
        title="Model",
        description="Model to use; default: the job type's own.",
        json_schema_extra=form(rare=True),
    )
    model_version: int | None = Field(
        None,
        ge=1,
        description="Version of the model; default: the newest that is served.",
        json_schema_extra=form(rare=True),
    )


class ImageParams(Params):
    """Parameters of a job type whose input is one image."""

    axes: str | None = Field(
        None,
        pattern="^[A-Za-z]+$",
        description='Axes of the input, for example "CYX"; default: from the file.',
        json_schema_extra=form(rare=True),
    )
    mpp: float | None = Field(
        None,
        gt=0,
        title="Pixel size",
        description="Pixel size of the input, µm per pixel; default: from the file.",
        json_schema_extra=form(unit="µm/px"),
    )


M = TypeVar("M", bound=BaseModel)


def validated(
    model: type[M], values: Mapping[str, Any], type_name: str, *, known: Sequence[str]
) -> M:
    """Return the values as a record of that class.

    type_name: the job type's, for messages. known: all names that a client may send.
    Raises InvalidParameter with a sentence that names the parameter, and a near miss if any.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as exc:
        raise InvalidParameter(_sentence(exc, type_name, known)) from exc


def _sentence(error: ValidationError, type_name: str, known: Sequence[str]) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "the parameters"
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(sorted(known))}."
        return f'job type "{type_name}" has no parameter {name!r}; {hint}'
    if first["type"] == "missing":
        return f'job type "{type_name}" needs the parameter {name!r}.'
    said = str(first["msg"]).removeprefix("Value error, ")
    message = said.partition(" should ")[2] or f"be {said}"
    return f"parameter {name!r} is {first['input']!r}, but should {message}."
