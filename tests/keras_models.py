"""Models to export, and their exports: `python tests/keras_models.py FOLDER`.

TensorFlow must not enter the process of the tests. Everything is made by one child process, which
imports TensorFlow once; it exports as `kiosk export-model` does, but for that one's child process.

    FOLDER/<file>               what can be exported, or cannot
    FOLDER/served/<name>/1/     the exports
    FOLDER/outcomes.json        name -> "" or the sentence of the error
    FOLDER/image.npy            noise (2, 64, 64, 1); <head>.npy: what Keras itself makes of it
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["FROM_KERAS", "keras_models"]

FROM_KERAS = {"KerasFile": "plain.keras", "OldFile": "plain.h5", "Folder": "plain"}
_OTHERS = {
    "Half": "half.keras",
    "Sequence": "sequence.keras",
    "Custom": "custom.keras",
    "OldCustom": "custom.h5",
    "Code": "lambda.keras",
    "OldCode": "lambda.h5",
    "Weights": "only.weights.h5",
    "Unbuilt": "unbuilt.keras",
    "Text": "text.keras",
    "OldText": "text.h5",
    "NotFinite": "not_finite",
    "LostBatch": "lost_batch",
    "TwoInputs": "two_inputs",
    "NoWeights": "no_weights",
}


def keras_models(folder: Path) -> Path:
    """Make everything in a child process; return the folder."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run(
        [sys.executable, __file__, str(folder)],
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return folder


def _plain(keras: Any) -> Any:
    image = keras.Input((None, None, 1))  # without a name
    layers = keras.layers
    inner = layers.Conv2D(3, 3, padding="same", name="inner_distance")(image)
    return keras.Model(image, [inner, layers.Conv2D(1, 5, padding="same", name="area")(inner)])


def _half(keras: Any) -> Any:
    """Two inputs and a dictionary of outputs, computed in float16, by one shared layer."""
    kept = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    one, two = (keras.Input((16, 16, 1), name=name) for name in ("nuclei", "membrane"))
    shared = keras.layers.Conv2D(2, 3, padding="same", name="shared")
    model = keras.Model([one, two], {"a": shared(one), "b": shared(two)})
    keras.config.set_dtype_policy(kept)
    return model


def _write_keras(folder: Path) -> None:
    import keras

    keras.utils.set_random_seed(7)
    image = np.random.default_rng(3).random((2, 64, 64, 1), np.float32)
    np.save(folder / "image.npy", image)
    plain = _plain(keras)
    for name, plane in zip(("inner_distance", "area"), plain(image), strict=True):
        np.save(folder / f"{name}.npy", np.asarray(plane))
    plain.save(folder / "plain.keras")
    plain.save(folder / "plain.h5")
    plain.save_weights(folder / "only.weights.h5")
    plain.export(folder / "plain", verbose=False)
    _half(keras).save(folder / "half.keras")

    class Mine(keras.layers.Layer):  # type: ignore[misc]
        def call(self, pixels: Any) -> Any:
            return 2 * pixels

    given = keras.Input((8, 8, 1))
    for ending in ("keras", "h5"):
        keras.Model(given, Mine()(given)).save(folder / f"custom.{ending}")
        twice = keras.layers.Lambda(lambda pixels: 2 * pixels)(given)
        keras.Model(given, twice).save(folder / f"lambda.{ending}")
        (folder / f"text.{ending}").write_text("these are only words")
    keras.Sequential([keras.layers.Dense(2)]).save(folder / "unbuilt.keras")
    layers = [keras.Input((32, 32, 2)), keras.layers.Conv2D(1, 1, name="cells")]
    keras.Sequential(layers).save(folder / "sequence.keras")


def _write_saved_models(folder: Path) -> None:
    import tensorflow as tf

    def spec(name: str) -> Any:
        return tf.TensorSpec((None, None, None, 1), tf.float32, name=name)

    functions = {
        "not_finite": lambda image: {"image": tf.math.log(image - 2)},
        "lost_batch": lambda image: {"mean": tf.reduce_mean(image, axis=0)},
        "two_inputs": lambda image, size: {"image": image * size[:, :9]},
    }
    for name, function in functions.items():
        specs = [spec("image"), spec("size")] if name == "two_inputs" else [spec("image")]
        module = tf.Module()
        module.served = tf.function(function, input_signature=specs)
        signature = module.served.get_concrete_function()
        tf.saved_model.save(module, str(folder / name), signatures=signature)
    shutil.copytree(folder / "two_inputs", folder / "no_weights")
    shutil.rmtree(folder / "no_weights" / "variables")


def _main(folder: Path) -> None:
    from kiosk_tasks.errors import KioskError
    from kiosk_tasks.serving import deploying, export

    tensorflow = export._tensorflow()  # can be set up only once
    export._tensorflow = lambda: tensorflow
    _write_keras(folder)
    _write_saved_models(folder)

    def in_this_process(command: list[str], **_: Any) -> Any:
        return subprocess.CompletedProcess(command, export.main(command[3:]), "", "")

    deploying.subprocess.run = in_this_process  # type: ignore[assignment]
    outcomes, notes = {}, {}
    for name, source in {**FROM_KERAS, **_OTHERS}.items():
        try:
            made = deploying.export_to_folder(
                deploying.Wish(folder / source, name, 1, mpp=0.5), folder / "served"
            )
            outcomes[name], notes[name] = "", made.notes
        except KioskError as exc:
            outcomes[name] = str(exc)
    (folder / "outcomes.json").write_text(json.dumps({"errors": outcomes, "notes": notes}))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
