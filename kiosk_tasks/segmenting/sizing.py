"""The scale at which a model sees an image: known, or found by the agreement of predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.scale import agreed_diameter, median_diameter, scale_factor
from kiosk_tasks.imaging.values import Heads, Scale
from kiosk_tasks.job import Context
from kiosk_tasks.segmenting.labelling import label_cells
from kiosk_tasks.segmenting.models import CellModel, asked, prepare
from kiosk_tasks.stages import Predict, predictor, served

__all__ = ["find_scale", "heads_at_a_fitting_scale", "known_scale"]

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


def find_scale(
    plane: Image, ctx: Context[Any], *, cells: CellModel, predict: Predict | None = None
) -> Scale:
    """Return the scale for a plane and those like it.

    plane: axes "YX". predict: what asks the model; None: made for `cells.model`.
    From the job's parameter `scale`, the pixel size or the parameter `diameter`; where none is
    known, by the agreement of predictions (docs/decisions/0005-scale-by-agreement.md).
    """
    known = known_scale(plane, ctx, cells)
    if known.measured or plane.data.min() == plane.data.max():
        return known
    predict = predict or predictor(served(cells.model, ctx), ctx, tell=False)
    return heads_at_a_fitting_scale(plane, ctx, cells=cells, predict=predict, last=False)[0]


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


def heads_at_a_fitting_scale(
    plane: Image, ctx: Context[Any], *, cells: CellModel, predict: Predict, last: bool = True
) -> tuple[Scale, Heads]:
    """Predict; where the pixel size is unknown, find the nuclei's diameter and mind it.

    Coarser views are predicted too, until they agree on the diameter: the first halves each side,
    so they cost a third of the first prediction at most. Only nuclei of a diameter that the model
    is not good for are predicted once more, at the scale where they are `DIAMETER`; with `last`
    False the caller wants no more than that scale, and gets the heads of scale 1.
    """
    signature = served(cells.model, ctx)

    def see(scale: Scale) -> Heads:
        return predict(prepare(plane, scale, cells=cells, signature=signature))

    scale = known_scale(plane, ctx, cells)
    heads = see(scale)
    if scale.measured:
        return scale, heads
    diameter = _diameter(heads, see, cells)
    ctx.report.note(diameter=diameter and round(diameter, 1))
    if diameter is None or DIAMETERS[0] <= diameter <= DIAMETERS[1]:
        return scale, heads
    scale = Scale(min(DIAMETER / diameter, LARGEST_FACTOR), measured=True)
    return scale, see(scale) if last else heads


def _diameter(heads: Heads, see: Callable[[Scale], Heads], cells: CellModel) -> float | None:
    """Return the nuclei's diameter in image pixels; None if there are none to be seen."""
    estimates = _estimate(heads, cells)
    for factor in COARSER_VIEWS:
        if min(heads.image.data.shape) * factor < SMALLEST_VIEW:
            break
        coarser = _estimate(see(Scale(factor, measured=False)), cells)
        if factor == COARSER_VIEWS[0] and estimates and coarser:
            one, other = estimates[0], coarser[0]
            if max(one, other) < AGREEMENT * min(one, other):
                return one
        estimates += coarser
    return agreed_diameter(estimates)


def _estimate(heads: Heads, cells: CellModel) -> list[float]:
    """Return the median diameter in image pixels, if what was found can be trusted."""
    labels = label_cells(heads, cells.postprocess)
    diameter = median_diameter(labels)
    seen = diameter is not None and PLAUSIBLE[0] <= diameter <= PLAUSIBLE[1]
    return [diameter / heads.scale.factor] if diameter and seen and labels.max() >= FEWEST else []
