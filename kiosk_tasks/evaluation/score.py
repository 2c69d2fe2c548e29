"""Scores of cells, tracks and spots: of each image, and of all together."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from typing import TypeVar

import numpy as np

from kiosk_tasks.errors import InvalidAxes, UserError
from kiosk_tasks.evaluation.pairs import Kind, Pair
from kiosk_tasks.evaluation.read import (
    TRACK_TABLES,
    read_labels,
    read_spots,
    read_tracks,
    refuse_mask,
)
from kiosk_tasks.evaluation.report import ALL, Figures, Report
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.scoring.cells import IOU_THRESHOLDS, CellScore, score_cells
from kiosk_tasks.scoring.plots import Chart
from kiosk_tasks.scoring.spots import SpotScores, score_spots
from kiosk_tasks.scoring.tracks import TrackScores, score_tracks

__all__ = ["CELLS", "SPOTS", "TRACKS", "score"]

SPOT_RADII = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
"""Radii of the curve of spots, px, beside the one that is asked for."""
CELLS = Kind("cells", ("_labels.ome.tif",), (".tif", ".tiff", ".png"))
SPOTS = Kind("spots", ("_spots.csv",), (".csv",))
TRACKS = Kind(
    "tracks",
    ("_tracked.ome.tif", "_labels.ome.tif", ".trk"),
    (".trk", ".trks", ".tif", ".tiff"),
    TRACK_TABLES,
)

_NONE = np.zeros((0, 2))


def score(kind: Kind, pairs: Iterable[Pair], *, radius: float = 3.0) -> Report:
    """Score each result against its truth.

    radius: how far a found spot may lie from the true one, px.
    What is wrong with one pair becomes a sentence among `problems`; the others are scored.
    """
    return _SCORERS[kind.name](list(pairs), radius)


def _cells(pairs: list[Pair], _radius: float) -> Report:
    def one(pair: Pair) -> CellScore:
        found = read_labels(pair.result)
        truth = read_labels(pair.truth, axes=found.axes)
        refuse_mask(truth.data, pair.truth.name)
        if truth.data.shape != found.data.shape:
            raise InvalidAxes(
                f"{pair.truth.name} has {_px(truth)}, {pair.result.name} has {_px(found)}; "
                "a truth has the size of its image."
            )
        planes = (image.data.reshape(-1, *image.data.shape[-2:]) for image in (truth, found))
        return sum((score_cells(t, f) for t, f in zip(*planes, strict=True)), CellScore())

    scores, problems = _each(pairs, one)
    pooled = {
        name: sum((scores[pair.name] for pair in some), CellScore())
        for name, some in _by_part([pair for pair in pairs if pair.name in scores]).items()
    }
    shown = {
        "truth": "true",
        "found": "found",
        "f1_50": "F1@.5",
        "f1_75": "F1@.75",
        "mean_f1": "mean F1",
        "mean_ap": "mean AP",
        "panoptic_quality": "PQ",
    }
    curves = [{name: s.f1 for name, s in group.items()} for group in (scores, pooled)]
    figures = [{n: _cell_figures(s) for n, s in group.items()} for group in (scores, pooled)]
    chart = Chart("intersection over union", IOU_THRESHOLDS, "F1", *curves)
    return Report(figures[0], figures[1], shown, chart, problems)


def _by_part(pairs: list[Pair]) -> dict[str, list[Pair]]:
    """Group pairs by the part of the image they show; nuclei and whole cells are not one thing."""
    parts = sorted({pair.part for pair in pairs})
    if len(parts) < 2:
        return {ALL: pairs}
    return {f"{ALL} {part}".rstrip(): [p for p in pairs if p.part == part] for part in parts}


def _px(image: Image) -> str:
    return " × ".join(map(str, image.data.shape)) + " px"


def _cell_figures(score: CellScore) -> Figures:
    at = IOU_THRESHOLDS.index
    curve = zip(IOU_THRESHOLDS, score.f1, strict=True)
    return {
        "truth": score.true,
        "found": score.found,
        "matched": score.matched[0],
        "split": score.split,
        "merged": score.merged,
        "precision_50": score.precision[0],
        "recall_50": score.recall[0],
        **{f"f1_{round(100 * threshold)}": f1 for threshold, f1 in curve},
        "mean_f1": score.mean_f1,
        "ap_50": score.ap[0],
        "ap_75": score.ap[at(0.75)],
        "mean_ap": score.mean_ap,
        "panoptic_quality": score.panoptic_quality,
        "mean_iou": None if math.isnan(score.mean_iou) else score.mean_iou,
    }


def _tracks(pairs: list[Pair], _radius: float) -> Report:
    def one(pair: Pair) -> TrackScores:
        truth, found = read_tracks(pair.truth), read_tracks(pair.result)
        return score_tracks(truth.frames, truth.table, found.frames, found.table)

    scores, problems = _each(pairs, one)
    rows: dict[str, Figures] = {name: asdict(movie) for name, movie in scores.items()}
    pooled = {ALL: _of_all_tracks(list(rows.values()))}
    drawn = {"tra": "TRA", "det": "DET", "lnk": "LNK", "seg": "SEG", "division_f1": "division F1"}
    lines = [
        {name: tuple(_or_nan(row[key]) for key in drawn) for name, row in group.items()}
        for group in (rows, pooled)
    ]
    shown = {key: heading for key, heading in drawn.items() if key != "lnk"}
    shown |= {"divisions": "divisions", "divisions_found": "found", "divisions_right": "right"}
    chart = Chart("", tuple(drawn.values()), "score", *lines)
    return Report(rows, pooled, shown, chart, problems)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _of_all_tracks(rows: list[Figures]) -> Figures:
    """Take the mean over movies; divisions are pooled, since many movies have few."""
    pooled: Figures = {}
    for key in TrackScores.__dataclass_fields__:
        values = [v for row in rows if (v := row[key]) is not None]
        counted = key.startswith("divisions")
        pooled[key] = (sum(values) if counted else float(np.mean(values))) if values else None
    both = (pooled["divisions"] or 0) + (pooled["divisions_found"] or 0)
    pooled["division_f1"] = 2 * (pooled["divisions_right"] or 0) / both if both else None
    return pooled


def _spots(pairs: list[Pair], radius: float) -> Report:
    radii = tuple(sorted({*SPOT_RADII, radius}))

    def one(pair: Pair) -> dict[float, SpotScores]:
        truth, found = read_spots(pair.truth), read_spots(pair.result)
        _check_planes(pair, truth.keys(), found.keys())
        planes = [(truth.get(p, _NONE), found.get(p, _NONE)) for p in truth.keys() | found.keys()]
        return {
            r: _pooled_spots([score_spots(t, f, radius_px=r) for t, f in planes]) for r in radii
        }

    scores, problems = _each(pairs, one)
    pooled = {ALL: {r: _pooled_spots([s[r] for s in scores.values()]) for r in radii}}
    shown = {
        "truth": "true",
        "found": "found",
        "matched": "matched",
        "precision": "precision",
        "recall": "recall",
        "f1": f"F1@{radius:g} px",
        "rmse_px": "RMSE, px",
    }
    groups = (scores, pooled)
    lines = [{n: tuple(s[r].f1 for r in radii) for n, s in group.items()} for group in groups]
    figures: list[dict[str, Figures]] = [
        {name: asdict(s[radius]) for name, s in group.items()} for group in groups
    ]
    chart = Chart("radius, px", radii, "F1", lines[0], lines[1])
    return Report(figures[0], figures[1], shown, chart, problems)


def _check_planes(pair: Pair, truth: Collection[int], found: Collection[int]) -> None:
    if truth and found and (-1 in truth) != (-1 in found):
        names = [pair.truth.name, pair.result.name]
        without, with_planes = names if -1 in truth else reversed(names)
        raise InvalidAxes(
            f"{with_planes} says of which frame or plane each spot is, {without} does not; give "
            "both a column frame, or neither."
        )


def _pooled_spots(scores: list[SpotScores]) -> SpotScores:
    truth, found, matched = (
        sum(getattr(s, key) for s in scores) for key in ("truth", "found", "matched")
    )
    squares = sum(s.matched * s.rmse_px**2 for s in scores if s.rmse_px is not None)
    nothing = not truth + found
    return SpotScores(
        truth,
        found,
        matched,
        precision=1.0 if nothing else matched / max(found, 1),
        recall=1.0 if nothing else matched / max(truth, 1),
        f1=1.0 if nothing else 2 * matched / (truth + found),
        rmse_px=math.sqrt(squares / matched) if matched else None,
    )


S = TypeVar("S")


def _each(pairs: list[Pair], one: Callable[[Pair], S]) -> tuple[dict[str, S], list[str]]:
    """Score pair by pair; what cannot be scored becomes a sentence."""
    scores, problems = {}, []
    for pair in pairs:
        try:
            scores[pair.name] = one(pair)
        except UserError as exc:
            problems.append(f"{pair.name}: {exc}")
    return scores, problems


_SCORERS: Mapping[str, Callable[[list[Pair], float], Report]] = {
    CELLS.name: _cells,
    SPOTS.name: _spots,
    TRACKS.name: _tracks,
}
