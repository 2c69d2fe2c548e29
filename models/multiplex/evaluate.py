"""Score the exported model: `python -m models.multiplex.evaluate --model FOLDER/1`.

On simulated tissue whose seeds neither training nor the choice of settings has drawn.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.labels import Labels, WatershedParams, deep_watershed
from kiosk_tasks.imaging.values import Heads
from kiosk_tasks.segmenting.heads import COMPARTMENTS, Compartment, multiplex_heads
from kiosk_tasks.segmenting.multiplex import label_compartment
from models.multiplex.predict import heads_of, load
from models.multiplex.tissue import Tissue, draw_tissue
from models.nuclear.baseline import otsu_watershed
from models.nuclear.scoring import IOU_LEVELS, Counts, count_matches

__all__ = ["FRESH_SEED", "METHODS", "evaluate", "truth_of"]

FRESH_SEED = 880_000_000  # far from the seeds of training and of `tune`
SIZE = 256  # px, side of a field

Method = Callable[[Heads, Compartment], Labels]


def evaluate(model: Path, *, count: int = 24, out: Path | None = None) -> dict[str, Any]:
    """Score methods on fresh fields; print a table, and write it as JSON if asked."""
    signature = load(model)
    scores: dict[str, Any] = {}
    pooled = {(name, part): Counts() for name in METHODS for part in COMPARTMENTS}
    for seed in range(FRESH_SEED, FRESH_SEED + count):
        tissue = draw_tissue(np.random.default_rng(seed), size=SIZE)
        heads = heads_of(signature, tissue.image)
        row = {}
        for name, part in pooled:
            counts = count_matches(truth_of(tissue, part), METHODS[name](heads, part))
            pooled[name, part] += counts
            row[f"{part}, {name}"] = round(counts.f1[0], 4)
        print(seed, row, flush=True)
        scores[str(seed)] = row
    scores["all"] = {f"{part}, {name}": plain(pooled[name, part]) for name, part in pooled}
    print(table(scores["all"]))
    if out:
        out.write_text(json.dumps(scores, indent=1) + "\n", encoding="ascii")
    return scores


def truth_of(tissue: Tissue, compartment: Compartment) -> NDArray[np.int32]:
    """Return the truth of a compartment."""
    return tissue.whole_cell if compartment == "whole-cell" else tissue.nuclear


def plain(counts: Counts) -> dict[str, float]:
    """Return counts and scores as plain numbers."""
    levels = {f"f1@{t}": round(f, 4) for t, f in zip(IOU_LEVELS, counts.f1, strict=True)}
    return {"cells": counts.true, **levels, "mean_f1": round(counts.mean_f1, 4)}


def table(rows: dict[str, dict[str, float]]) -> str:
    """Lay out scores as Markdown."""
    heads = list(next(iter(rows.values())))
    lines: Iterable[str] = (
        f"| {name} | " + " | ".join(str(row[head]) for head in heads) + " |"
        for name, row in rows.items()
    )
    return "\n".join(["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|", *lines])


def _published(heads: Heads, compartment: Compartment) -> Labels:
    inner, interior = multiplex_heads(heads, [compartment])[compartment]
    return deep_watershed(inner, interior, params=WatershedParams.mesmer(compartment))


def _otsu(heads: Heads, compartment: Compartment) -> Labels:
    """Threshold the nuclear channel or, for whole cells, the brighter of both."""
    pixels = heads.image.data
    planes = pixels / np.percentile(pixels, 99.9, axis=(0, 1))
    return otsu_watershed(planes[..., 0] if compartment == "nuclear" else planes.max(-1))


METHODS: dict[str, Method] = {
    "this model": label_compartment,
    "its heads, DeepCell's settings": _published,
    "Otsu + watershed": _otsu,
}


def main() -> None:
    """Read the command line and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="version folder of the model")
    parser.add_argument("--count", type=int, default=24, help="fields")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    evaluate(options.model, count=options.count, out=options.out)


if __name__ == "__main__":
    main()
