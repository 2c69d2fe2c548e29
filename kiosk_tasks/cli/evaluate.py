"""`kiosk evaluate JOBTYPE IMAGE… TRUTH`: how good are the results, by a truth of your own."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from kiosk_tasks.cli.images import find_images, result_names
from kiosk_tasks.cli.options import ALL_CORES, Images, InProcess, Workers, with_options
from kiosk_tasks.cli.run import run_command
from kiosk_tasks.errors import InvalidParameter, MissingExtra
from kiosk_tasks.evaluation.pairs import Kind, Parts, base_of, find_truths, pair
from kiosk_tasks.evaluation.report import Report, write_report
from kiosk_tasks.evaluation.score import CELLS, SPOTS, TRACKS, score
from kiosk_tasks.job import JobType
from kiosk_tasks.jobs import job_types
from kiosk_tasks.outputs import stem_of
from kiosk_tasks.scoring.plots import draw

__all__ = ["evaluate"]

_KINDS = {"track": TRACKS, "spot": SPOTS}
"""What is scored of a job type's results; of all others it is cells."""
_MOST_LISTED = 5
_NAME_WIDTH = 10


def evaluate() -> typer.Typer:
    """Return the group of commands, one for each job type."""
    group = typer.Typer(help="Score results against a truth.", no_args_is_help=True)
    for name, job_type in job_types().items():
        kind = _KINDS.get(name, CELLS)
        command: Any = with_options(
            evaluate_command(job_type, kind),
            job_type.params,
            help_text=f"{job_type.title}: score its {kind.name} against true ones.",
        )
        group.command(name)(command)
    return group


def evaluate_command(job_type: JobType[Any], kind: Kind) -> Any:
    """Return the command that scores one job type; its parameters become options elsewhere."""

    def command(
        images: Images,
        truth: Annotated[
            Path,
            typer.Argument(
                help="The truth of each image, by its name: a folder or a file.", metavar="TRUTH"
            ),
        ],
        output: Annotated[
            Path, typer.Option("--output", "-o", help="Folder for scores and results.")
        ] = Path("scores"),
        results_folder: Annotated[
            Path | None,
            typer.Option("--results", help="Score the results in this folder; run nothing."),
        ] = None,
        radius_px: Annotated[
            float, typer.Option("--radius", min=0, help="How far off a found spot may be, px.")
        ] = 3.0,
        workers: Workers = ALL_CORES,
        in_process: InProcess = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print the scores as JSON, and nothing else.")
        ] = False,
        params: Any = None,
    ) -> None:
        console = Console(stderr=True, quiet=as_json)
        stems, truths = _with_truths(images, truth, kind, console)
        folder, missing = results_folder or output / "results", []
        if results_folder is None:
            run = {"workers": workers, "in_process": in_process, "params": params}
            missing = _run(job_type, stems, folder, run)
        pairs, unpaired = pair([s for s in stems if s not in missing], truths, folder, kind)
        lost = [f"{stem}: its job was not done; it is not scored." for stem in missing]
        report = score(kind, pairs, radius=radius_px)
        report = replace(report, problems=[*lost, *unpaired, *report.problems])
        for sentence in report.problems:
            console.print(sentence, style="red", highlight=False, markup=False, soft_wrap=True)
        if not report.rows:
            raise InvalidParameter("no result could be scored.")
        _show(report, output, title=job_type.title, as_json=as_json)
        if report.problems:
            raise typer.Exit(1)

    return command if kind is SPOTS else _without(command, "radius_px")


def _without(command: Callable[..., None], name: str) -> Any:
    """Return the command without one of its options, which keeps its default."""
    own = inspect.signature(command, eval_str=True)
    kept = [p for p in own.parameters.values() if p.name != name]
    command.__signature__ = own.replace(parameters=kept)  # type: ignore[attr-defined]
    return command


def _with_truths(
    arguments: list[str], truth: Path, kind: Kind, console: Console
) -> tuple[dict[str, Path], dict[str, Parts]]:
    """Return the images that have a truth, by the stem of their results, and the truths."""
    images = _stems(arguments)
    truths = find_truths(images, truth, kind)
    if not truths:
        raise InvalidParameter(
            f"none of the images has a truth in {truth}: the truth of x.tif is called x.tif, "
            "x_truth.tif, x_labels.tif or x_masks.tif there."
        )
    _say_unmatched([path.name for s, path in images.items() if s not in truths], truth, console)
    return {stem: path for stem, path in images.items() if stem in truths}, truths


def _stems(arguments: list[str]) -> dict[str, Path]:
    """Return the images by the stem of their results, without those that are another's truth."""
    images = find_images(arguments)
    plain = {stem_of(image.name) for image in images}
    kept = [i for i in images if base_of(i.name) not in plain - {stem_of(i.name)}]
    return {stem_of(n): image for n, image in zip(result_names(kept), kept, strict=True)}


def _say_unmatched(names: list[str], truth: Path, console: Console) -> None:
    if names:
        listed = ", ".join(names[:_MOST_LISTED]) + (" …" if len(names) > _MOST_LISTED else "")
        one = len(names) == 1
        console.print(
            f"{len(names)} image{'' if one else 's'} without a truth in {truth} "
            f"{'is' if one else 'are'} left out: {listed}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _run(
    job_type: JobType[Any], images: Mapping[str, Path], results: Path, options: Mapping[str, Any]
) -> list[str]:
    """Do what `kiosk run` does, with its table on stderr; return the stems of what was not done.

    Every job is done again, because a newer model would not be noticed. Each result has a record;
    one that was there before is not of a job that was done now.
    """
    before = {stem: _written_at(results, stem) for stem in images}
    try:
        with redirect_stdout(sys.stderr):
            run_command(job_type)(
                images=[str(path) for path in images.values()],
                output=results,
                again=True,  # only what was done now counts, see below
                **options,
            )
    except typer.Exit as end:
        if end.exit_code > 1:
            raise
        return [stem for stem in images if _written_at(results, stem) == before[stem]]
    return []


def _written_at(folder: Path, stem: str) -> int:
    """Return when the newest record of that name was written, ns; 0 if there is none."""
    record = folder / f"{stem}_job.json"
    return record.stat().st_mtime_ns if record.exists() else 0


def _show(report: Report, output: Path, *, title: str, as_json: bool) -> None:
    written = write_report(report, output)
    picture = output / "scores.png"
    try:
        draw(report.chart, picture, title=title)
        written.append(picture)
    except MissingExtra as exc:
        Console(stderr=True).print(str(exc), highlight=False, markup=False, soft_wrap=True)
    if as_json:
        sys.stdout.write((output / "scores.json").read_text(encoding="utf-8"))
        return
    console = Console()
    console.print(_table(report))
    console.print(f"written: {', '.join(map(str, written))}", highlight=False, soft_wrap=True)


def _table(report: Report) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("image", overflow="fold", min_width=_NAME_WIDTH)
    for heading in report.shown.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for group in (report.rows, report.pooled if len(report.rows) > 1 else {}):
        for name, figures in group.items():
            table.add_row(name, *(_text(figures[key]) for key in report.shown))
        table.add_section()
    return table


def _text(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value}" if isinstance(value, int) else f"{value:.3f}"
