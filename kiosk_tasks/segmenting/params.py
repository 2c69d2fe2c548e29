"""What a person may say of the cells of a job; the functions here read it where it is given."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kiosk_tasks.job import ImageParams

__all__ = ["CellParams", "Postprocess", "Preprocess"]

Postprocess = Literal[
    "deep_watershed", "watershed", "pixelwise", "mibi", "retinanet", "retinanet-semantic", "none"
]
Preprocess = Literal["percentile", "clahe", "none"]


class CellParams(ImageParams):
    """Parameters of a job type that asks a model for cells."""

    label: int | None = Field(
        None,
        ge=0,
        le=2,
        description="What the image shows: 0 nuclei, 1 cytoplasm, 2 phase contrast; default: 0, "
        "or what a model says, where the operator has one asked.",
    )
    scale: float | None = Field(
        None,
        ge=0.1,
        le=10,
        description="Factor by which the image is resized for the model, in place of the pixel "
        "size: image µm/px over the model's.",
    )
    diameter: float | None = Field(
        None,
        ge=2.4,  # `sizing.DIAMETER` over the largest scale
        le=240,
        description="Typical diameter of a nucleus, px; used where the pixel size is unknown.",
    )
    min_size: int = Field(15, ge=0, description="Smaller objects are removed, px².")
    preprocess: Preprocess | None = Field(
        None,
        description="How intensities are brought to the model: percentile, clahe or none; "
        "default: percentile for a model with the outputs of the bundled one, else clahe.",
    )
    postprocess: Postprocess | None = Field(
        None,
        description="What makes cells of the model's outputs: deep_watershed, watershed, "
        "pixelwise, mibi, retinanet, retinanet-semantic, none; default: the operator's choice.",
    )
