"""Choose the post-processing: `python -m models.nuclear.tune --real ARCHIVE --model FOLDER/1`.

Scores a grid on training images and on synthetic images that training did not draw; the validation
images stay unseen. Prints the best recipes by the mean of both mean F1 scores.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.labels import WatershedParams
from models.nuclear.predict import Heads, Recipe, Segmenter
from models.nuclear.real import load_real, read_ids
from models.nuclear.scoring import Counts, count_matches
from models.nuclear.synth import draw_image

__all__ = ["Case", "rank_recipes"]

GRID = {
    "inner_share": (0.25, 0.5, 0.6),
    "least_interior": (0.0, 0.7, 0.75),
    "maxima_depth": (0.05, 0.06, 0.08),
    "interior_threshold": (0.5, 0.55, 0.6),
}
SYNTHETIC_SEED = 990_000_000  # far from the seeds of training


@dataclass(frozen=True)
class Case:
    """Heads of one image and its truth."""

    heads: Heads
    truth: NDArray[np.integer]


def rank_recipes(groups: Sequence[Sequence[Case]]) -> list[tuple[float, Recipe, list[Counts]]]:
    """Score every recipe of the grid; best mean over the groups first."""
    ranked = []
    for inner_share, least_interior, depth, threshold in product(*GRID.values()):
        watershed = WatershedParams(
            maxima_depth=depth, interior_threshold=threshold, least_interior=least_interior
        )
        recipe = Recipe(inner_share, watershed)
        pooled = [
            sum((count_matches(case.truth, recipe(case.heads)) for case in group), Counts())
            for group in groups
        ]
        ranked.append((float(np.mean([counts.mean_f1 for counts in pooled])), recipe, pooled))
    return sorted(ranked, key=lambda entry: -entry[0])


def _synthetic_cases(segmenter: Segmenter, count: int) -> list[Case]:
    cases = []
    for index in range(count):
        image, labels = draw_image(np.random.default_rng(SYNTHETIC_SEED + index))
        cases.append(Case(segmenter.heads(image), labels))
    return cases


def main() -> None:
    """Read the command line, print the ten best recipes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--count", type=int, default=40, help="images of each kind")
    options = parser.parse_args()
    segmenter, validation = Segmenter(options.model), read_ids()
    images = [image for image in load_real(options.real) if image.identity not in validation]
    images = images[:: max(1, len(images) // options.count)]
    real = [Case(segmenter.heads(image.pixels), image.labels) for image in images]
    groups = (real, _synthetic_cases(segmenter, options.count))
    for mean, recipe, pooled in rank_recipes(groups)[:10]:
        scores = ", ".join(f"{counts.f1[0]:.3f} / {counts.mean_f1:.3f}" for counts in pooled)
        print(f"{mean:.4f}  {scores}  {recipe}")


if __name__ == "__main__":
    main()
