"""A SavedModel with the heads of the nuclear model: `python tests/nuclei_model.py FOLDER`.

It is a threshold and averages, not a network: the same pixels give the same heads, however they
are batched. TensorFlow runs in a process of its own, and what it makes is kept between runs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

__all__ = ["nuclei_models"]

_TIME_LIMIT_S = 180


def nuclei_models(kept: Path) -> Path:
    """Return the folder of models; `kept` holds what earlier runs have built."""
    recipe = Path(__file__).read_bytes() + version("tensorflow-cpu").encode()
    folder = kept / hashlib.sha256(recipe).hexdigest()[:16]
    if not folder.is_dir():
        staged = kept / uuid4().hex
        command = [sys.executable, __file__, str(staged)]
        env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=_TIME_LIMIT_S, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr)
        try:
            staged.rename(folder)
        except OSError:  # another run was faster
            shutil.rmtree(staged)
    return folder


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
