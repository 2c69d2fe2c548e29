"""Tiny SavedModels with known answers: `python -m tests.toy_models FOLDER [NAME ...]`.

TensorFlow must not enter the process of the tests, so `tests.built_models` runs this file in
a process of its own. Each model lies at `FOLDER/<name>/<version>/saved_model.pb`:

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
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.built_models import Models, save_models


def _models(tf: Any) -> Models:
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


def _main(folder: Path, names: Sequence[str]) -> None:
    import tensorflow as tf

    save_models(_models(tf), folder, names)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
