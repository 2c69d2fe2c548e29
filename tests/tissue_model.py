"""A SavedModel with the signature of the published MultiplexSegmentation.

`python tests/tissue_model.py FOLDER` makes it: tiles of 256 px, two channels, four heads that only
their order and channels tell apart. It is a threshold and averages, not a network. TensorFlow runs
in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["tissue_model"]

_TIME_LIMIT_S = 180


def tissue_model(folder: Path) -> Path:
    """Write the SavedModel to the folder; return it."""
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, str(folder)]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return folder


def _main(folder: Path) -> None:
    import tensorflow as tf

    def blur(plane: Any, side: int) -> Any:
        return tf.nn.avg_pool2d(plane, side, 1, "SAME")

    def pair(channel: Any) -> list[Any]:
        """Inner distance; background, interior and boundary."""
        inside = tf.sigmoid(40 * (blur(channel, 3) - 0.5))
        interior = tf.sigmoid(20 * (blur(inside, 3) - 0.9))
        return [blur(blur(inside, 9), 5), tf.concat([1 - inside, interior, inside - interior], -1)]

    def heads(image: Any) -> dict[str, Any]:
        outputs = [*pair(image[..., 1:2]), *pair(image[..., 0:1])]
        return {f"semantic_{index}": head for index, head in enumerate(outputs)}

    module = tf.Module()
    spec = tf.TensorSpec((None, 256, 256, 2), tf.float32, name="input_0")
    module.heads = tf.function(heads, input_signature=[spec])
    tf.saved_model.save(module, str(folder), signatures=module.heads.get_concrete_function())


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
