"""The exported model as the product runs it: prepare, predict in one piece, label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.values import Heads, Scale
from kiosk_tasks.segmenting.multiplex import prepare

__all__ = ["heads_of", "load"]


def load(folder: Path) -> Any:
    """Return the signature of a SavedModel folder; it keeps the model alive."""
    model = tf.saved_model.load(str(folder))
    signature = model.signatures["serving_default"]
    signature.kept = model
    return signature


def heads_of(signature: Any, image: NDArray[Any]) -> Heads:
    """Predict on a (Y, X, 2) image of any dtype at 0.5 µm per pixel."""
    outputs = signature(image=tf.constant(prepare(image)[np.newaxis]))
    planes = {name: output.numpy()[0] for name, output in outputs.items()}
    return Heads(planes, Scale(1.0, measured=True), Image(image, "YXC", 0.5))
