"""Write the SavedModel: `python -m models.nuclear.export --weights FILE --out FOLDER/1`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import tensorflow as tf

from models.nuclear.network import STRIDE, build_network

__all__ = ["Heads", "export", "export_command", "export_network"]


Heads = Mapping[str, tf.Tensor]


def export(weights: Path, out: Path) -> None:
    """Write a SavedModel with signature `serving_default` from float32 weights.

    Input `image` (batch, Y, X, 1) float32, normalised; outputs `inner_distance`,
    `outer_distance` and `foreground`, each (batch, Y, X, 1) float32; any Y and X.
    """
    export_network(build_network, weights, out, channels=1, heads=_heads)


def _heads(maps: tf.Tensor) -> Heads:
    return {
        "inner_distance": maps[..., 0:1],
        "outer_distance": maps[..., 1:2],
        "foreground": tf.sigmoid(maps[..., 2:3]),
    }


def export_network(
    build: Callable[[], keras.Model],
    weights: Path,
    out: Path,
    *,
    channels: int,
    heads: Callable[[tf.Tensor], Heads],
) -> None:
    """Write a SavedModel of a network for images of any size, from its float32 weights.

    channels: of the input `image`. heads: names the outputs, given the network's maps.
    """
    keras.mixed_precision.set_global_policy("float32")
    network = build()
    network.load_weights(weights)
    served = _Served(network, heads)
    image = tf.TensorSpec((None, None, None, channels), tf.float32, name="image")
    signature = tf.function(served.predict, input_signature=[image])
    tf.saved_model.save(served, str(out), signatures={"serving_default": signature})


def export_command(export: Callable[[Path, Path], None], about: str | None) -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="version folder of the model")
    options = parser.parse_args()
    export(options.weights, options.out)


class _Served(tf.Module):
    """The network, and what becomes of its maps."""

    def __init__(self, network: keras.Model, heads: Callable[[tf.Tensor], Heads]) -> None:
        super().__init__()
        self.network, self._heads = network, heads

    def predict(self, image: tf.Tensor) -> Heads:
        """Pad to a multiple of the stride, predict, crop back."""
        size = tf.shape(image)[1:3]
        maps = self.network(_pad_to_stride(image), training=False)
        return self._heads(maps[:, : size[0], : size[1]])


def _pad_to_stride(image: tf.Tensor) -> tf.Tensor:
    """Lengthen Y and X of (batch, Y, X, C) to multiples of `STRIDE`, mirrored."""
    return _mirror(_mirror(image, axis=1), axis=2)


def _mirror(image: tf.Tensor, *, axis: int) -> tf.Tensor:
    """Lengthen an axis to a multiple of the stride, mirrored as often as it takes."""
    length = tf.shape(image)[axis]
    position = tf.range(length + -length % STRIDE) % (2 * length)
    return tf.gather(image, tf.minimum(position, 2 * length - 1 - position), axis=axis)


if __name__ == "__main__":
    export_command(export, __doc__)
