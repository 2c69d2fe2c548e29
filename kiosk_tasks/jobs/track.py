"""Tracking: a movie in, its cells out with one number each from frame to frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidParameter, PartFailed
from kiosk_tasks.fan_out import FanOut, Gathered, Outcome
from kiosk_tasks.imaging.drift import drifts
from kiosk_tasks.imaging.linking import LinkingParams, link
from kiosk_tasks.imaging.scale import scale_factor
from kiosk_tasks.imaging.tracks import Detections, Tracks, detect, joined
from kiosk_tasks.job import Context, JobType, Model, Stage, Status
from kiosk_tasks.outputs import OutputFile, stem_of
from kiosk_tasks.outputs.tracks import write_tracks
from kiosk_tasks.scratch import scratch_folder
from kiosk_tasks.segmenting.detection import check_detection
from kiosk_tasks.segmenting.movie_cells import (
    cells_here,
    children_of,
    cut,
    fitting_look,
    movie_look,
)
from kiosk_tasks.segmenting.movies import (
    Batch,
    Found,
    Frames,
    Given,
    Plan,
    Segmented,
    fetched,
    opened,
    plan_of,
)
from kiosk_tasks.segmenting.params import TrackParams
from kiosk_tasks.segmenting.track_model import link_by_models, track_models
from kiosk_tasks.stages import store

MODEL = Model("NuclearSegmentation", axes="YXC", tile=512, mpp=0.65)

# Measured, `benchmarks.movies --small`: up to so many pixels, all frames together, the job is
# done sooner without child jobs.
SMALL_PIXELS = 2**22

Cells = Found | Segmented | Given


@dataclass(frozen=True)
class Cut:
    """What a job keeps while child jobs find the cells of its batches."""

    plan: Plan
    batches: tuple[Batch, ...]


@dataclass(frozen=True, eq=False)
class Linked:
    """Cells, and the tracks of each movie."""

    cells: Cells
    tracks: tuple[Tracks, ...]


def check_model(ctx: Context[TrackParams]) -> None:
    """Find out, before the download, whether the job's model is served."""
    if ctx.params.segmentation == "model":
        movie_look(ctx)
        check_detection(ctx)


def split(_: None, ctx: Context[TrackParams]) -> FanOut | Cells:
    """Find the cells of a small movie here; have those of a longer one found in batches."""
    asked = ctx.params.normalise
    normalised = ctx.choices.normalise_movie if asked is None else asked
    with fetched(ctx) as (movies, folder):
        plan = plan_of(movies, normalised=normalised)
        _note(plan, ctx)
        if ctx.params.segmentation == "given":
            if any(movie.labels is None for movie in movies):
                raise InvalidParameter(
                    f"{ctx.job.source.name} has no cells in it, as a .trk file has; leave out the "
                    'parameter segmentation, or set it to "model".'
                )
            return Given(replace(plan, scale=_given_scale(plan, ctx)))
        look, scale = fitting_look(movies, plan, ctx, normalised=normalised)
        ctx.report.note(
            model={"name": look.signature.model, "version": look.signature.version},
            scale=round(scale.factor, 6),
        )
        plan = replace(plan, scale=scale.factor)
        if sum(frames * height * width for frames, height, width in sizes(plan)) <= SMALL_PIXELS:
            return cells_here(movies, plan, ctx, look=look, scale=scale)
        batches = list(cut(movies, plan, ctx, folder))
    children = children_of(batches, ctx, look=look, scale=scale)
    kept = Cut(plan, tuple(batch for batch, _name in batches))
    return FanOut(children, keep=kept) if children else _gathered(kept, ())


def link_cells(value: Gathered | Cells, ctx: Context[TrackParams]) -> Linked:
    """Measure the cells of all frames, and link them into tracks."""
    cells = _gathered(value.keep, value.outcomes) if isinstance(value, Gathered) else value
    asked, models = ctx.params, track_models(ctx)
    params = LinkingParams(reach=asked.reach, gap_frames=asked.gap_frames, divide=asked.divisions)
    tracks = []
    with opened(cells, ctx) as read:
        for which, (_frames, height, width) in enumerate(sizes(cells.plan)):
            if models is not None:
                scale = cells.plan.scale
                tracks.append(link_by_models(read(which), ctx, models=models, scale=scale))
                continue
            found, drift = _measured(read(which), ctx)
            shape, check = (height, width), ctx.report.check
            tracks.append(link(found, shape=shape, drift=drift, params=params, check=check))
    if models is not None:
        served = (models.encoder, models.judge)
        ctx.report.note(linked_by=[f"{one.model}:{one.version}" for one in served])
    ctx.report.note(
        cells=sum(len(movie.detections) for movie in tracks),
        tracks=sum(len(movie.tracks) for movie in tracks),
        divisions=sum(bool(track.daughters) for movie in tracks for track in movie.tracks),
    )
    return Linked(cells, tuple(tracks))


def save(linked: Linked, ctx: Context[TrackParams]) -> dict[str, str]:
    """Write the files of all movies, and leave them as one archive."""
    with scratch_folder(ctx.limits.scratch) as folder, opened(linked.cells, ctx) as read:

        def files() -> Iterator[OutputFile]:
            plan, stem = linked.cells.plan, stem_of(ctx.job.source.name)
            for which, tracks in enumerate(linked.tracks):
                name = f"{stem}_{plan.parts[which]}" if plan.parts[which] else stem
                facts = plan.movies[which]
                for file in write_tracks(read(which), tracks, facts, stem=name, folder=folder):
                    yield file
                    if not isinstance(file.data, bytes):
                        file.data.unlink()

        return store(files(), ctx)


def check_linking(ctx: Context[TrackParams]) -> None:
    """Find out, before any work, whether the models that link are served, if there are any."""
    track_models(ctx)


def sizes(plan: Plan) -> Iterator[tuple[int, int, int]]:
    """Yield (frames, Y, X) of each movie."""
    return (movie.size for movie in plan.movies)


def _given_scale(plan: Plan, ctx: Context[TrackParams]) -> float:
    return ctx.params.scale or scale_factor(plan.movies[0].mpp, MODEL.mpp)


def _measured(
    frames: Frames, ctx: Context[TrackParams]
) -> tuple[Detections, NDArray[np.float64] | None]:
    """Look at each frame once: its cells and, if that is wanted, how far the stage has moved."""
    cells: list[Detections] = []

    def images() -> Iterator[NDArray[Any]]:
        for number, (image, labels) in enumerate(frames):
            cells.append(detect(labels, image, frame=number))
            yield image

    asked = ctx.params.correct_drift
    if ctx.choices.correct_drift if asked is None else asked:
        moved = np.stack(list(drifts(images())))
        ctx.report.note(drift=np.abs(moved).max(axis=0).round(1).tolist())
        return joined(cells), moved
    deque(images(), maxlen=0)
    return joined(cells), None


def _gathered(kept: Cut, outcomes: tuple[Outcome, ...]) -> Segmented:
    """Put each batch and its child's result together; raises PartFailed if one has failed."""
    failed = [outcome for outcome in outcomes if not outcome.ok]
    if failed:
        more = f" (and {len(failed) - 1} more)" if failed[1:] else ""
        raise PartFailed(f"no cells could be found in {failed[0].name}{more}: {failed[0].reason}")
    keys = iter([outcome.output["output_file_name"] for outcome in outcomes])
    results = tuple("" if batch.empty else next(keys) for batch in kept.batches)
    return Segmented(kept.plan, kept.batches, results)


def _note(plan: Plan, ctx: Context[TrackParams]) -> None:
    first = plan.movies[0]
    ctx.report.note(
        movies=len(plan.movies),
        frames=sum(frames for frames, _height, _width in sizes(plan)),
        image={"axes": "TYX", "shape": list(first.size), "dtype": first.dtype, "mpp": first.mpp},
    )


job_type = JobType(
    name="track",
    title="Tracking of cells in movies",
    queue="track",
    params=TrackParams,
    stages=(
        Stage("split", split, Status.PREDICTING, model=MODEL, check=check_model, fans_out=True),
        Stage("link_cells", link_cells, Status.POSTPROCESSING, check=check_linking),
        Stage("upload", save, Status.SAVING),
    ),
    aliases=("tracking", "caliban"),
    accepts=(".tif", ".tiff", ".trk", ".trks"),
    seconds=3600,
)
