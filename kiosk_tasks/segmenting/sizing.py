"""The scale at which a model sees an image: known, or found by the agreement of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from statistics import median
from typing import Any

from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.scale import agreed_diameter, median_diameter, scale_factor
from kiosk_tasks.imaging.values import Heads, Scale
from kiosk_tasks.job import Context
from kiosk_tasks.prediction import Predict
from kiosk_tasks.segmenting.labelling import RAW, label_cells, with_labels
from kiosk_tasks.segmenting.look import Look, look_with
from kiosk_tasks.segmenting.models import CellModel, asked

__all__ = [
    "SAMPLES",
    "common_scale",
    "find_scale",
    "finds_diameters",
    "fitting_heads",
    "known_scale",
]

# The model's range, measured by zooming validation images (models/nuclear/README.md): nuclei of
# 12 to 48 px are found best, few under 8 and over 100.
DIAMETER = 24.0  # px; the geometric mean of 12 and 48
DIAMETERS = (9.0, 48.0)  # px; nuclei outside of it are brought to `DIAMETER`
PLAUSIBLE = (5.0, 70.0)  # px; what is found outside of it is no estimate

# Chosen, and then measured together (docs/decisions/0005-scale-by-agreement.md).
COARSER_VIEWS = (1 / 2, 1 / 4, 1 / 8)
SMALLEST_VIEW = 24  # px; no view has a shorter side
AGREEMENT = 1.2  # estimates within this factor need no third opinion
FEWEST = 3  # nuclei; fewer are no estimate
LARGEST_FACTOR = 3.0  # an image is not enlarged more than that
SAMPLES = 3  # planes of a stack or a movie that are looked at for their scale


def find_scale(
    plane: Image, ctx: Context[Any], *, cells: CellModel, predict: Predict | None = None
) -> Scale:
    """Return the scale for a plane and those like it.

    plane: axes "YX". predict: what asks the model; None: made for `cells.model`.
    From the job's parameter `scale`, the pixel size or the parameter `diameter`; where none is
    known, by the agreement of predictions (docs/decisions/0005-scale-by-agreement.md); for other
    cells than nuclei 1.
    """
    known = known_scale(plane, ctx, cells)
    if known.measured:
        return known
    return common_scale([plane], ctx, look=look_with(cells, ctx, predict=predict))


def common_scale(planes: Sequence[Image], ctx: Context[Any], *, look: Look) -> Scale:
    """Return one scale for planes of unknown pixel size: that of their median diameter.

    planes: axes "YX" each. A plane of one value says nothing.
    """
    guess = Scale(1.0, measured=False)
    if not finds_diameters(look.cells):
        return guess
    seen = [plane for plane in planes if not plane.is_constant]
    found = [_measured(plane, guess, look)[1] for plane in seen]
    known = [diameter for diameter in found if diameter is not None]
    return _note_and_fit(median(known) if known else None, ctx)


def fitting_heads(plane: Image, ctx: Context[Any], *, look: Look, scale: Scale) -> Heads:
    """Predict; where the pixel size is unknown, find the nuclei's diameter and mind it.

    Coarser views are predicted too, until they agree on the diameter: the first halves each side,
    so they cost a third of the first prediction at most. Only nuclei of a diameter that the model
    is not good for are predicted once more, at the scale where they are `DIAMETER`.
    """
    if scale.measured or not finds_diameters(look.cells):
        return look.at(plane, scale)
    heads, diameter = _measured(plane, scale, look)
    fitting = _note_and_fit(diameter, ctx)
    return look.at(plane, fitting) if fitting.measured else heads


def known_scale(plane: Image, ctx: Context[Any], cells: CellModel) -> Scale:
    """Return the scale that needs no prediction; not measured, and 1, where nothing is known."""
    factor, diameter = asked(ctx, "scale"), asked(ctx, "diameter")
    if factor is not None:
        return Scale(factor, measured=True)
    if plane.mpp is not None and cells.model.mpp is not None:
        return Scale(scale_factor(plane.mpp, cells.model.mpp), measured=True)
    if diameter is not None:
        return Scale(DIAMETER / diameter, measured=True)
    return Scale(1.0, measured=False)


def finds_diameters(cells: CellModel) -> bool:
    """Tell whether what a model finds says at which scale it should look: nuclei do.

    The range of diameters above is that of nuclei; other cells have other ones.
    """
    return cells.label == 0 and cells.postprocess != RAW


def _note_and_fit(diameter: float | None, ctx: Context[Any]) -> Scale:
    """Return the scale for nuclei of that diameter, px; 1 if they are fine as they are."""
    ctx.report.note(diameter=diameter and round(diameter, 1))
    if diameter is None or DIAMETERS[0] <= diameter <= DIAMETERS[1]:
        return Scale(1.0, measured=False)
    return Scale(min(DIAMETER / diameter, LARGEST_FACTOR), measured=True)


def _measured(plane: Image, scale: Scale, look: Look) -> tuple[Heads, float | None]:
    """Return the heads with their cells, and the nuclei's diameter in image pixels, if it is seen.

    The first coarser view is predicted while the cells of the first prediction are made.
    """
    shortest = min(plane.data.shape)
    coarser = [
        Scale(factor, measured=False)
        for factor in COARSER_VIEWS
        if shortest * factor >= SMALLEST_VIEW
    ]
    with closing(look.at_scales(plane, [scale, *coarser[:1]])) as views:
        heads = with_labels(next(views), look.cells.postprocess)
        estimates = _estimate(heads, look.cells)
        for place, view_scale in enumerate(coarser):
            view = look.at(plane, view_scale) if place else next(views)
            found = _estimate(view, look.cells)
            if place == 0 and estimates and found:
                one, other = estimates[0], found[0]
                if max(one, other) < AGREEMENT * min(one, other):
                    return heads, one
            estimates += found
    return heads, agreed_diameter(estimates)


def _estimate(heads: Heads, cells: CellModel) -> list[float]:
    """Return the median diameter in image pixels, if what was found can be trusted."""
    labels = label_cells(heads, cells.postprocess)
    diameter = median_diameter(labels)
    seen = diameter is not None and PLAUSIBLE[0] <= diameter <= PLAUSIBLE[1]
    return [diameter / heads.scale.factor] if diameter and seen and labels.max() >= FEWEST else []
