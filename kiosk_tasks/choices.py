"""What an operator chooses for the job types: models, and what they do where a job says nothing."""

from __future__ import annotations

from dataclasses import dataclass

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.ports import Model

__all__ = ["Choices", "named_model"]


@dataclass(frozen=True)
class Choices:
    """Models by `name` or `name:version`, and defaults of parameters.

    Numbers are those of the published DeepCell applications where they have them.
    """

    nuclear_model: str = "NuclearSegmentation"
    cytoplasm_model: str = "CytoplasmSegmentation"
    phase_model: str = "PhaseSegmentation"
    nuclear_postprocess: str = "deep_watershed"
    cytoplasm_postprocess: str = "deep_watershed"
    phase_postprocess: str = "deep_watershed"
    detect_label: bool = False
    label_model: str = "LabelDetection"
    label_sample_px: int = 216  #: side of what the model is shown, px
    label_samples: int = 10
    detect_scale: bool = False
    scale_model: str = "ScaleDetection"
    scale_sample_px: int = 216  #: side of what the model is shown, px
    scale_samples: int = 10
    mesmer_model: str = "MultiplexSegmentation"
    mesmer_compartment: str = "whole-cell"
    correct_drift: bool = False
    normalise_movie: bool = False
    track_segment_model: str = ""  #: empty: the nuclear model
    track_postprocess: str = "deep_watershed"
    track_encoder_model: str = ""  #: neighbourhood encoder; empty: laptrack links
    track_inference_model: str = ""  #: same, different, daughter; empty: laptrack links
    track_max_distance: float = 64.0  #: px at the model's pixel size
    track_length: int = 8  #: frames of a track that the inference model sees
    track_division: float = 0.01
    track_birth: float = 0.99
    track_death: float = 0.99
    spot_model: str = ""  #: empty: the Laplacian-of-Gaussian detector
    spot_threshold: float = 0.95
    spot_clip: bool = False  #: clip intensities at a percentile before they are scaled
    spot_mpp: float = 0.1  #: pixel size the spot model was trained at, µm per pixel


def named_model(
    text: str, *, axes: str = "YXC", tile: int = 512, mpp: float | None = None
) -> Model:
    """Return the model that `name` or `name:version` names.

    Raises InvalidParameter for a version that is no whole number above 0.
    """
    name, _, version = text.partition(":")
    if version and not (version.isascii() and version.isdigit() and int(version)):
        raise InvalidParameter(
            f"{text!r} names no model; write name or name:version, the version a whole number."
        )
    return Model(name, int(version) if version else None, axes=axes, tile=tile, mpp=mpp)
