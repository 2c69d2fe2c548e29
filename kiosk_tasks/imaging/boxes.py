"""Boxes and masks of a detecting network (RetinaNet, RetinaMask), brought to label images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.imaging._watershed import watershed
from kiosk_tasks.imaging.labels import Labels, relabel
from kiosk_tasks.imaging.tiling import TileLayout

__all__ = [
    "Detections",
    "best_boxes",
    "detections_of",
    "gather",
    "is_boxes",
    "label_boxes",
    "label_masks",
]

LEAST_SCORE = 0.5
MOST_OVERLAP = 0.5  # intersection over union; of two boxes above it, the better one stays
INSIDE = 0.5  # probability above which a pixel belongs to a mask, or to a cell's interior
MARKER_SHARE = 0.5  # of a box's sides: what lies around its middle within it starts a cell


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detecting network found.

    boxes: (N, 4) float32, (y0, x0, y1, x1), px; pixel centres are whole numbers plus a half, so
        that a box of one pixel is (y, x, y + 1, x + 1).
    scores: (N,) float32, higher is surer; 0 and below stands for no detection.
    masks: (N, h, w) float32, probabilities on a grid over the box; h = w = 0 where there are none.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    masks: NDArray[np.float32]


def is_boxes(name: str, shape: Sequence[int] | None) -> bool:
    """Tell whether an output holds boxes: by its name, or as (batch, N, 4)."""
    return "box" in name.lower() or (shape is not None and len(shape) == 3 and shape[-1] == 4)


def detections_of(outputs: Mapping[str, NDArray[Any]]) -> list[Detections]:
    """Return the detections of each tile of a batch.

    outputs: as keras-retinanet and RetinaMask give them, by name: boxes (B, N, 4), x0, y0, x1, y1
        in px; scores (B, N); classes (B, N) integer, negative where there is no detection; masks
        (B, N, h, w) or (B, N, h, w, classes). Any other names will do.
    Raises KeyError with a word if there are no boxes or no scores, ModelMismatch if what there is
    does not belong together.
    """
    boxes = scores = masks = classes = None
    for name, array in outputs.items():
        if is_boxes(name, array.shape):
            boxes = array[..., [1, 0, 3, 2]].astype(np.float32)
        elif array.ndim >= 4:
            masks = array
        elif array.dtype.kind in "iu" or "label" in name.lower() or "class" in name.lower():
            classes = array
        else:
            scores = array.astype(np.float32)
    if boxes is None or scores is None:
        raise KeyError("boxes" if boxes is None else "scores")
    shape = boxes.shape[:2]
    alike = all(one is None or one.shape == shape for one in (scores, classes))
    if not (alike and boxes.ndim == 3 and (masks is None or masks.shape[:2] == shape)):
        shapes = ", ".join(f"{name} {array.shape}" for name, array in sorted(outputs.items()))
        raise ModelMismatch(
            f"the model gives {shapes}; a model that finds objects gives boxes (B, N, 4) and "
            "scores (B, N), and perhaps masks (B, N, h, w). Export it with its final detections."
        )
    if classes is not None:
        scores = np.where(classes < 0, np.float32(0), scores)
    if masks is None:
        masks = np.zeros((*scores.shape, 0, 0), np.float32)
    if masks.ndim == 5:
        masks = masks.max(axis=-1)  # a cell is a cell, of whichever class
    return [Detections(*one) for one in zip(boxes, scores, masks.astype(np.float32), strict=True)]


def gather(tiles: Sequence[Detections], layout: TileLayout) -> Detections:
    """Bring the detections of tiles to the plane; padding and cut objects are left out.

    tiles: one for each tile of the layout, in its order, with boxes in pixels of the tile.
    An object that ends at the edge of its tile, where the plane goes on, is seen whole by the
    neighbour, if it is not larger than the overlap; what the neighbours share, `best_boxes` sorts
    out.
    """
    kept = []
    for (y, x), found in zip(layout.origins, tiles, strict=True):
        boxes = found.boxes + np.array([y, x, y, x], np.float32)
        whole = (found.scores > 0) & np.isfinite(boxes).all(axis=1)
        for axis, (start, length) in enumerate(zip((y, x), layout.shape, strict=True)):
            if start > 0:
                whole &= boxes[:, axis] >= start + 1
            if start + layout.tile < length:
                whole &= boxes[:, axis + 2] <= start + layout.tile - 1
        kept.append(Detections(boxes[whole], found.scores[whole], found.masks[whole]))
    return Detections(
        np.concatenate([one.boxes for one in kept]),
        np.concatenate([one.scores for one in kept]),
        np.concatenate([one.masks for one in kept]),
    )


def best_boxes(
    found: Detections, *, least_score: float = LEAST_SCORE, most_overlap: float = MOST_OVERLAP
) -> Detections:
    """Keep the surest detection of each object, the surest first (non-maximum suppression).

    least_score: what is less sure goes. most_overlap: intersection over union with a surer one
        above which a detection goes. Of equal scores, the first comes first.
    """
    order = np.argsort(-found.scores, kind="stable")
    order = order[found.scores[order] >= least_score]
    chosen: list[int] = []
    boxes = found.boxes.astype(np.float64)
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    while order.size:
        best, rest = order[0], order[1:]
        chosen.append(int(best))
        corners = np.minimum(boxes[rest, 2:], boxes[best, 2:])
        sides = np.maximum(corners - np.maximum(boxes[rest, :2], boxes[best, :2]), 0)
        shared = sides.prod(axis=1)
        union = np.maximum(areas[rest] + areas[best] - shared, np.finfo(np.float64).tiny)
        order = rest[shared / union <= most_overlap]
    return Detections(found.boxes[chosen], found.scores[chosen], found.masks[chosen])


def label_masks(found: Detections, shape: tuple[int, int], *, inside: float = INSIDE) -> Labels:
    """Draw each detection's mask into its box; where masks meet, the surer one stays.

    found: with masks; the best boxes only, see `best_boxes`. shape: (Y, X) of the result, px.
    Returns (Y, X) int32; 0 is background, cells are 1..n in the order of their scores.
    """
    labels = np.zeros(shape, np.int32)
    for number in np.argsort(-found.scores, kind="stable"):
        rows, columns = _pixels(found.boxes[number], shape)
        target = labels[rows, columns]
        if target.size == 0:
            continue
        mask = _mask_at(found.masks[number], found.boxes[number], rows, columns)
        target[(mask > inside) & (target == 0)] = number + 1
    return _in_order(labels, found.scores)


def label_boxes(
    found: Detections, interior: NDArray[np.float32], *, inside: float = INSIDE
) -> Labels:
    """Flood the interior of cells from the middle of each box; no cell leaves its box.

    found: the best boxes only. interior: (Y, X) float32, probability of being in a cell.
    Returns (Y, X) int32; 0 is background, cells are 1..n in the order of their scores.
    """
    shape = (interior.shape[0], interior.shape[1])
    foreground = interior > inside
    markers = np.zeros(shape, np.int32)
    order = np.argsort(-found.scores, kind="stable")
    for number in order:
        rows, columns = _pixels(_shrunk(found.boxes[number]), shape)
        target = markers[rows, columns]
        target[foreground[rows, columns] & (target == 0)] = number + 1
    depth = ndimage.distance_transform_edt(foreground)
    flooded = watershed(-depth, markers, mask=foreground)
    labels = np.zeros(shape, np.int32)
    for number in order:
        rows, columns = _pixels(found.boxes[number], shape)
        own = flooded[rows, columns] == number + 1
        labels[rows, columns][own] = number + 1
    return _in_order(labels, found.scores)


def _in_order(labels: Labels, scores: NDArray[np.float32]) -> Labels:
    ranks = np.zeros(len(scores) + 1, np.int32)
    ranks[np.argsort(-scores, kind="stable") + 1] = np.arange(1, len(scores) + 1)
    return relabel(ranks[labels])


def _pixels(box: NDArray[np.float32], shape: tuple[int, int]) -> tuple[slice, slice]:
    """Return the pixels whose centres lie in a box, as rows and columns."""
    lows = [max(int(np.ceil(low - 0.5)), 0) for low in box[:2].tolist()]
    highs = [
        min(max(int(np.ceil(high - 0.5)), 0), length)
        for high, length in zip(box[2:].tolist(), shape, strict=True)
    ]
    return slice(lows[0], highs[0]), slice(lows[1], highs[1])


def _shrunk(box: NDArray[np.float32]) -> NDArray[np.float32]:
    middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * MARKER_SHARE
    return np.concatenate([middle - half, middle + half])


def _mask_at(
    mask: NDArray[np.float32], box: NDArray[np.float32], rows: slice, columns: slice
) -> NDArray[np.float32]:
    """Return a mask at the pixels of the plane, bilinearly."""
    at = []
    for low, high, length, pixels in (
        (box[0], box[2], mask.shape[0], rows),
        (box[1], box[3], mask.shape[1], columns),
    ):
        centres = np.arange(pixels.start, pixels.stop) + 0.5
        at.append((centres - low) * (length / max(float(high - low), 1e-6)) - 0.5)
    grid = np.meshgrid(*at, indexing="ij")
    return ndimage.map_coordinates(mask, grid, np.float32, order=1, mode="nearest")
