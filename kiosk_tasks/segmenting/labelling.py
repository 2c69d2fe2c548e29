"""From a model's heads to cells with numbers, by the postprocessing's name."""

from __future__ import annotations

from collections.abc import Callable

from kiosk_tasks.imaging.labels import Labels, WatershedParams, deep_watershed
from kiosk_tasks.imaging.values import Heads
from kiosk_tasks.segmenting.heads import interior_of, is_ours, missing_heads, roles_of

__all__ = ["NUCLEI", "label_cells"]

# Chosen on training and synthetic images (models/nuclear/README.md).
NUCLEI = WatershedParams(maxima_depth=0.06, interior_threshold=0.55, least_interior=0.7)


def label_cells(heads: Heads, postprocess: str) -> Labels:
    """Return the cells at the heads' size, (Y, X) int32; 0 is background, cells are 1..n.

    postprocess: a key of `POSTPROCESSING`.
    Raises ModelMismatch if the model's heads are not what it needs.
    """
    return POSTPROCESSING[postprocess](heads)


def _deep_watershed(heads: Heads) -> Labels:
    if is_ours(heads.planes):
        return _ours(heads)
    roles = roles_of({name: plane.shape[-1] for name, plane in heads.planes.items()})
    second = next((r for r in ("outer distance", "pixelwise classes") if r in roles), None)
    missing = [] if "inner distance" in roles else ["an inner distance (1 channel)"]
    if second is None:
        missing.append("an outer distance (1 channel) or pixelwise classes (2 to 4 channels)")
    if missing or second is None:
        raise missing_heads(missing, heads)
    interior = interior_of(heads.planes[roles[second]])
    inner = heads.planes[roles["inner distance"]][..., 0]
    return deep_watershed(inner, interior, params=WatershedParams.nuclear())


def _ours(heads: Heads) -> Labels:
    names = ("inner_distance", "outer_distance", "foreground")
    missing = [repr(name) for name in names if name not in heads.planes]
    if missing:
        raise missing_heads(missing, heads)
    inner, outer, foreground = (heads.planes[name][..., 0] for name in names)
    return deep_watershed((inner + outer) / 2, foreground, params=NUCLEI)


POSTPROCESSING: dict[str, Callable[[Heads], Labels]] = {"deep_watershed": _deep_watershed}
