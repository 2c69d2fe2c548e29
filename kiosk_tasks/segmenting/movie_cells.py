"""Find the cells of a movie: here, frame by frame, or by jobs that get a batch of frames each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kiosk_tasks.fan_out import Child
from kiosk_tasks.imaging.frame_files import write_frames
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.movie import Movie
from kiosk_tasks.imaging.values import Scale
from kiosk_tasks.job import Context
from kiosk_tasks.outputs import parts_folder, stem_of
from kiosk_tasks.segmenting.cells import cell_model, segment_planes
from kiosk_tasks.segmenting.detection import detect_label, detect_scale
from kiosk_tasks.segmenting.heads import is_ours
from kiosk_tasks.segmenting.look import Look, look_with
from kiosk_tasks.segmenting.movies import Batch, Found, Plan, read_frame
from kiosk_tasks.segmenting.sizing import common_scale, known_scale
from kiosk_tasks.segmenting.views import View

__all__ = ["cells_here", "children_of", "cut", "fitting_look", "movie_look"]

# Chosen: on the machine of `benchmarks.movies` a job for a batch costs 1 s besides its 15 s.
BATCH_FRAMES = 16  # at most; a batch is one job
BATCH_PIXELS = 2**22  # of all frames of a batch; its worker holds them in memory

_LOOKS = 3  # frames that the scale is taken from
_LONGEST_STEM = 110  # bytes; what is put behind it must not be cut off


def movie_look(ctx: Context[Any], *, normalised: bool = False, label: int | None = None) -> Look:
    """Get ready to ask the model for the cells of frames.

    normalised: intensities have been scaled by the whole movie; then a model with our heads gets
        them as they are. Others want their contrast equalised locally, which hides it anyway.
    label: what frames show, where the job does not say.
    """
    choices, shown = ctx.choices, ctx.params.label if ctx.params.label is not None else label
    chosen = choices.track_segment_model if shown is None else ""
    cells = cell_model(ctx, label=shown, model=chosen, postprocess=choices.track_postprocess)
    look = look_with(cells, ctx)
    if normalised and cells.preprocess is None and is_ours(look.signature.outputs):
        return look_with(replace(cells, preprocess="none"), ctx)
    return look


def fitting_look(
    movies: Sequence[Movie], plan: Plan, ctx: Context[Any], *, normalised: bool
) -> tuple[Look, Scale]:
    """Choose the model and one scale for all frames, by what some of the first movie's show.

    Models say what frames show and at which scale to see them where the operator has turned that
    on; otherwise an unknown scale is one that fits the cells of three frames.
    """
    choices, movie = ctx.choices, movies[0]

    def views(count: int) -> list[View]:
        frames = np.unique(np.linspace(0, movie.size[0] - 1, count).astype(int)).tolist()
        planes = (read_frame(movie, number, plan.ranges[0]) for number in frames)
        return [View(Image(plane, "YX", movie.mpp), label=None) for plane in planes]

    label = None
    if choices.detect_label and ctx.params.label is None and not choices.track_segment_model:
        label = detect_label(views(choices.label_samples), ctx)
    look = movie_look(ctx, normalised=normalised, label=label)
    scale = known_scale(views(1)[0].image, ctx, look.cells)
    if scale.measured:
        return look, scale
    if choices.detect_scale:
        return look, detect_scale(views(choices.scale_samples), ctx)
    return look, common_scale([view.image for view in views(_LOOKS)], ctx, look=look)


def cells_here(
    movies: Sequence[Movie], plan: Plan, ctx: Context[Any], *, look: Look, scale: Scale
) -> Found:
    """Find the cells of all frames, and hold them and the frames in memory."""
    pixels = tuple(
        np.stack([read_frame(movie, i, scaled) for i in range(movie.size[0])])
        for movie, scaled in zip(movies, plan.ranges, strict=True)
    )
    total = sum(map(len, pixels))
    planes = (Image(frame, "YX") for frames in pixels for frame in frames)
    found = segment_planes(planes, ctx, cells=look.cells, scale=scale, total=total)
    labels = tuple(np.stack([next(found) for _frame in frames]) for frames in pixels)
    return Found(plan, pixels, labels)


def cut(
    movies: Sequence[Movie], plan: Plan, ctx: Context[Any], folder: Path
) -> Iterator[tuple[Batch, str]]:
    """Leave batches of frames in the bucket; yield each, and what its frames are called.

    folder: for files meanwhile. A second run leaves the same batches under the same keys.
    """
    prefix = parts_folder(ctx.job.id)
    stem = stem_of(ctx.job.source.name).encode()[:_LONGEST_STEM].decode(errors="ignore")
    for which, movie in enumerate(movies):
        frames, height, width = movie.size
        step = max(1, min(BATCH_FRAMES, BATCH_PIXELS // (height * width)))
        for first in range(0, frames, step):
            ctx.report.check()
            numbers = range(first, min(first + step, frames))
            batch = [read_frame(movie, i, plan.ranges[which]) for i in numbers]
            key = f"{prefix}{which}_{first}.tif"
            write_frames(folder / "batch.tif", batch)
            ctx.storage.upload_new(key, folder / "batch.tif")
            name = "_".join(filter(None, [stem, plan.parts[which], f"frames_{first}"]))
            empty = all(frame.min() == frame.max() for frame in batch)
            yield Batch(which, key, "BYX" if batch[1:] else "YX", empty), f"{name}.tif"


def children_of(
    batches: Sequence[tuple[Batch, str]], ctx: Context[Any], *, look: Look, scale: Scale
) -> tuple[Child, ...]:
    """Return the jobs that find the cells of batches, all with one model at one scale."""
    cells = look.cells
    fields = {
        "labels_only": True,
        "model_name": look.signature.model,
        "model_version": look.signature.version,
        "scale": scale.factor,
        "label": cells.label,
        "min_size": ctx.params.min_size,
        "preprocess": cells.preprocess,
        "postprocess": cells.postprocess,
    }
    given = {name: value for name, value in fields.items() if value is not None}

    def fields_of(batch: Batch, name: str) -> dict[str, Any]:
        return {"input_file_name": batch.key, "original_name": name, "axes": batch.axes, **given}

    return tuple(
        Child("predict", fields_of(batch, name)) for batch, name in batches if not batch.empty
    )
