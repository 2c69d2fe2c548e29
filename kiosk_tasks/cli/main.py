"""The commands, and how an error ends one."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from kiosk_tasks import __version__
from kiosk_tasks.cli import admin
from kiosk_tasks.cli.acl import acl
from kiosk_tasks.cli.bridge import bridge
from kiosk_tasks.cli.deploy import deploy
from kiosk_tasks.cli.evaluate import evaluate
from kiosk_tasks.cli.export_model import export_model
from kiosk_tasks.cli.exporter import exporter
from kiosk_tasks.cli.fetch_models import fetch_models
from kiosk_tasks.cli.flower import flower
from kiosk_tasks.cli.models import models
from kiosk_tasks.cli.new_job import new_job
from kiosk_tasks.cli.options import with_options
from kiosk_tasks.cli.run import run_command
from kiosk_tasks.cli.web import web
from kiosk_tasks.errors import KioskError, UserError
from kiosk_tasks.jobs import job_types
from kiosk_tasks.redaction import hide

__all__ = ["build", "main"]


def main() -> None:
    """Run the command line; an error of ours ends it with one sentence and its exit code."""
    try:
        build()()
    except KioskError as exc:
        Console(stderr=True).print(
            hide(f"kiosk: {exc}"), style="red", highlight=False, markup=False
        )
        sys.exit(2 if isinstance(exc, UserError) else 3)


def build() -> typer.Typer:
    """Return the application, with a `run` and a `submit` command for each job type."""
    app = typer.Typer(
        help="Run microscopy image models through a queue.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback()(_root)
    run = typer.Typer(
        help="Process images and write the results to a folder.", no_args_is_help=True
    )
    submit = typer.Typer(
        help="Send images to a running stack; print job ids.", no_args_is_help=True
    )
    for name, job_type in job_types().items():
        for group, make in ((run, run_command), (submit, admin.submit_command)):
            command: Any = with_options(
                make(job_type), job_type.params, help_text=f"{job_type.title}."
            )
            group.command(name)(command)
    app.add_typer(run, name="run")
    app.add_typer(submit, name="submit")
    app.add_typer(evaluate(), name="evaluate")
    app.add_typer(deploy(), name="deploy")
    admin.add_commands(app)
    app.command()(acl)
    app.command()(bridge)
    app.command()(flower)
    app.command()(export_model)
    app.command()(exporter)
    app.command()(fetch_models)
    app.command()(models)
    app.command()(new_job)
    app.command()(web)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and end.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass
