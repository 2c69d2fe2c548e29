"""Models are judged by their signature before they are deployed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from kiosk_tasks.errors import UnusableModel
from kiosk_tasks.ports import Signature, TensorSpec
from kiosk_tasks.serving.fitness import check_fitness

Shape = tuple[int, ...] | None
ANY = (-1, -1, -1, 1)


def signature(
    inputs: dict[str, Shape], outputs: dict[str, Shape], dtype: Any = np.float32
) -> Signature:
    def specs(shapes: dict[str, Shape]) -> dict[str, TensorSpec]:
        return {name: TensorSpec(name, np.dtype(dtype), shape) for name, shape in shapes.items()}

    return Signature("M", 1, specs(inputs), specs(outputs))


@pytest.mark.parametrize("shape", [ANY, (-1, 512, 512, 1), (-1, 256, 256, 2), (-1, -1, -1, -1)])
def test_models_of_images_are_fit(shape: tuple[int, ...]) -> None:
    assert check_fitness(signature({"image": shape}, {"a": (*shape[:3], 3), "b": None})) == ()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (None, "of unknown rank"),
        ((-1, 4), r"of shape \(any, 4\); an image is"),
        ((-1, 5, 64, 64, 1), "an image is"),
        ((4, 64, 64, 1), "in batches of exactly 4"),
        ((-1, 1, 512, 512), "looks like channels first"),
        ((-1, 2, -1, -1), "looks like channels first"),
        ((-1, 512, 256, 1), "tiles are square"),
    ],
)
def test_other_inputs_are_refused_with_a_sentence(shape: Shape, words: str) -> None:
    with pytest.raises(UnusableModel, match=words):
        check_fitness(signature({"image": shape}, {"a": ANY}))


def test_pixels_are_float32() -> None:
    with pytest.raises(UnusableModel, match="as uint8; stages send float32"):
        check_fitness(signature({"image": ANY}, {"a": ANY}, dtype=np.uint8))


def test_something_must_come_out() -> None:
    with pytest.raises(UnusableModel, match="no outputs"):
        check_fitness(signature({"image": ANY}, {}))
    with pytest.raises(UnusableModel, match="no inputs"):
        check_fitness(signature({}, {"a": ANY}))


def test_several_inputs_and_other_outputs_are_noted() -> None:
    (several,) = check_fitness(signature({"a": (-1, 3), "b": (-1,)}, {"c": (-1, 3)}))
    assert "takes 2 inputs (a, b)" in several
    notes = check_fitness(
        signature({"image": (-1, 64, 64, 1)}, {"scale": (-1, 1), "small": (-1, 32, 32, 1)})
    )
    assert ["scale (any, 1) is no image" in notes[0], "Y and X" in notes[1]] == [True, True]
