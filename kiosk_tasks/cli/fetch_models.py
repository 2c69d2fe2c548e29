"""`kiosk fetch-models FOLDER`: models to a model server's folder, before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kiosk_tasks.serving.fetching import fetch_from_bucket, fetch_own
from kiosk_tasks.settings import Settings
from kiosk_tasks.storage import from_url

__all__ = ["fetch_models"]


def fetch_models(
    folder: Annotated[Path, typer.Argument(help="Where the model server looks.")],
    from_bucket: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Models below models/ in the bucket, separated by commas; else those that come "
            "along.",
        ),
    ] = "",
) -> None:
    """Copy models to a folder, for a server that cannot read the bucket."""
    names = [name.strip() for name in from_bucket.split(",") if name.strip()]
    if names:
        fetched = fetch_from_bucket(from_url(Settings.load().bucket_url), names, folder)
    else:
        fetched = fetch_own(folder)
    for place in fetched:
        typer.echo(str(place))
