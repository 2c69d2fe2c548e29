"""Tiny SavedModels with known answers: `python tests/toy_models.py FOLDER [NAME ...]`.

TensorFlow must not enter the process of the tests, so they call `build_toys`, which runs this file
in a process of its own. Each model lies at `FOLDER/<name>/<version>/saved_model.pb`:

    Identity 1             image (B, Y, X, C) float32 -> image
    Doubled 1, 3           image (B, Y, X, C) float32 -> image × 2 (version 1), × 6 (version 3)
    NuclearSegmentation 1  image (B, Y, X, 1) float32 -> heads (B, Y, X, 3): image, half, minus
    Half 1                 image (B, N) float16 -> image + 1
    Integers 1             small (B, N) uint8, large (B, N) int32 -> sum (B, N) int32
    Words 1                word (B) string -> word
    Fixed 1                image (2, 2) float32 -> image (cannot be batched)
    Slow 1                 rounds (B, 1) float32 -> rounds; a round takes about a millisecond
    WrongShape 1           image (B, N) float32 -> first (N): claims (B, N), gives one row
    Picky 1                image (B, N) float32 -> image; fails if one is negative

To the signatures of published DeepCell applications; cells are where the image, as CLAHE leaves it,
is above 0.5:

    DeepCellNuclear 1      input_1 (B, Y, X, 1) -> semantic_0 inner distance, semantic_1 outer
    DeepCellFixed 1        image_input (B, 512, 512, 1) -> semantic_head_0 inner distance,
                           semantic_head_1 pixelwise (B, 512, 512, 4)
    DeepCellMultiplex 1    input_1 (B, 256, 256, 2) -> semantic_0 … semantic_3, of 1, 3, 1, 3
    DeepCellRetinaMask 1   input_1 (B, Y, X, 1) -> filtered_detections: boxes (B, N, 4), then _1
                           scores (B, N), _2 classes (B, N), _3 masks (B, N, 28, 28, 1); and
                           semantic_0 (B, Y, X, 3). It looks once into each square of 32 px.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["build_toys"]


def build_toys(folder: Path, *names: str) -> Path:
    """Build the models of those names (all, if none is given) in a child process."""
    command = [sys.executable, __file__, str(folder), *names]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return folder


def _models(tf: Any) -> dict[str, dict[int, tuple[Callable[..., dict[str, Any]], list[Any]]]]:
    """Return name -> version -> (function, input specs)."""

    def spec(name: str, shape: Sequence[int | None], dtype: Any = tf.float32) -> Any:
        return tf.TensorSpec(shape, dtype, name=name)

    image = [spec("image", (None, None, None, None))]
    flat = [spec("image", (None, None))]

    def scaled(factor: float) -> Callable[..., dict[str, Any]]:
        return lambda image: {"image": image * factor}

    def nuclear(image: Any) -> dict[str, Any]:
        return {"heads": tf.concat([image, image / 2, -image], axis=-1)}

    def slow(rounds: Any) -> dict[str, Any]:
        matrix = tf.eye(160)
        last = tf.cast(tf.reduce_max(rounds), tf.int32)
        _, matrix = tf.while_loop(
            lambda i, _: i < last,
            lambda i, m: (i + 1, tf.matmul(tf.matmul(m, m), m)),
            (tf.constant(0), matrix),
        )
        return {"rounds": rounds * matrix[0, 0]}

    def wrong_shape(image: Any) -> dict[str, Any]:
        row = tf.reduce_sum(image, axis=0, keepdims=True)
        return {"first": tf.ensure_shape(tf.gather(row, [0]), (None, None))}

    def picky(image: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_non_negative(image, "negative pixel")]):
            return {"image": tf.identity(image)}

    return {
        **_deepcell(tf),
        "Identity": {1: (lambda image: {"image": tf.identity(image)}, image)},
        "Doubled": {1: (scaled(2.0), image), 3: (scaled(6.0), image)},
        "NuclearSegmentation": {1: (nuclear, [spec("image", (None, None, None, 1))])},
        "Half": {
            1: (lambda image: {"image": image + 1}, [spec("image", (None, None), tf.float16)])
        },
        "Integers": {
            1: (
                lambda small, large: {"sum": tf.cast(small, tf.int32) + large},
                [spec("small", (None, None), tf.uint8), spec("large", (None, None), tf.int32)],
            )
        },
        "Words": {
            1: (lambda word: {"word": tf.identity(word)}, [spec("word", (None,), tf.string)])
        },
        "Fixed": {1: (lambda image: {"image": tf.identity(image)}, [spec("image", (2, 2))])},
        "Slow": {1: (slow, [spec("rounds", (None, 1))])},
        "WrongShape": {1: (wrong_shape, flat)},
        "Picky": {1: (picky, flat)},
    }


def _deepcell(tf: Any) -> dict[str, dict[int, tuple[Callable[..., dict[str, Any]], list[Any]]]]:
    """Return the models with the signatures of published DeepCell applications."""
    square = 32

    def spec(name: str, *shape: int | None) -> list[Any]:
        return [tf.TensorSpec(shape, tf.float32, name=name)]

    def blur(plane: Any, side: int) -> Any:
        return tf.nn.avg_pool2d(plane, side, 1, "SAME")

    def cells(image: Any) -> Any:
        return tf.cast(image > 0.5, tf.float32)

    def inner(image: Any) -> Any:
        return blur(blur(cells(image), 9), 5)

    def classes(image: Any) -> Any:
        inside = cells(image)
        core = tf.cast(blur(inside, 3) > 0.99, tf.float32)
        return tf.concat([inside - core, core, 1 - inside], axis=-1)

    def nuclear(input_1: Any) -> dict[str, Any]:
        inside = cells(input_1)
        return {"semantic_0": inner(input_1), "semantic_1": blur(inside, 9) * inside}

    def fixed(image_input: Any) -> dict[str, Any]:
        edge, core, rest = tf.split(classes(image_input), 3, axis=-1)
        four = tf.concat([edge, tf.zeros_like(edge), core, rest], axis=-1)
        return {"semantic_head_0": inner(image_input), "semantic_head_1": four}

    def multiplex(input_1: Any) -> dict[str, Any]:
        nuclei, whole = input_1[..., :1], input_1[..., 1:]
        heads = [inner(whole), classes(whole), inner(nuclei), classes(nuclei)]
        return {f"semantic_{place}": head for place, head in enumerate(heads)}

    def retina_mask(input_1: Any) -> dict[str, Any]:
        size = tf.shape(input_1)
        down, across = size[1] // square, size[2] // square
        y, x = tf.meshgrid(tf.range(down), tf.range(across), indexing="ij")
        corners = tf.cast(tf.reshape(tf.stack([x, y], -1), (-1, 2)) * square, tf.float32)
        boxes = tf.concat([corners, corners + square], axis=-1)
        side = tf.cast(size[1:3], tf.float32)
        relative = tf.gather(boxes, [1, 0, 3, 2], axis=1) / tf.concat([side, side], 0)
        count, batch = down * across, size[0]
        owner = tf.repeat(tf.range(batch), count)
        crops = tf.image.crop_and_resize(
            cells(input_1), tf.tile(relative, (batch, 1)), owner, (28, 28)
        )
        masks = tf.reshape(crops, (batch, count, 28, 28, 1))
        share = tf.reduce_mean(masks, axis=(2, 3, 4))
        return {
            "filtered_detections": tf.tile(boxes[None], (batch, 1, 1)),
            "filtered_detections_1": tf.where(share > 0.05, 0.9, -1.0),
            "filtered_detections_2": tf.where(share > 0.05, 0, -1),
            "filtered_detections_3": masks,
            "semantic_0": classes(input_1),
        }

    return {
        "DeepCellNuclear": {1: (nuclear, spec("input_1", None, None, None, 1))},
        "DeepCellFixed": {1: (fixed, spec("image_input", None, 512, 512, 1))},
        "DeepCellMultiplex": {1: (multiplex, spec("input_1", None, 256, 256, 2))},
        "DeepCellRetinaMask": {1: (retina_mask, spec("input_1", None, None, None, 1))},
    }


def _main(folder: Path, names: Sequence[str]) -> None:
    import tensorflow as tf

    models = _models(tf)
    for name in names or models:
        for version, (function, specs) in models[name].items():
            module = tf.Module()
            module.function = tf.function(function, input_signature=specs)
            concrete = module.function.get_concrete_function()
            tf.saved_model.save(module, str(folder / name / str(version)), signatures=concrete)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
