"""Score the exported model: `python -m models.nuclear.evaluate --real ARCHIVE --model FOLDER/1`."""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from kiosk_tasks.imaging.labels import Labels
from models.nuclear.baseline import otsu_watershed
from models.nuclear.predict import Recipe, Segmenter
from models.nuclear.real import RealImage, load_real, median_diameter, read_ids
from models.nuclear.scoring import IOU_LEVELS, Counts, count_matches

__all__ = ["evaluate", "score", "score_zooms", "table"]

ALL = "all"
ZOOMS = (0.35, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
DIAMETER_BINS = (5, 8, 12, 17, 24, 34, 48, 68, 96, 136, 192)  # px, as the network sees them


def evaluate(real: Path, model: Path, *, zooms: bool = False, scores: Path | None = None) -> None:
    """Score a model on the validation images; print tables, and write them as JSON if asked."""
    validation = read_ids()
    images = [image for image in load_real(real) if image.identity in validation]
    segmenter, recipe = Segmenter(model), Recipe()
    columns = {
        "model": score(images, method=partial(segmenter.label, recipe=recipe)),
        "Otsu + watershed": score(images, method=otsu_watershed),
    }
    print(table(columns))
    result = {name: _plain(column) for name, column in columns.items()}
    if zooms:
        by_zoom, by_diameter = score_zooms(images, segmenter=segmenter, recipe=recipe)
        print(table({"zoom": by_zoom}))
        print(table({"diameter seen, px": by_diameter}))
        result |= {"by zoom": _plain(by_zoom), "by diameter seen": _plain(by_diameter)}
    if scores:
        scores.write_text(json.dumps(result, indent=1) + "\n", encoding="ascii")


def score(images: Iterable[RealImage], *, method: Callable[[Any], Labels]) -> dict[str, Counts]:
    """Pool matches by acquisition, and over all."""
    groups: dict[str, Counts] = defaultdict(Counts)
    for image in images:
        counts = count_matches(image.labels, method(image.pixels))
        groups[image.acquisition] += counts
        groups[ALL] += counts
    return dict(sorted(groups.items()))


def score_zooms(
    images: Sequence[RealImage], *, segmenter: Segmenter, recipe: Recipe
) -> tuple[dict[str, Counts], dict[str, Counts]]:
    """Pool matches by zoom, and by the median nucleus diameter that the network saw.

    Each image is enlarged or shrunk, segmented, and its labels are brought back to its own size.
    """
    by_zoom: dict[str, Counts] = defaultdict(Counts)
    by_diameter: dict[str, Counts] = defaultdict(Counts)
    for image in images:
        for zoom in ZOOMS:
            labels = segmenter.label(image.pixels, recipe=recipe, zoom=zoom)
            counts = count_matches(image.labels, labels)
            by_zoom[f"{zoom:g}"] += counts
            seen = zoom * median_diameter(image.labels)
            for low, high in pairwise(DIAMETER_BINS):
                if low <= seen < high:
                    by_diameter[f"{low}-{high}"] += counts
    return by_zoom, by_diameter


def table(columns: Mapping[str, Mapping[str, Counts]]) -> str:
    """Lay out scores as Markdown: a row per group, `F1@0.5 / mean F1` per method."""
    groups = sorted({group for column in columns.values() for group in column}, key=_order)
    lines = ["| | nuclei | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for group in groups:
        cells = [column[group] for column in columns.values()]
        texts = [f"{counts.f1[0]:.3f} / {counts.mean_f1:.3f}" for counts in cells]
        lines.append(f"| {group} | {cells[0].true} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def _order(group: str) -> tuple[bool, float, str]:
    """Diameters and zooms by their number, other groups by name, the sum last."""
    first = group.split("-")[0]
    return (group == ALL, float(first) if first.replace(".", "").isdigit() else 0.0, group)


def _plain(counts: Mapping[str, Counts]) -> dict[str, Any]:
    return {
        group: {
            "nuclei": pooled.true,
            **{f"f1@{t}": round(f, 4) for t, f in zip(IOU_LEVELS, pooled.f1, strict=True)},
            "mean_f1": round(pooled.mean_f1, 4),
        }
        for group, pooled in counts.items()
    }


def main() -> None:
    """Read the command line and evaluate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=Path, required=True, help="archive of real images")
    parser.add_argument("--model", type=Path, required=True, help="version folder of the model")
    parser.add_argument("--zooms", action="store_true", help="score zoomed images too (slow)")
    parser.add_argument("--scores", type=Path, help="JSON file to write")
    options = parser.parse_args()
    evaluate(options.real, options.model, zooms=options.zooms, scores=options.scores)


if __name__ == "__main__":
    main()
