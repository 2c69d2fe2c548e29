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
from scipy import ndimage as ndi
from skimage.filters import threshold_otsu
from skimage.segmentation import watershed

from kiosk_tasks.imaging.labels import Labels, WatershedParams, deep_watershed, resize_labels
from kiosk_tasks.imaging.scale import resize
from kiosk_tasks.imaging.values import Heads
from kiosk_tasks.segmenting.heads import COMPARTMENTS, Compartment, multiplex_heads
from kiosk_tasks.segmenting.multiplex import label_compartment
from models.multiplex.predict import heads_of, load
from models.multiplex.tissue import Tissue, draw_tissue
from models.nuclear.baseline import otsu_watershed
from models.nuclear.scoring import IOU_LEVELS, Counts, count_matches

__all__ = ["FRESH_SEED", "METHODS", "degrade", "evaluate", "truth_of"]

FRESH_SEED = 880_000_000  # far from the seeds of training and of `tune`
SIZE = 256  # px, side of a field

Method = Callable[[Heads, Compartment], Labels]
Change = Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]


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


def degrade(model: Path, *, count: int) -> dict[str, Any]:
    """Score the model on the same fields made worse; print a table."""
    signature = load(model)
    pooled = {(name, part): Counts() for name in CHANGES for part in COMPARTMENTS}
    for seed in range(FRESH_SEED, FRESH_SEED + count):
        tissue = draw_tissue(np.random.default_rng(seed), size=SIZE)
        for name, change in CHANGES.items():
            heads = heads_of(signature, change(tissue.image, np.random.default_rng(seed)))
            for part in COMPARTMENTS:
                labels = resize_labels(label_compartment(heads, part), tissue.nuclear.shape)
                pooled[name, part] += count_matches(truth_of(tissue, part), labels)
    scores = {f"{part}, {name}": plain(counts) for (name, part), counts in pooled.items()}
    print(table(scores))
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
    """Nuclei by Otsu's threshold; whole cells by a watershed of the membranes from them.

    As usual where no network is at hand: cells without a nucleus are not found.
    """
    pixels = heads.image.data
    nuclei = otsu_watershed(pixels[..., 0])
    if compartment == "nuclear":
        return nuclei
    planes = ndi.gaussian_filter(pixels / np.percentile(pixels, 99.9, axis=(0, 1)), (1, 1, 0))
    signal = np.log(planes.max(-1) + 0.01)
    inside = ndi.binary_closing(signal > threshold_otsu(signal), iterations=3) | (nuclei > 0)  # type: ignore[no-untyped-call]
    cells = watershed(planes[..., 1], nuclei, mask=ndi.binary_fill_holes(inside))  # type: ignore[no-untyped-call]
    return np.asarray(cells, np.int32)


def _blurred(sigma: float) -> Change:
    return lambda pixels, _rng: ndi.gaussian_filter(pixels.astype(float), (sigma, sigma, 0))


def _darker(photons: float) -> Change:
    """Record the image anew with so many photons at its brightest pixels."""
    return lambda pixels, rng: rng.poisson(
        pixels * (photons / np.percentile(pixels, 99, axis=(0, 1)))
    )


def _zoomed(factor: float) -> Change:
    """Show the image at a wrong pixel size; its labels are brought back before they are scored."""
    return lambda pixels, _rng: resize(pixels, factor)


CHANGES: dict[str, Change] = {
    "as drawn": lambda pixels, _rng: pixels,
    "blurred by 2 px": _blurred(2),
    "blurred by 4 px": _blurred(4),
    "30 photons": _darker(30),
    "10 photons": _darker(10),
    "pixels half as large as said": _zoomed(2),
    "pixels twice as large as said": _zoomed(0.5),
}


METHODS: dict[str, Method] = {
    "this model": label_compartment,
    "its heads, DeepCell's settings": _published,
    "Otsu and watershed": _otsu,
}


def main() -> None:
    """Read the command line and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="version folder of the model")
    parser.add_argument("--count", type=int, default=24, help="fields")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--degraded", action="store_true", help="score fields made worse instead")
    options = parser.parse_args()
    if options.degraded:
        degrade(options.model, count=options.count)
    else:
        evaluate(options.model, count=options.count, out=options.out)


if __name__ == "__main__":
    main()
