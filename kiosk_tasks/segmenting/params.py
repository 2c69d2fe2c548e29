"""What a person may say of the cells of a job; the functions here read it where it is given."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.imaging.linking import LinkingParams
from kiosk_tasks.job import ImageParams
from kiosk_tasks.params import form
from kiosk_tasks.segmenting.views import wanted_channels

__all__ = ["CellParams", "Postprocess", "PredictParams", "Preprocess", "TrackParams"]

_LINKING = LinkingParams()

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
        title="Cells shown",
        description="What the image shows: 0 nuclei, 1 cytoplasm, 2 phase contrast; default: 0, "
        "or what a model says, where the operator has one asked.",
        json_schema_extra=form(words=("nuclei", "cytoplasm", "phase contrast")),
    )
    scale: float | None = Field(
        None,
        ge=0.1,
        le=10,
        description="Factor by which the image is resized for the model, in place of the pixel "
        "size: image µm/px over the model's.",
        json_schema_extra=form(rare=True),
    )
    diameter: float | None = Field(
        None,
        ge=2.4,  # `sizing.DIAMETER` over the largest scale
        le=240,
        description="Typical diameter of a nucleus, px; used where the pixel size is unknown.",
        json_schema_extra=form(unit="px"),
    )
    min_size: int = Field(
        15,
        ge=0,
        title="Smallest object",
        description="Smaller objects are removed, px².",
        json_schema_extra=form(unit="px²"),
    )
    preprocess: Preprocess | None = Field(
        None,
        description="How intensities are brought to the model: percentile, clahe or none; "
        "default: percentile for a model with the outputs of the bundled one, else clahe.",
        json_schema_extra=form(rare=True),
    )
    postprocess: Postprocess | None = Field(
        None,
        description="What makes cells of the model's outputs: deep_watershed, watershed, "
        "pixelwise, mibi, retinanet, retinanet-semantic, none; default: the operator's choice.",
        json_schema_extra=form(rare=True),
    )


class PredictParams(CellParams):
    """Parameters of `predict`."""

    channel: int | None = Field(
        None, ge=0, description="Channel that shows the cells, from 0; default: the first."
    )
    channels: str | None = Field(
        None,
        description="Several channels, in place of channel and label: those of nuclei, cytoplasm "
        'and phase contrast, with commas between; "0,1", "0,,", ",0".',
        json_schema_extra=form(rare=True),
    )
    labels_only: bool = Field(
        False,
        description="Write label images only: no overlays, tables or outlines.",
        json_schema_extra=form(rare=True),
    )

    @field_validator("channels")
    @classmethod
    def _check_channels(cls, text: str | None) -> str | None:
        return text if text is not None and wanted_channels(text) else None

    @model_validator(mode="after")
    def _check_one_way(self) -> Self:
        if self.channel is not None and self.channels is not None:
            raise InvalidParameter("give channel or channels, not both.")
        return self


class TrackParams(CellParams):
    """Parameters of `track`."""

    channel: int | None = Field(
        None, ge=0, description="Channel that shows the cells, from 0; default: the first."
    )
    segmentation: Literal["model", "given"] = Field(
        "model",
        description="model: a model finds the cells; given: those of the .trk or .trks file are "
        "tracked anew.",
    )
    correct_drift: bool | None = Field(
        None,
        description="Measure how far the stage moves, and link in spite of it; default: the "
        "operator's choice.",
    )
    normalise: bool | None = Field(
        None,
        description="Scale intensities by the whole movie, not frame by frame; default: the "
        "operator's choice.",
        json_schema_extra=form(rare=True),
    )
    reach: float = Field(
        _LINKING.reach,
        gt=0,
        le=10,
        description="A cell moves no further from one frame to the next, in cell diameters.",
        json_schema_extra=form(unit="cell diameters"),
    )
    gap_frames: int = Field(
        _LINKING.gap_frames,
        ge=0,
        le=10,
        title="Longest gap",
        description="A cell may be missed for so many frames.",
        json_schema_extra=form(unit="frames"),
    )
    divisions: bool = Field(_LINKING.divide, description="Whether cells may divide.")
