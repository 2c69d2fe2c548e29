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
from kiosk_tasks.ports import Signature
from kiosk_tasks.segmenting.heads import (
    Plane,
    Role,
    channels_of,
    edge_of,
    interior_of,
    is_ours,
    missing_heads,
    roles_of,
)

__all__ = ["NUCLEI", "POSTPROCESSING", "RAW", "label_cells", "needed_outputs", "with_labels"]

RAW = "none"
"""The postprocessing that leaves a model's outputs as they are."""

# Chosen on training and synthetic images (models/nuclear/README.md).
NUCLEI = WatershedParams(maxima_depth=0.06, interior_threshold=0.55, least_interior=0.7)

# The published thresholds: on an outer distance that of NuclearSegmentation, on the interior class
# of a pixelwise head that of MultiplexSegmentation.
ON_DISTANCE = WatershedParams.nuclear()
ON_CLASSES = replace(ON_DISTANCE, interior_threshold=0.2)

_OURS = ("inner_distance", "outer_distance", "foreground")
_SECONDS: tuple[Role, ...] = ("outer distance", "pixelwise classes")
_INSIDE: tuple[Role, ...] = ("pixelwise classes", "foreground")
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
    if heads.labelled is not None and heads.labelled[0] == postprocess:
        return heads.labelled[1]
    return POSTPROCESSING[postprocess](heads)


def with_labels(heads: Heads, postprocess: str) -> Heads:
    """Return the heads with their cells, so that `label_cells` need not make them again."""
    return replace(heads, labelled=(postprocess, label_cells(heads, postprocess)))


def needed_outputs(signature: Signature, postprocess: str) -> tuple[str, ...]:
    """Return which outputs `label_cells` reads, so that the others need not be stitched.

    postprocess: as for `label_cells`. Returns none where all are needed, or where the signature
    does not tell: then `label_cells` finds out with all of them.
    """
    if postprocess not in ("deep_watershed", "watershed", "pixelwise", "mibi"):
        return ()
    channels = channels_of(signature)
    deep = postprocess == "deep_watershed"
    if deep and is_ours(channels):
        return _OURS if set(_OURS) <= set(channels) else ()
    roles = roles_of(channels)
    second = next((role for role in (_SECONDS if deep else _INSIDE) if role in roles), None)
    wanted: list[Role] = ["inner distance"] if deep else []
    wanted += [second] if second else []
    if not second or -1 in channels.values() or not set(wanted) <= set(roles):
        return ()
    names = tuple(roles[role] for role in wanted)
    again = roles_of({name: channels[name] for name in names})
    return names if all(again.get(role) == roles[role] for role in wanted) else ()


def _deep_watershed(heads: Heads) -> Labels:
    if is_ours(heads.planes):
        inner, outer, foreground = _ours(heads)
        return deep_watershed((inner + outer) / 2, foreground, params=NUCLEI)
    roles = _roles(heads)
    second = next((role for role in _SECONDS if role in roles), None)
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
    missing = [repr(name) for name in _OURS if name not in heads.planes]
    if missing:
        raise missing_heads(missing, heads)
    return [heads.planes[name][..., 0] for name in _OURS]


def _roles(heads: Heads) -> dict[Role, str]:
    return roles_of({name: plane.shape[-1] for name, plane in heads.planes.items()})


def _classes(heads: Heads) -> Plane:
    roles = _roles(heads)
    role = next((role for role in _INSIDE if role in roles), None)
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
