"""The commands around jobs: up, submit, status, jobs, cancel, reap, fetch, doctor, serve-models."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from kiosk_tasks import service
from kiosk_tasks.cli.autoscale import autoscale as made_autoscale
from kiosk_tasks.cli.doctor import examine
from kiosk_tasks.cli.finding import Finding
from kiosk_tasks.cli.images import find_images
from kiosk_tasks.cli.stack import FROM_SETTINGS, embedded_stack
from kiosk_tasks.job import JobType
from kiosk_tasks.ledger import Record
from kiosk_tasks.redaction import hide, redact_logs
from kiosk_tasks.serving import server
from kiosk_tasks.settings import Settings, default_home
from kiosk_tasks.stack.signals import OrderlyExit

__all__ = ["add_commands", "submit_command"]

JobId = Annotated[str, typer.Argument(help="The job's id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


_FIRST = ("original_name", "job_type", "status", "progress", "reason", "output_url", "total_time")


def add_commands(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (up, status, jobs, cancel, reap, fetch, doctor):
        app.command()(command)
    app.command("serve-models")(serve_models)


def submit_command(job_type: JobType[Any]) -> Any:
    """Return the command that submits one job type to a running stack."""

    def command(
        images: Annotated[
            list[str], typer.Argument(help="Images: files, folders or patterns.", metavar="IMAGE…")
        ],
        params: Any = None,
    ) -> None:
        for image in find_images(images):
            typer.echo(service.submit_file(job_type.name, image, params).id)

    return command


def up(
    workers: Annotated[
        int, typer.Option("--workers", "-j", min=1, help="Jobs that run at once.")
    ] = os.cpu_count() or 1,
    autoscale: Annotated[
        bool,
        typer.Option(
            "--autoscale",
            help="Start workers as jobs come, up to --workers, and let them go after.",
        ),
    ] = False,
    flower: Annotated[bool, typer.Option(help="Start the dashboard.")] = True,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port of the web service; 0 takes a free one.",
            show_default="KIOSK_WEB_PORT, else 8000 or a free one",
        ),
    ] = None,
) -> None:
    """Start broker, model server, worker, web service and Flower here; Ctrl-C stops them."""
    console, home = Console(stderr=True), default_home()
    web_port = FROM_SETTINGS if port is None else port

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    with embedded_stack(
        home,
        concurrency=workers,
        flower=flower,
        console=console,
        web_port=web_port,
        autoscale=made_autoscale(workers, say) if autoscale else None,
    ) as stack:
        for name, value in stack.values.items():
            shown = value if name == "KIOSK_FLOWER_URL" else hide(value)  # a browser needs it
            console.print(f"{name}={shown}", highlight=False, soft_wrap=True)
        console.print(
            f"ready at {stack.values['KIOSK_URL']}; Ctrl-C stops it",
            highlight=False,
            soft_wrap=True,
        )
        stack.wait()


def status(job: JobId, as_json: AsJson = False) -> None:
    """Show what has become of a job."""
    record = service.status(job)
    if as_json:
        typer.echo(json.dumps(dict(record.fields), indent=2))
        return
    first = [name for name in _FIRST if name in record.fields]
    for name in (*first, *sorted(record.fields.keys() - set(first))):
        typer.echo(f"{name:>20}  {record.fields[name]}")


def jobs(
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs."""
    records = service.newest(count)
    if as_json:
        typer.echo(json.dumps([{"id": r.id, **r.fields} for r in records], indent=2))
        return
    table = Table(pad_edge=False)
    table.add_column("job", no_wrap=True, min_width=32)
    for heading in ("type", "image", "status", "%", "submitted"):
        table.add_column(heading, overflow="fold")
    for record in records:
        table.add_row(*_row(record))
    Console().print(table)


def cancel(job: JobId) -> None:
    """Stop a job."""
    typer.echo("cancelled" if service.cancel(job) else "the job has ended already")


def reap(
    every: Annotated[
        float | None,
        typer.Option(help="Seconds between two looks; without it, look once.", min=0.1),
    ] = None,
) -> None:
    """Look for jobs that were lost, and send them again."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    redact_logs(logging.getLogger())
    with OrderlyExit():  # the first process of a container is deaf to SIGTERM without a handler
        found = service.reap(every_s=every)
    typer.echo(f"found {found}")


def fetch(
    job: JobId,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path(
        "results"
    ),
) -> None:
    """Write a finished job's results to a folder."""
    record = service.status(job)
    if record.status != "done":
        typer.echo(f"the job is {record.status}: {record.fields.get('reason', 'no result yet')}")
        raise typer.Exit(1)
    for file in service.fetch(record, output):
        typer.echo(str(file))


def doctor(
    cluster: Annotated[
        bool,
        typer.Option("--cluster", help="Compare all workers, too, and what watches them."),
    ] = False,
    admit: Annotated[
        list[str] | None,
        typer.Option(help="What holds these words may be so: it is told, and does not count."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Look for what is missing or misconfigured, and say how to mend it."""
    settings = Settings.load()
    findings = examine(settings)
    if cluster:
        from kiosk_tasks.cli.cluster import examine_cluster  # it loads the Celery application

        findings += examine_cluster(settings)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    console = Console()
    wrong = [one for one in findings if not one.ok and not _admitted(one, admit or ())]
    for finding in () if as_json else findings:
        mark = "[red]look[/]" if finding in wrong else "[green]ok[/]  "
        console.print(f"{mark} {finding.text}", highlight=False, soft_wrap=True)
    if wrong:
        raise typer.Exit(1)


def _admitted(finding: Finding, words: Collection[str]) -> bool:
    return any(some in finding.text for some in words)


def serve_models(
    folders: Annotated[list[Path], typer.Argument(help="Folders of <name>/<version>/.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8500,
) -> None:
    """Serve models over TensorFlow Serving's gRPC interface."""
    arguments = [str(folder) for folder in folders]
    raise typer.Exit(server.main([*arguments, "--host", host, "--port", str(port)]))


def _row(record: Record) -> tuple[str, ...]:
    fields = record.fields
    submitted = fields["created_at"][5:16].replace("T", " ")
    name = fields["original_name"]
    return record.id, fields["job_type"], name, record.status, fields["progress"], submitted
