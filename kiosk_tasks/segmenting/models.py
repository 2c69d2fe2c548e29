"""Which model finds cells, and how a plane is made ready for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.choices import named_model
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.intensity import equalise_adaptively, normalise_percentiles
from kiosk_tasks.imaging.scale import resize
from kiosk_tasks.imaging.tiling import TileLayout
from kiosk_tasks.imaging.values import Scale, Tiles
from kiosk_tasks.job import Context, Model
from kiosk_tasks.ports import Signature
from kiosk_tasks.segmenting.heads import is_ours

__all__ = [
    "LABELS",
    "CellModel",
    "asked",
    "cell_model",
    "prepare",
]

LABELS = ("nuclear", "cytoplasm", "phase")
"""What a plane shows, by the number that clients send as `label`."""

MPP = 0.65  # µm per pixel; what our model and the published DeepCell ones were trained at
TILE = 512  # px
OVERLAP = 128  # px; a stride of 0.75 tiles, as the published DeepCell applications use
CLAHE_KERNEL = 64  # px; DeepCell's nuclear and cytoplasm models were trained with it


@dataclass(frozen=True)
class CellModel:
    """A model of cells, and what is done before and after it.

    preprocess: "percentile", "clahe" or "none"; None: percentile for a model with our heads,
        clahe for another.
    postprocess: name of what makes cells of its heads.
    label: index into `LABELS`.
    """

    model: Model
    postprocess: str = "deep_watershed"
    preprocess: str | None = None
    label: int = 0


def cell_model(
    ctx: Context[Any], *, label: int | None = None, model: str = "", postprocess: str = ""
) -> CellModel:
    """Return the model for a job's planes: what the job asks for, else what the operator chose.

    label: what the planes show; None: the job's parameter `label`, else nuclei.
    model: `name` or `name:version`, where the job names none; empty: the operator's for the label.
    postprocess: the same of the postprocessing.
    Of the job's parameters, those named `label`, `model_name`, `model_version`, `preprocess` and
    `postprocess` are read, where its type has them.
    """
    shown = label if label is not None else asked(ctx, "label") or 0
    choices = ctx.choices
    name = (choices.nuclear_model, choices.cytoplasm_model, choices.phase_model)[shown]
    after = (
        choices.nuclear_postprocess,
        choices.cytoplasm_postprocess,
        choices.phase_postprocess,
    )[shown]
    return CellModel(
        model=named_model(model or name, tile=TILE, mpp=MPP),
        postprocess=asked(ctx, "postprocess") or postprocess or after,
        preprocess=asked(ctx, "preprocess"),
        label=shown,
    )


def asked(ctx: Context[Any], name: str) -> Any:
    """Return a parameter of the job; None if it is not given, or its type has none of the name."""
    return getattr(ctx.params, name, None)


def prepare(plane: Image, scale: Scale, *, cells: CellModel, signature: Signature) -> Tiles:
    """Bring a plane to the model's pixel size and intensities, and lay out the tiles.

    plane: axes "YX".
    """
    pixels = _intensities(resize(plane.data, scale.factor), cells, signature)[..., np.newaxis]
    height, width = pixels.shape[:2]
    tile = _tile_side(max(height, width), cells.model, signature)
    layout = TileLayout((height, width), tile, min(OVERLAP, tile // 4))
    return Tiles(plane=pixels, layout=layout, scale=scale, image=plane)


def _intensities(
    plane: NDArray[np.float32], cells: CellModel, signature: Signature
) -> NDArray[np.float32]:
    how = cells.preprocess or ("percentile" if is_ours(signature.outputs) else "clahe")
    if how == "clahe":
        return equalise_adaptively(plane, kernel=CLAHE_KERNEL)
    return normalise_percentiles(plane) if how == "percentile" else plane


def _tile_side(longest: int, model: Model, signature: Signature) -> int:
    """Return the side of a tile, px: the model's, or less where image and model allow."""
    (spec,) = signature.inputs.values()
    if spec.shape is not None and len(spec.shape) == 4 and spec.shape[1] > 0:
        return spec.shape[1]
    return min(model.tile, -(-longest // 64) * 64)
