"""Could a job use this model? Judged by its signature alone, before it is deployed."""

from __future__ import annotations

from kiosk_tasks.errors import UnusableModel
from kiosk_tasks.ports import Signature, TensorSpec
from kiosk_tasks.serving.signatures import shape_text

__all__ = ["check_fitness"]

_FEW_CHANNELS = 8  #: so many channels may an image have whose last axis is taken for another


def check_fitness(signature: Signature) -> tuple[str, ...]:
    """Return what should be known before the model is used, a sentence each.

    One input must be an image: (batch, Y, X, channels) float32, the batch of any length. Several
    inputs are let pass, with a note: tracking models have them.
    Raises UnusableModel with one sentence for what no stage could send or read.
    """
    if not signature.inputs or not signature.outputs:
        lacking = "outputs" if signature.inputs else "inputs"
        raise UnusableModel(f"{signature.model} has no {lacking} in serving_default.")
    if len(signature.inputs) > 1:
        names = ", ".join(signature.inputs)
        return (
            f"it takes {len(signature.inputs)} inputs ({names}): for job types that ask the model "
            "server themselves, as tracking does; grpc_predict sends one image.",
        )
    (image,) = signature.inputs.values()
    shape = _check_image(signature.model, image)
    return tuple(note for head in signature.outputs.values() for note in _about(head, shape))


def _check_image(model: str, image: TensorSpec) -> tuple[int, ...]:
    """Return the shape of an input that tiles of an image can be sent to."""
    where = f"{model} takes {image.name}"
    if image.dtype.name != "float32":
        raise UnusableModel(
            f"{where} as {image.dtype}; stages send float32. Cast inside of the model."
        )
    shape = image.shape
    if shape is None or len(shape) != 4:
        said = "of unknown rank" if shape is None else f"of shape {shape_text(shape)}"
        raise UnusableModel(f"{where} {said}; an image is (batch, Y, X, channels).")
    batch, height, width, channels = shape
    if batch != -1:
        raise UnusableModel(
            f"{where} in batches of exactly {batch}; the batch must be of any length. "
            "Make the model anew with a batch size of None."
        )
    if 0 < height <= _FEW_CHANNELS and (channels == -1 or channels > 4 * _FEW_CHANNELS):
        raise UnusableModel(
            f"{where} of shape {shape_text(shape)}, which looks like channels first; "
            "stages send (batch, Y, X, channels). Move the channels to the end."
        )
    if height != width:
        raise UnusableModel(
            f"{where} of shape {shape_text(shape)}; tiles are square, "
            "so Y and X must be the same, or both of any length."
        )
    return shape


def _about(head: TensorSpec, image: tuple[int, ...]) -> list[str]:
    """Say of an output what keeps `grpc_predict` from stitching it, if anything does."""
    if head.shape is None:
        return []
    if len(head.shape) != 4:
        return [
            f"its output {head.name} {shape_text(head.shape)} is no image: "
            "a job type of its own must read it, grpc_predict cannot."
        ]
    if any(-1 not in (a, b) and a != b for a, b in zip(head.shape[1:3], image[1:3], strict=True)):
        return [
            f"its output {head.name} {shape_text(head.shape)} has not the Y and X of its input, "
            "so grpc_predict cannot stitch it."
        ]
    return []
