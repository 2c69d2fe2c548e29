"""`kiosk models`: what can be asked for a prediction, and who asks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kiosk_tasks.choices import Choices
from kiosk_tasks.errors import KioskError, ModelServerUnavailable
from kiosk_tasks.jobs import job_types
from kiosk_tasks.ports import Storage, TensorSpec
from kiosk_tasks.scratch import scratch_folder
from kiosk_tasks.serving.catalogue import (
    Deployed,
    from_bucket,
    from_folders,
    from_server,
    in_bucket,
    pixel_size,
)
from kiosk_tasks.serving.client import TensorFlowServing
from kiosk_tasks.serving.deployed import deployed
from kiosk_tasks.settings import Settings
from kiosk_tasks.storage import from_url
from kiosk_tasks.wiring import model_folders

__all__ = ["models"]

_PATIENCE_S = 2.0
"""A model server that has not answered for so long is taken for one that is not there."""


@dataclass(frozen=True)
class _Row:
    """One model as it is shown; inputs and heads are those of its newest version."""

    name: str
    versions: tuple[int, ...]
    inputs: dict[str, Any]
    heads: dict[str, Any]
    mpp: float | None
    used_by: tuple[str, ...]
    problems: tuple[str, ...]


def models(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List models: versions, inputs, heads, pixel size, and the job types that use them.

    The model server is asked where one answers; else folders and bucket are read.
    """
    places = _Places(Settings.load())
    asked, found = _find(places)
    rows = [_row(model, places) for model in found]
    if as_json:
        typer.echo(json.dumps({"asked": asked, "models": [asdict(row) for row in rows]}, indent=2))
        return
    console = Console()
    console.print(f"asked: {asked}", highlight=False, soft_wrap=True)
    console.print(_table(rows))
    for row in rows:
        for problem in row.problems:
            console.print(f"{row.name}: {problem}", highlight=False, soft_wrap=True)


class _Places:
    """Where models lie: folders, and a bucket that may not be there."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folders = model_folders(settings)
        self.trouble = ""
        self.bucket: Storage | None = from_url(settings.bucket_url)
        try:
            self.in_bucket = in_bucket(self.bucket)
        except KioskError as exc:
            self.bucket, self.in_bucket, self.trouble = None, {}, str(exc)

    @property
    def shown(self) -> str:
        """The places as a person reads them."""
        bucket = f"{self.settings.bucket_url.shown.partition('?')[0].rstrip('/')}/models"
        told = f"{bucket}: {self.trouble}" if self.trouble else bucket
        return ", ".join([*map(str, self.folders), told])


def _find(places: _Places) -> tuple[str, list[Deployed]]:
    """Return who was asked, and the models."""
    settings = places.settings
    names = {*deployed(places.folders), *places.in_bucket, *_users(settings)}
    server = TensorFlowServing(settings.model_server, wait_s=_PATIENCE_S)
    try:
        return f"model server {settings.model_server}", from_server(server, names)
    except ModelServerUnavailable:
        found = {model.name: model for model in _lying(places)}
        silent = f"(no model server answers at {settings.model_server})"
        return f"{places.shown} {silent}", [found[name] for name in sorted(found)]
    finally:
        server.close()


def _lying(places: _Places) -> Iterator[Deployed]:
    """Yield what lies in the places; what comes later hides what came before."""
    if places.bucket is not None:
        with scratch_folder(places.settings.scratch) as scratch:
            yield from from_bucket(places.bucket, scratch)
    yield from from_folders(places.folders)


def _users(settings: Settings) -> Mapping[str, Sequence[str]]:
    """Return who names each model: job types, and settings that choose one."""
    users: dict[str, list[str]] = {}
    for name, job_type in job_types().items():
        for model in job_type.models:
            users.setdefault(model.name, []).append(name)
    for choice in fields(Choices):
        named = getattr(settings, choice.name)
        if choice.name.endswith("_model") and named:
            users.setdefault(named.partition(":")[0], []).append(f"KIOSK_{choice.name.upper()}")
    return users


def _row(model: Deployed, places: _Places) -> _Row:
    """Put together what the server or the files, the card and the job types say."""
    signature = model.signature
    own = None
    if model.versions:
        own = pixel_size(model.name, model.versions[-1], places.folders, places.bucket)
    declared = [
        used.mpp
        for job_type in job_types().values()
        for used in job_type.models
        if used.name == model.name and used.mpp is not None
    ]
    return _Row(
        name=model.name,
        versions=model.versions,
        inputs=_specs(signature.inputs) if signature else {},
        heads=_specs(signature.outputs) if signature else {},
        mpp=own or next(iter(declared), None),
        used_by=tuple(_users(places.settings).get(model.name, ())),
        problems=model.problems,
    )


def _specs(tensors: Mapping[str, TensorSpec]) -> dict[str, Any]:
    return {
        name: {"dtype": str(spec.dtype), "shape": spec.shape and list(spec.shape)}
        for name, spec in tensors.items()
    }


def _table(rows: Sequence[_Row]) -> Table:
    caption = "? is any length; where no dtype stands, it is float32"
    table = Table(pad_edge=False, box=SIMPLE_HEAD, show_lines=True, caption=caption)
    for heading in ("model", "versions", "inputs", "heads", "µm/px", "used by"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(
            row.name,
            ", ".join(map(str, row.versions)),
            _lines(row.inputs),
            _lines(row.heads),
            "" if row.mpp is None else f"{row.mpp:g}",
            "\n".join(row.used_by),
        )
    return table


def _lines(tensors: Mapping[str, Any]) -> str:
    return "\n".join(_line(name, spec["dtype"], spec["shape"]) for name, spec in tensors.items())


def _line(name: str, dtype: str, shape: Sequence[int] | None) -> str:
    lengths = "any shape" if shape is None else "×".join("?" if n < 0 else str(n) for n in shape)
    return " ".join([name, *([] if dtype == "float32" else [dtype]), lengths or "a number"])
