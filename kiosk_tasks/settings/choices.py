"""Models and defaults of the job types, as an operator chooses them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from kiosk_tasks.settings.names import names

__all__ = ["Choices"]

Postprocess = Literal[
    "deep_watershed", "watershed", "pixelwise", "mibi", "retinanet", "retinanet-semantic", "none"
]


def _choice(default: Any, name: str, *old: str, about: str, **limits: Any) -> Any:
    """Return the field of the setting `KIOSK_<name>`."""
    return Field(default, validation_alias=names(name, *old), description=about, **limits)


class Choices(BaseModel):
    """A model is `name` or `name:version`; without a version the newest that is served."""

    nuclear_model: str = _choice(
        "NuclearSegmentation", "NUCLEAR_MODEL", "NUCLEAR_MODEL", about="Model for nuclei."
    )
    cytoplasm_model: str = _choice(
        "CytoplasmSegmentation", "CYTOPLASM_MODEL", "CYTOPLASM_MODEL", about="Model for cytoplasm."
    )
    phase_model: str = _choice(
        "PhaseSegmentation", "PHASE_MODEL", "PHASE_MODEL", about="Model for phase contrast."
    )
    nuclear_postprocess: Postprocess = _choice(
        "deep_watershed",
        "NUCLEAR_POSTPROCESS",
        "NUCLEAR_POSTPROCESS",
        about="What makes label images of the nuclear model's heads.",
    )
    cytoplasm_postprocess: Postprocess = _choice(
        "deep_watershed",
        "CYTOPLASM_POSTPROCESS",
        "CYTOPLASM_POSTPROCESS",
        about="The same of the cytoplasm model's.",
    )
    phase_postprocess: Postprocess = _choice(
        "deep_watershed",
        "PHASE_POSTPROCESS",
        "PHASE_POSTPROCESS",
        about="The same of the phase model's.",
    )
    detect_label: bool = _choice(
        False,
        "DETECT_LABEL",
        "LABEL_DETECT_ENABLED",
        about="Ask a model what an image shows, where a job does not say.",
    )
    label_model: str = _choice(
        "LabelDetection", "LABEL_MODEL", "LABEL_DETECT_MODEL", about="That model."
    )
    label_sample_px: int = _choice(
        216, "LABEL_SAMPLE_PX", "LABEL_RESHAPE_SIZE", about="Side of what it is shown, px.", gt=0
    )
    label_samples: int = _choice(
        10, "LABEL_SAMPLES", "LABEL_DETECT_SAMPLE", about="Planes of a job it is shown.", gt=0
    )
    detect_scale: bool = _choice(
        False,
        "DETECT_SCALE",
        "SCALE_DETECT_ENABLED",
        about="Ask a model for the scale of an image, where a job does not say.",
    )
    scale_model: str = _choice(
        "ScaleDetection", "SCALE_MODEL", "SCALE_DETECT_MODEL", about="That model."
    )
    scale_sample_px: int = _choice(
        216, "SCALE_SAMPLE_PX", "SCALE_RESHAPE_SIZE", about="Side of what it is shown, px.", gt=0
    )
    scale_samples: int = _choice(
        10, "SCALE_SAMPLES", "SCALE_DETECT_SAMPLE", about="Planes of a job it is shown.", gt=0
    )
    mesmer_model: str = _choice(
        "MultiplexSegmentation", "MESMER_MODEL", "MESMER_MODEL", about="Model of `mesmer`."
    )
    mesmer_compartment: Literal["whole-cell", "nuclear", "both"] = _choice(
        "whole-cell",
        "MESMER_COMPARTMENT",
        "MESMER_COMPARTMENT",
        about="What `mesmer` gives where a job does not say.",
    )
    correct_drift: bool = _choice(
        False,
        "CORRECT_DRIFT",
        "DRIFT_CORRECT_ENABLED",
        about="Whether `track` takes the stage's drift out, where a job does not say.",
    )
    normalise_movie: bool = _choice(
        False,
        "NORMALISE_MOVIE",
        "NORMALIZE_TRACKING",
        about="Whether `track` scales intensities by the whole movie, where a job does not say.",
    )
    track_segment_model: str = _choice(
        "",
        "TRACK_SEGMENT_MODEL",
        "TRACKING_SEGMENT_MODEL",
        about="Model that finds the cells of a movie; empty: the nuclear model.",
    )
    track_postprocess: Postprocess = _choice(
        "deep_watershed",
        "TRACK_POSTPROCESS",
        "TRACKING_POSTPROCESS_FUNCTION",
        about="What makes label images of that model's heads.",
    )
    track_encoder_model: str = _choice(
        "",
        "TRACK_ENCODER_MODEL",
        "NEIGHBORHOOD_ENCODER",
        about="Neighbourhood encoder of DeepCell's tracking; empty: laptrack links.",
    )
    track_inference_model: str = _choice(
        "",
        "TRACK_INFERENCE_MODEL",
        "TRACKING_MODEL",
        about="Its inference model; empty: laptrack links.",
    )
    track_max_distance: float = _choice(
        64.0,
        "TRACK_MAX_DISTANCE",
        "MAX_DISTANCE",
        about="Cells farther apart are no neighbours to the encoder, px.",
        gt=0,
    )
    track_length: int = _choice(
        8, "TRACK_LENGTH", "TRACK_LENGTH", about="Frames of a track the model sees.", gt=0
    )
    track_division: float = _choice(
        0.01, "TRACK_DIVISION", "DIVISION", about="Cost of a division.", ge=0, le=1
    )
    track_birth: float = _choice(
        0.99, "TRACK_BIRTH", "BIRTH", about="Cost of a track's begin.", ge=0, le=1
    )
    track_death: float = _choice(
        0.99, "TRACK_DEATH", "DEATH", about="Cost of a track's end.", ge=0, le=1
    )
    spot_model: str = _choice(
        "", "SPOT_MODEL", "POLARIS_MODEL", about="Model that finds spots; empty: none is asked."
    )
    spot_threshold: float = _choice(
        0.95, "SPOT_THRESHOLD", "POLARIS_THRESHOLD", about="Its least probability.", ge=0, le=1
    )
    spot_clip: bool = _choice(
        False, "SPOT_CLIP", "POLARIS_CLIP", about="Clip the brightest pixels before it."
    )
    spot_mpp: float = _choice(
        0.1, "SPOT_MPP", "POLARIS_SCALE", about="Its pixel size, µm per pixel.", gt=0
    )
