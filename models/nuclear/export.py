"""Write the SavedModel: `python -m models.nuclear.export --weights FILE --out FOLDER/1`."""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import tensorflow as tf

from models.nuclear.network import STRIDE, build_network

__all__ = ["export", "pad_to_stride"]


class _Served(tf.Module):
    """The network for images of any size."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self.network = network

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 1), tf.float32, name="image")])
    def __call__(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Pad to a multiple of the stride, predict, crop back."""
        size = tf.shape(image)[1:3]
        heads = self.network(pad_to_stride(image), training=False)[:, : size[0], : size[1]]
        return {
            "inner_distance": heads[..., 0:1],
            "outer_distance": heads[..., 1:2],
            "foreground": tf.sigmoid(heads[..., 2:3]),
        }


def export(weights: Path, out: Path) -> None:
    """Write a SavedModel with signature `serving_default` from float32 weights.

    Input `image` (batch, Y, X, 1) float32, normalised; outputs `inner_distance`,
    `outer_distance` and `foreground`, each (batch, Y, X, 1) float32; any Y and X.
    """
    keras.mixed_precision.set_global_policy("float32")
    network = build_network()
    network.load_weights(weights)
    served = _Served(network)
    tf.saved_model.save(served, str(out), signatures={"serving_default": served.__call__})


def pad_to_stride(image: tf.Tensor) -> tf.Tensor:
    """Lengthen Y and X of (batch, Y, X, C) to multiples of `STRIDE`, mirrored."""
    return _mirror(_mirror(image, axis=1), axis=2)


def _mirror(image: tf.Tensor, *, axis: int) -> tf.Tensor:
    """Lengthen an axis to a multiple of the stride, mirrored as often as it takes."""
    length = tf.shape(image)[axis]
    position = tf.range(length + -length % STRIDE) % (2 * length)
    return tf.gather(image, tf.minimum(position, 2 * length - 1 - position), axis=axis)


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="version folder of the model")
    options = parser.parse_args()
    export(options.weights, options.out)


if __name__ == "__main__":
    main()
