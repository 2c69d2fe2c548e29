"""`kiosk deploy`: what a deployment has to know of the job types, and the passwords it needs."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from kiosk_tasks.cli.acl import broker_keys
from kiosk_tasks.deploy import (
    DeployedQueue,
    compose_file,
    compose_services,
    composed_workers,
    deployed_queues,
    helm_values,
    made_part,
    with_made_part,
    write_secrets,
)
from kiosk_tasks.deploy.marks import MADE
from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.jobs import task_types
from kiosk_tasks.settings import Settings

__all__ = ["deploy"]

Check = Annotated[
    Path | None,
    typer.Option(help="Compare with this file, or its part between the marks; 1 if it differs."),
]
Write = Annotated[
    Path | None, typer.Option(help="Write this file, or its part between the marks, anew.")
]


def deploy() -> typer.Typer:
    """Return the group of commands."""
    app = typer.Typer(
        help="Derive a deployment from the job types: Helm values, Compose services, passwords.",
        no_args_is_help=True,
    )
    for command in (values, compose, secrets, bucket):
        app.command()(command)
    return app


def values(check: Check = None, write: Write = None) -> None:
    """Print the queues of all job types as values of the Helm chart."""
    made = helm_values(_queues())
    _deliver("values", _Made(made, made), check=check, write=write)


def compose(
    beside: Annotated[
        Path | None,
        typer.Option(help="Leave out the workers of this file, beside which the made one is used."),
    ] = None,
    check: Check = None,
    write: Write = None,
) -> None:
    """Print the workers of all queues as services of Docker Compose."""
    there = composed_workers(_read(beside), where=str(beside)) if beside else frozenset()
    queues = [queue for queue in _queues() if queue.worker not in there]
    made = _Made(compose_services(queues), compose_file(queues))
    _deliver("compose", made, check=check, write=write)


def secrets(
    folder: Annotated[Path, typer.Argument(help="Where the files are, such as compose/secrets.")],
    broker: Annotated[str, typer.Option(help="Host and port of the broker.")] = "broker:6379",
) -> None:
    """Make passwords for every component, and files of them for containers; none is replaced."""
    for file in write_secrets(folder, broker_keys(Settings.load()), broker=broker):
        typer.echo(str(file))


def bucket() -> None:
    """Make the bucket that KIOSK_BUCKET names, at an S3 server such as MinIO."""
    from kiosk_tasks.deploy.bucket import make_bucket  # it would slow down every other command

    url = Settings.load().bucket_url
    typer.echo(f"{url.shown} {'made' if make_bucket(url) else 'is there already'}")


def _queues() -> tuple[DeployedQueue, ...]:
    return deployed_queues(task_types(), Settings.load().stage_queues)


@dataclass(frozen=True)
class _Made:
    """What was made: as a part between marks, and as a file of its own."""

    part: str
    file: str

    def like(self, text: str) -> str:
        """Return it as that text has it; what is empty becomes a file of its own."""
        return self.file if not text or text.startswith(MADE) else self.part


def _deliver(command: str, made: _Made, *, check: Path | None, write: Path | None) -> None:
    """Print what was made, or compare a file with it, or write it there."""
    made = _Made(made.part, f"{MADE} {command}`; do not edit it.\n{made.file}")
    if check and write:
        raise InvalidParameter("--check and --write exclude each other; give one of them.")
    if check:
        _compare(command, made, check)
    elif write:
        text = _read(write) if write.exists() else ""
        write.write_text(with_made_part(text, made.like(text), where=str(write)), "utf-8")
    else:
        typer.echo(made.file, nl=False)


def _compare(command: str, made: _Made, file: Path) -> None:
    text = _read(file)
    there, wanted = made_part(text, where=str(file)), made.like(text)
    if there == wanted:
        return
    lines = difflib.unified_diff(
        there.splitlines(), wanted.splitlines(), str(file), "the job types", lineterm="", n=1
    )
    typer.echo("\n".join(lines))
    typer.echo(
        f"{file} is not what the job types say. Run: kiosk deploy {command} --write {file}",
        err=True,
    )
    raise typer.Exit(1)


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as exc:
        raise InvalidParameter(f"{file} cannot be read: {exc.strerror}.") from exc
