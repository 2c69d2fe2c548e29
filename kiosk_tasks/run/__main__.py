"""`python -m kiosk_tasks.run worker …`: what `celery -A kiosk_tasks worker …` starts, and no more.

Celery's own program loads all of its commands, with an interactive shell, and those of packages
that are installed, such as Flower: 12 MB of an idle worker's 130, and of each of its children.
"""

from __future__ import annotations

import click
from celery.bin.base import CLIContext
from celery.bin.worker import worker

from kiosk_tasks.run.chain import app

__all__ = ["main"]


def main() -> None:
    """Run a worker, with the options and environment variables of Celery's; exit as it does."""
    program = click.Group("python -m kiosk_tasks.run", commands={"worker": worker})
    context = CLIContext(app=app, no_color=False, workdir=None)
    program.main(prog_name=program.name, obj=context, auto_envvar_prefix="CELERY")


if __name__ == "__main__":
    main()
