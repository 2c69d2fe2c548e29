"""The part of an export that needs TensorFlow: `python -m kiosk_tasks.serving.export`.

`kiosk export-model` starts it as a child, so that TensorFlow is in no other process. It makes a
SavedModel of a Keras model, if it is given one, checks the signature, and asks the exported files
for a prediction of noise.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import KioskError, MissingExtra, UnusableModel
from kiosk_tasks.ports import Signature, TensorSpec
from kiosk_tasks.serving.batching import Arrays
from kiosk_tasks.serving.fitness import check_fitness
from kiosk_tasks.serving.keras_models import save_keras
from kiosk_tasks.serving.savedmodel import SavedModel, load_tensorflow
from kiosk_tasks.serving.signatures import SERVING_DEFAULT, read_signature

__all__ = ["REFUSED", "main"]

REFUSED = 4
"""Exit status when the report holds the class of an error and its sentence."""

_BATCH = 2  # shows that the batch is free
_SIDE = 256  # px; a multiple of the stride of common networks
_SIDE_OF_CROPS = 32  # px; where there are several inputs, as tracking models have them
_OTHER = 2  # any other axis of any length


def main(argv: Sequence[str] | None = None) -> int:
    """Do it and write a JSON report; return 0, or `REFUSED` with the reason in the report."""
    parser = argparse.ArgumentParser(prog="python -m kiosk_tasks.serving.export")
    parser.add_argument("folder", type=Path, help="where the SavedModel lies, or is written")
    parser.add_argument("--keras", type=Path, help="a .keras or .h5 file to make it of")
    parser.add_argument("--name", required=True, help="what sentences call the model")
    parser.add_argument("--version", type=int, required=True)
    parser.add_argument("--report", type=Path, required=True, help="JSON is written there")
    options = parser.parse_args(argv)
    report: dict[str, Any]
    try:
        report, status = _export(options), 0
    except KioskError as exc:
        report, status = {"error": type(exc).__name__, "sentence": str(exc)}, REFUSED
    options.report.write_text(json.dumps(report), "utf-8")
    return status


def _export(options: argparse.Namespace) -> dict[str, Any]:
    """Return the shapes of what went in and came out: `inputs`, `outputs`, and `note`."""
    tensorflow, name = _tensorflow(), options.name
    if options.keras is not None:
        save_keras(options.keras, options.folder, tensorflow)
    signature = read_signature(options.folder, name, options.version)
    check_fitness(signature)
    failures = (ValueError, TypeError, OSError, tensorflow.errors.OpError)
    try:
        model = SavedModel(options.folder, tensorflow)
    except failures as exc:
        lost = "variables/variables" in str(exc)  # TensorFlow goes on about devices
        reason = "its folder variables/ is damaged, or not all there." if lost else _reason(exc)
        raise UnusableModel(f"{name} cannot be loaded: {reason}") from exc
    arrays = _noise(signature)
    report: dict[str, Any] = {"inputs": _shapes(arrays), "outputs": {}, "note": ""}
    try:
        outputs = model.run(SERVING_DEFAULT, arrays)
    except failures as exc:
        shapes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())
        said = f"{name} cannot predict noise of shape {shapes}: {_reason(exc)}"
        if len(arrays) == 1:
            raise UnusableModel(said) from exc
        # Nothing says which axes of several inputs must be equally long.
        return {**report, "note": f"{said} Whether it works, only your own data show."}
    _check_outputs(signature, outputs)
    return {**report, "outputs": _shapes(outputs)}


def _tensorflow() -> Any:
    """Import TensorFlow, on the processor: a GPU of this machine may be in use by a server."""
    os.environ |= {"CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow"}
    try:
        return load_tensorflow(intra_threads=os.cpu_count() or 1, inter_threads=1)
    except (ImportError, AttributeError) as exc:  # a worker's image has its message modules only
        raise MissingExtra(
            "TensorFlow is not installed here, and exporting needs it. "
            "Install it with: pip install 'kiosk-tasks[local]'"
        ) from exc


def _noise(signature: Signature) -> dict[str, NDArray[Any]]:
    """Return noise of the inputs' dtypes and shapes; axes of any length are short."""
    random = np.random.default_rng(0)
    side = _SIDE if len(signature.inputs) == 1 else _SIDE_OF_CROPS
    return {name: _array(spec, side, random) for name, spec in signature.inputs.items()}


def _array(spec: TensorSpec, side: int, random: np.random.Generator) -> NDArray[Any]:
    shape = spec.shape or ()
    is_image = len(shape) == 4
    free = [_BATCH, side, side, 1] if is_image else [_BATCH] + [_OTHER] * max(len(shape) - 1, 0)
    lengths = [f if length == -1 else length for length, f in zip(shape, free, strict=False)]
    if spec.dtype.kind == "O":
        return np.full(lengths, b"noise", object)
    if spec.dtype.kind in "iu":
        return random.integers(0, 2, lengths).astype(spec.dtype)
    return random.random(lengths, np.float32).astype(spec.dtype)


def _check_outputs(signature: Signature, outputs: Arrays) -> None:
    (_, *others) = signature.inputs
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UnusableModel(
                f"{signature.model} answers noise between 0 and 1 with NaN or infinity in {name}; "
                "its weights are damaged, or it was trained for another range."
            )
        if not others and (array.ndim == 0 or len(array) != _BATCH):
            raise UnusableModel(
                f"{signature.model} answers a batch of {_BATCH} with {name} of shape "
                f"{array.shape}; the first axis of every output must be the batch."
            )


def _shapes(arrays: Arrays) -> dict[str, list[int]]:
    return {name: list(array.shape) for name, array in arrays.items()}


def _reason(error: BaseException) -> str:
    """Return the line that says what is wrong; TensorFlow writes others before and after it."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith("[[")]
    return f"{(telling or [type(error).__name__])[-1][:300].rstrip('.')}."


if __name__ == "__main__":
    sys.exit(main())
