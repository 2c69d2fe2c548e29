"""Choose how heads become cells: `python -m models.multiplex.tune --model FOLDER/1`.

Scores a grid on simulated tissue of seeds that neither training nor `evaluate` draws.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np

from kiosk_tasks.imaging.labels import WatershedParams, deep_watershed
from kiosk_tasks.segmenting.heads import COMPARTMENTS
from models.multiplex.evaluate import truth_of
from models.multiplex.predict import heads_of, load
from models.multiplex.tissue import draw_tissue
from models.nuclear.scoring import Counts, count_matches

__all__ = ["main"]

SEED = 990_000_000
GRID = {
    "inner_share": (0.25, 0.5, 0.75),  # of the blend with the interior in which maxima are sought
    "maxima_depth": (0.04, 0.06, 0.1),
    "interior_threshold": (0.4, 0.5),
    "least_interior": (0.0, 0.7, 0.8),
}


def main() -> None:
    """Read the command line, print the best recipes of each compartment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="version folder of the model")
    parser.add_argument("--count", type=int, default=40, help="fields")
    options = parser.parse_args()
    signature = load(options.model)
    fields = [draw_tissue(np.random.default_rng(SEED + i)) for i in range(options.count)]
    heads = [heads_of(signature, field.image).planes for field in fields]
    for part in COMPARTMENTS:
        prefix = part.replace("-", "_")
        ranked = []
        for share, depth, threshold, least in product(*GRID.values()):
            params = WatershedParams(
                maxima_depth=depth, interior_threshold=threshold, least_interior=least
            )
            counts = Counts()
            for field, planes in zip(fields, heads, strict=True):
                inner = planes[f"{prefix}_inner_distance"][..., 0]
                classes = planes[f"{prefix}_pixelwise"]
                maxima = share * inner + (1 - share) * classes[..., 1]
                labels = deep_watershed(maxima, 1 - classes[..., 0], params=params)
                counts += count_matches(truth_of(field, part), labels)
            ranked.append((counts.f1[0], counts.mean_f1, share, depth, threshold, least))
        print(part)
        for row in sorted(ranked, key=lambda row: -row[0] - row[1])[:12]:
            print("  ".join(f"{number:.4g}" for number in row))


if __name__ == "__main__":
    main()
