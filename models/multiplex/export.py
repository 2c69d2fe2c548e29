"""Write the SavedModel: `python -m models.multiplex.export --weights FILE --out FOLDER/1`."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from models.multiplex.network import HEADS, build_network
from models.nuclear.export import Heads, export_command, export_network

__all__ = ["export"]


def export(weights: Path, out: Path) -> None:
    """Write a SavedModel with signature `serving_default` from float32 weights.

    Input `image` (batch, Y, X, 2) float32, as `kiosk_tasks.segmenting.multiplex.prepare` gives it;
    outputs `whole_cell_inner_distance` and `nuclear_inner_distance` (batch, Y, X, 1),
    `whole_cell_pixelwise` and `nuclear_pixelwise` (batch, Y, X, 3): the probabilities of
    background, interior and border; any Y and X.
    """
    export_network(build_network, weights, out, channels=2, heads=_heads)


def _heads(maps: tf.Tensor) -> Heads:
    heads = {name: maps[..., part] for name, part in HEADS.items()}
    return {
        name: tf.nn.softmax(head) if name.endswith("pixelwise") else head
        for name, head in heads.items()
    }


if __name__ == "__main__":
    export_command(export, __doc__)
