"""From a model's heads to cells with numbers, by the postprocessing's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.imaging.boxes import Detections, best_boxes, label_boxes, label_masks
from kiosk_tasks.imaging.labels import Labels, WatershedParams, deep_watershed
from kiosk_tasks.imaging.postprocessing import (
    distance_watershed,
    grown_interiors,
    split_interiors,
)
from kiosk_tasks.imaging.scale import scaled_shape
from kiosk_tasks.imaging.values import Heads
from kiosk_tasks.segmenting.heads import (
    Plane,
    Role,
    edge_of,
    interior_of,
    is_ours,
    missing_heads,
    roles_of,
)

__all__ = ["NUCLEI", "POSTPROCESSING", "RAW", "label_cells"]

RAW = "none"
"""The postprocessing that leaves a model's outputs as they are."""

# Chosen on training and synthetic images (models/nuclear/README.md).
NUCLEI = WatershedParams(maxima_depth=0.06, interior_threshold=0.55, least_interior=0.7)

# The published thresholds: on an outer distance that of NuclearSegmentation, on the interior class
# of a pixelwise head that of MultiplexSegmentation.
ON_DISTANCE = WatershedParams.nuclear()
ON_CLASSES = replace(ON_DISTANCE, interior_threshold=0.2)

_INNER = "an inner distance (1 channel)"
_INTERIOR = "pixelwise classes (2 to 4 channels)"


def label_cells(heads: Heads, postprocess: str) -> Labels:
    """Return the cells at the heads' size, (Y, X) int32; 0 is background, cells are 1..n.

    postprocess: a key of `POSTPROCESSING`.
    Raises ModelMismatch if the model's heads are not what it needs, InvalidParameter for `RAW`.
    """
    if postprocess == RAW:
        raise InvalidParameter(
            'postprocess "none" leaves no cells, and this job needs them. Name another postprocess.'
        )
    return POSTPROCESSING[postprocess](heads)


def _deep_watershed(heads: Heads) -> Labels:
    if is_ours(heads.planes):
        inner, outer, foreground = _ours(heads)
        return deep_watershed((inner + outer) / 2, foreground, params=NUCLEI)
    roles = _roles(heads)
    seconds: tuple[Role, ...] = ("outer distance", "pixelwise classes")
    second = next((role for role in seconds if role in roles), None)
    missing = [] if "inner distance" in roles else [_INNER]
    missing += [] if second else [f"an outer distance (1 channel) or {_INTERIOR}"]
    if missing or second is None:
        raise missing_heads(missing, heads)
    inner = heads.planes[roles["inner distance"]][..., 0]
    interior = interior_of(heads.planes[roles[second]])
    on = ON_DISTANCE if second == "outer distance" else ON_CLASSES
    return deep_watershed(inner, interior, params=on)


def _watershed(heads: Heads) -> Labels:
    return distance_watershed(interior_of(_classes(heads)))


def _pixelwise(heads: Heads) -> Labels:
    classes = _classes(heads)
    return grown_interiors(interior_of(classes), edge_of(classes))


def _mibi(heads: Heads) -> Labels:
    classes = _classes(heads)
    return split_interiors(interior_of(classes), edge_of(classes))


def _retinanet(heads: Heads) -> Labels:
    found = _detections(heads)
    if 0 in found.masks.shape[1:]:
        raise missing_heads(["masks"], heads)
    height, width = heads.image.data.shape
    return label_masks(best_boxes(found), scaled_shape((height, width), heads.scale.factor))


def _retinanet_semantic(heads: Heads) -> Labels:
    return label_boxes(best_boxes(_detections(heads)), interior_of(_classes(heads)))


def _ours(heads: Heads) -> list[Plane]:
    names = ("inner_distance", "outer_distance", "foreground")
    missing = [repr(name) for name in names if name not in heads.planes]
    if missing:
        raise missing_heads(missing, heads)
    return [heads.planes[name][..., 0] for name in names]


def _roles(heads: Heads) -> dict[Role, str]:
    return roles_of({name: plane.shape[-1] for name, plane in heads.planes.items()})


def _classes(heads: Heads) -> Plane:
    roles = _roles(heads)
    wanted: tuple[Role, ...] = ("pixelwise classes", "foreground")
    role = next((role for role in wanted if role in roles), None)
    if role is None:
        raise missing_heads([_INTERIOR], heads)
    return heads.planes[roles[role]]


def _detections(heads: Heads) -> Detections:
    if heads.detections is None:
        raise missing_heads(["boxes (N, 4) with scores"], heads)
    return heads.detections


POSTPROCESSING: Mapping[str, Callable[[Heads], Labels]] = {
    "deep_watershed": _deep_watershed,
    "watershed": _watershed,
    "pixelwise": _pixelwise,
    "mibi": _mibi,
    "retinanet": _retinanet,
    "retinanet-semantic": _retinanet_semantic,
}
