"""`kiosk export-model SOURCE TARGET --version N`: a trained model to where it is served from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from kiosk_tasks.ports import TensorSpec
from kiosk_tasks.redaction import hide
from kiosk_tasks.serving.deploying import Export, Wish, export_to_bucket, export_to_folder
from kiosk_tasks.serving.signatures import shape_text
from kiosk_tasks.settings import Settings
from kiosk_tasks.storage import from_url

__all__ = ["export_model"]


def export_model(
    source: Annotated[
        Path, typer.Argument(help="A .keras or .h5 file, or the folder of a SavedModel.")
    ],
    target: Annotated[
        str, typer.Argument(help="A folder of models, or a bucket: s3://…, gs://… or file:///….")
    ],
    version: Annotated[int, typer.Option(min=1, help="A whole number; higher is newer.")],
    name: Annotated[
        str | None, typer.Option(help="What the model is called; default: after the source.")
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option(min=1e-6, help="Pixel size it was trained at, µm per pixel; kept beside it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")] = False,
) -> None:
    """Export a model to the layout of TensorFlow Serving, checked and tried."""
    wish = Wish(source, name or _name_of(source), version, mpp)
    console = Console(stderr=True, quiet=as_json)
    console.print("loading TensorFlow in a process of its own …", highlight=False)
    if "://" in target:
        shown = hide(target).partition("?")[0]  # what follows are options, not the place
        scratch = Settings.load().scratch
        made = export_to_bucket(wish, from_url(target), shown=shown, scratch_in=scratch)
    else:
        made = export_to_folder(wish, Path(target).expanduser())
    if as_json:
        typer.echo(json.dumps(_facts(made), indent=2))
    else:
        _show(made, wish, target)


def _name_of(source: Path) -> str:
    """Name a model after its file; after the folder above where that is only a version."""
    path = source.resolve()
    if path.is_dir():
        return path.parent.name if path.name.isdecimal() else path.name
    return path.stem


def _show(made: Export, wish: Wish, target: str) -> None:
    table = Table(pad_edge=False)
    for heading in ("tensor", "", "dtype", "shape", "tried with noise"):
        table.add_column(heading)
    for kind, spec, tried in _rows(made):
        shown = shape_text(tuple(tried)) if tried else ""
        table.add_row(spec.name, kind, str(spec.dtype), shape_text(spec.shape), shown)
    console = Console()
    console.print(f"{wish.title} is at {made.place}", highlight=False, soft_wrap=True)
    console.print(table)
    for note in made.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    if made.answered:
        console.print("every output is finite", highlight=False)
    if "://" not in target:
        folder = Path(target).expanduser().resolve()
        serve = f"serve it: export KIOSK_MODELS_DIR={folder}"
        console.print(serve, highlight=False, soft_wrap=True)


def _rows(made: Export) -> Iterator[tuple[str, TensorSpec, list[int] | None]]:
    for spec in made.signature.inputs.values():
        yield "input", spec, made.sent.get(spec.name)
    for spec in made.signature.outputs.values():
        yield "output", spec, made.answered.get(spec.name)


def _facts(made: Export) -> dict[str, object]:
    rows = (
        {
            "tensor": spec.name,
            "kind": kind,
            "dtype": str(spec.dtype),
            "shape": spec.shape and list(spec.shape),
            "tried": tried,
        }
        for kind, spec, tried in _rows(made)
    )
    facts = {"name": made.signature.model, "version": made.signature.version}
    return {
        **facts,
        "place": made.place,
        "tensors": list(rows),
        "notes": list(made.notes),
        **asdict(made.card),
    }
