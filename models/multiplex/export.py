"""Write the SavedModel: `python -m models.multiplex.export --weights FILE --out FOLDER/1`."""

from __future__ import annotations

import argparse
from pathlib import Path

import keras
import tensorflow as tf

from models.multiplex.network import HEADS, build_network
from models.nuclear.export import pad_to_stride

__all__ = ["export"]


class _Served(tf.Module):
    """The network for images of any size."""

    def __init__(self, network: keras.Model) -> None:
        super().__init__()
        self.network = network

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 2), tf.float32, name="image")])
    def __call__(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Pad to a multiple of the stride, predict, crop back."""
        size = tf.shape(image)[1:3]
        maps = self.network(pad_to_stride(image), training=False)[:, : size[0], : size[1]]
        heads = {name: maps[..., part] for name, part in HEADS.items()}
        return {
            name: tf.nn.softmax(head) if name.endswith("pixelwise") else head
            for name, head in heads.items()
        }


def export(weights: Path, out: Path) -> None:
    """Write a SavedModel with signature `serving_default` from float32 weights.

    Input `image` (batch, Y, X, 2) float32, as `kiosk_tasks.segmenting.multiplex.prepare` gives it;
    outputs `whole_cell_inner_distance` and `nuclear_inner_distance` (batch, Y, X, 1),
    `whole_cell_pixelwise` and `nuclear_pixelwise` (batch, Y, X, 3): the probabilities of
    background, interior and border; any Y and X.
    """
    keras.mixed_precision.set_global_policy("float32")
    network = build_network()
    network.load_weights(weights)
    served = _Served(network)
    tf.saved_model.save(served, str(out), signatures={"serving_default": served.__call__})


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="version folder of the model")
    options = parser.parse_args()
    export(options.weights, options.out)


if __name__ == "__main__":
    main()
