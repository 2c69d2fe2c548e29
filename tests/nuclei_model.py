"""A SavedModel with the heads of the nuclear model: `python -m tests.nuclei_model FOLDER`.

It is a threshold and averages, not a network: the same pixels give the same heads, however they
are batched. `tests.built_models.built` builds it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def _main(folder: Path) -> None:
    import tensorflow as tf

    def blur(plane: Any, side: int) -> Any:
        return tf.nn.avg_pool2d(plane, side, 1, "SAME")

    def heads(image: Any) -> dict[str, Any]:
        foreground = tf.sigmoid(20 * (blur(image, 3) - 0.35))
        return {
            "inner_distance": blur(blur(foreground, 9), 5),
            "outer_distance": blur(foreground, 9),
            "foreground": foreground,
        }

    module = tf.Module()
    spec = tf.TensorSpec((None, None, None, 1), tf.float32, name="image")
    module.heads = tf.function(heads, input_signature=[spec])
    tf.saved_model.save(
        module,
        str(folder / "NuclearSegmentation" / "1"),
        signatures=module.heads.get_concrete_function(),
    )


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
