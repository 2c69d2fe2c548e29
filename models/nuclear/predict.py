"""The exported model as the product runs it: normalise, predict, watershed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from kiosk_tasks.imaging.intensity import normalise_percentiles
from kiosk_tasks.imaging.labels import Labels, WatershedParams, deep_watershed, resize_labels
from kiosk_tasks.imaging.scale import resize
from kiosk_tasks.segmenting.labelling import NUCLEI

__all__ = ["Heads", "Recipe", "Segmenter"]


@dataclass(frozen=True)
class Heads:
    """Outputs for one image, each (Y, X) float32."""

    inner: NDArray[np.float32]
    outer: NDArray[np.float32]
    foreground: NDArray[np.float32]


@dataclass(frozen=True)
class Recipe:
    """How heads become labels; the defaults are the product's."""

    inner_share: float = 0.5  # of the blend of inner and outer distance in which maxima are sought
    watershed: WatershedParams = NUCLEI

    def __call__(self, heads: Heads) -> Labels:
        """Label nuclei; returns (Y, X) int32."""
        maxima = self.inner_share * heads.inner + (1 - self.inner_share) * heads.outer
        return deep_watershed(maxima, heads.foreground, params=self.watershed)


class Segmenter:
    """A SavedModel folder, loaded."""

    def __init__(self, folder: Path) -> None:
        self._model = tf.saved_model.load(str(folder))
        self._signature = self._model.signatures["serving_default"]

    def heads(self, image: NDArray[Any]) -> Heads:
        """Predict on a (Y, X) image of any dtype."""
        batch = normalise_percentiles(image)[None, :, :, None]
        outputs = self._signature(image=tf.constant(batch))
        names = ("inner_distance", "outer_distance", "foreground")
        return Heads(*(outputs[name].numpy()[0, :, :, 0] for name in names))

    def label(self, image: NDArray[Any], *, recipe: Recipe, zoom: float = 1.0) -> Labels:
        """Label the nuclei of a (Y, X) image that the model sees enlarged by `zoom`."""
        labels = recipe(self.heads(resize(image, zoom)))
        return resize_labels(labels, (image.shape[0], image.shape[1]))
