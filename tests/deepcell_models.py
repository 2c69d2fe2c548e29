"""SavedModels with the signatures of published DeepCell applications, and known answers.

`python -m tests.deepcell_models FOLDER [NAME ...]`. Cells are where the image, as CLAHE leaves it,
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

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.built_models import Models, save_models

SQUARE = 32  # px; the detector looks once into each


class _Heads:
    """What the applications' networks give, made of thresholds and averages."""

    def __init__(self, tf: Any) -> None:
        self.tf = tf

    def blur(self, plane: Any, side: int) -> Any:
        return self.tf.nn.avg_pool2d(plane, side, 1, "SAME")

    def cells(self, image: Any) -> Any:
        return self.tf.cast(image > 0.5, self.tf.float32)

    def inner(self, image: Any) -> Any:
        return self.blur(self.blur(self.cells(image), 9), 5)

    def classes(self, image: Any) -> Any:
        inside = self.cells(image)
        core = self.tf.cast(self.blur(inside, 3) > 0.99, self.tf.float32)
        return self.tf.concat([inside - core, core, 1 - inside], axis=-1)

    def nuclear(self, input_1: Any) -> dict[str, Any]:
        inside = self.cells(input_1)
        return {"semantic_0": self.inner(input_1), "semantic_1": self.blur(inside, 9) * inside}

    def fixed(self, image_input: Any) -> dict[str, Any]:
        edge, core, rest = self.tf.split(self.classes(image_input), 3, axis=-1)
        four = self.tf.concat([edge, self.tf.zeros_like(edge), core, rest], axis=-1)
        return {"semantic_head_0": self.inner(image_input), "semantic_head_1": four}

    def multiplex(self, input_1: Any) -> dict[str, Any]:
        nuclei, whole = input_1[..., :1], input_1[..., 1:]
        heads = [self.inner(whole), self.classes(whole), self.inner(nuclei), self.classes(nuclei)]
        return {f"semantic_{place}": head for place, head in enumerate(heads)}

    def retina_mask(self, input_1: Any) -> dict[str, Any]:
        tf, size = self.tf, self.tf.shape(input_1)
        down, across = size[1] // SQUARE, size[2] // SQUARE
        y, x = tf.meshgrid(tf.range(down), tf.range(across), indexing="ij")
        corners = tf.cast(tf.reshape(tf.stack([x, y], -1), (-1, 2)) * SQUARE, tf.float32)
        boxes = tf.concat([corners, corners + SQUARE], axis=-1)
        side = tf.cast(size[1:3], tf.float32)
        relative = tf.gather(boxes, [1, 0, 3, 2], axis=1) / tf.concat([side, side], 0)
        count, batch = down * across, size[0]
        owner = tf.repeat(tf.range(batch), count)
        crops = tf.image.crop_and_resize(
            self.cells(input_1), tf.tile(relative, (batch, 1)), owner, (28, 28)
        )
        masks = tf.reshape(crops, (batch, count, 28, 28, 1))
        share = tf.reduce_mean(masks, axis=(2, 3, 4))
        return {
            "filtered_detections": tf.tile(boxes[None], (batch, 1, 1)),
            "filtered_detections_1": tf.where(share > 0.05, 0.9, -1.0),
            "filtered_detections_2": tf.where(share > 0.05, 0, -1),
            "filtered_detections_3": masks,
            "semantic_0": self.classes(input_1),
        }


def _models(tf: Any) -> Models:
    def spec(name: str, *shape: int | None) -> list[Any]:
        return [tf.TensorSpec(shape, tf.float32, name=name)]

    heads = _Heads(tf)
    return {
        "DeepCellNuclear": {1: (heads.nuclear, spec("input_1", None, None, None, 1))},
        "DeepCellFixed": {1: (heads.fixed, spec("image_input", None, 512, 512, 1))},
        "DeepCellMultiplex": {1: (heads.multiplex, spec("input_1", None, 256, 256, 2))},
        "DeepCellRetinaMask": {1: (heads.retina_mask, spec("input_1", None, None, None, 1))},
    }


def _main(folder: Path, names: Sequence[str]) -> None:
    import tensorflow as tf

    save_models(_models(tf), folder, names)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
