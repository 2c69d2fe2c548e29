"""A SavedModel with a published spot detector's heads: `python -m tests.toy_spot_model FOLDER`.

    SpotDetection 1   input_1 (B, Y, X, 1) float32 -> offset_regression (B, Y, X, 2), the way from
                      each pixel to the spot, (y, x); classification (B, Y, X, 2), the second class
                      is the spot

It is a difference of averages and a parabola, not a network.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

__all__ = ["NAME"]

NAME = "SpotDetection"


def _main(folder: Path) -> None:
    import tensorflow as tf

    def blurred(plane: Any, times: int) -> Any:
        for _ in range(times):
            plane = tf.nn.avg_pool2d(plane, 3, 1, "SAME")
        return plane

    def neighbour(plane: Any, step: int, axis: int) -> Any:
        return tf.roll(plane, -step, axis)

    def heads(input_1: Any) -> dict[str, Any]:
        contrast = blurred(input_1, 2) - blurred(input_1, 9)
        offsets = []
        for axis in (1, 2):
            before, after = neighbour(contrast, -1, axis), neighbour(contrast, 1, axis)
            bend = tf.minimum(before - 2 * contrast + after, -1e-6)
            offsets.append(tf.clip_by_value((before - after) / (2 * bend), -0.5, 0.5))
        spot = tf.sigmoid(150 * (contrast - 0.05))
        return {
            "offset_regression": tf.concat(offsets, axis=-1),
            "classification": tf.concat([1 - spot, spot], axis=-1),
        }

    module = tf.Module()
    spec = tf.TensorSpec((None, None, None, 1), tf.float32, name="input_1")
    module.heads = tf.function(heads, input_signature=[spec])
    tf.saved_model.save(
        module, str(folder / NAME / "1"), signatures=module.heads.get_concrete_function()
    )


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
