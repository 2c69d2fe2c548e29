"""Which of a model's outputs is what: by their names, their order and their channels.

Three families are known:

* ours: `inner_distance`, `outer_distance` and `foreground`, one channel each;
* those of the published DeepCell applications for nuclei, cytoplasm and phase contrast: an inner
  distance of one channel, then an outer distance of one or pixelwise classes, under any names;
* MultiplexSegmentation (Mesmer): an inner distance and pixelwise classes of whole cells, then the
  same of nuclei (Greenwald et al. 2022, Nature Biotechnology 40:555).

What a pixelwise head's channels are follows from their number. 1: the interior. 2: background,
interior. 3: edge, interior, background. 4: edge to the background, edge to another cell, interior,
background.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.imaging.values import Heads
from kiosk_tasks.ports import Signature

__all__ = [
    "COMPARTMENTS",
    "Compartment",
    "Plane",
    "Role",
    "channels_of",
    "edge_of",
    "interior_of",
    "is_ours",
    "missing_heads",
    "multiplex_heads",
    "roles_of",
]

Plane = NDArray[np.float32]
Role = Literal["inner distance", "outer distance", "foreground", "pixelwise classes"]
Compartment = Literal["whole-cell", "nuclear"]

COMPARTMENTS: tuple[Compartment, ...] = ("whole-cell", "nuclear")

_MARKS: tuple[tuple[str, Role], ...] = (
    ("inner", "inner distance"),
    ("outer", "outer distance"),
    ("pixelwise", "pixelwise classes"),
    ("interior", "pixelwise classes"),
    ("fgbg", "pixelwise classes"),
)
"""Parts of names that tell what a head is; `foreground`, in full, is ours."""


def is_ours(names: Iterable[str]) -> bool:
    """Tell whether outputs of those names are a model's with our heads.

    `foreground` decides: a model of ours that lacks another head is told so.
    """
    return "foreground" in names


def channels_of(signature: Signature) -> dict[str, int]:
    """Return how many channels each output has, as the signature says; -1 where it does not."""
    return {name: spec.shape[-1] if spec.shape else -1 for name, spec in signature.outputs.items()}


def roles_of(channels: Mapping[str, int]) -> dict[Role, str]:
    """Return which output is what.

    channels: of each output, by name. Names decide where they tell. The others are taken in their
    natural order (`head_2` before `head_10`): of one channel the inner, then the outer distance,
    of several the pixelwise head.
    """
    roles: dict[Role, str] = {}
    silent = []
    for name in sorted(channels, key=_natural):
        told = _told_by_name(name)
        if told is None or told in roles:
            silent.append(name)
        else:
            roles[told] = name
    distances: tuple[Role, ...] = ("inner distance", "outer distance")
    classes: tuple[Role, ...] = ("pixelwise classes",)
    for name in silent:
        for role in distances if channels[name] == 1 else classes:
            if role not in roles:
                roles[role] = name
                break
    return roles


def missing_heads(missing: Iterable[str], heads: Heads) -> ModelMismatch:
    """Return the error that says which heads are missing, and which the model gives."""
    given = ", ".join(
        f"{name} ({plane.shape[-1]})"
        for name, plane in sorted(heads.planes.items(), key=lambda item: _natural(item[0]))
    )
    if heads.detections is not None:
        given = f"{given} and boxes" if given else "boxes"
    return ModelMismatch(
        f"the model lacks what this job needs: {' and '.join(missing)}. "
        f"It gives (with channels) {given or 'nothing'}. Name a model or a postprocess that fits."
    )


def interior_of(pixelwise: Plane) -> Plane:
    """Return the interior's probability of a pixelwise head; (Y, X, K) to (Y, X)."""
    classes = pixelwise.shape[-1]
    return pixelwise[..., classes - 2 if classes > 2 else classes - 1]


def edge_of(pixelwise: Plane) -> Plane:
    """Return the probability of any edge of a pixelwise head; (Y, X, K) to (Y, X).

    A head of one or two channels has no edge class: 0 everywhere.
    """
    edges = max(pixelwise.shape[-1] - 2, 0)
    edge: Plane = pixelwise[..., :edges].sum(axis=-1)
    return edge


def multiplex_heads(
    heads: Heads, compartments: Iterable[Compartment] = COMPARTMENTS
) -> Mapping[Compartment, tuple[Plane, Plane]]:
    """Return inner distance and interior, both (Y, X), of each compartment.

    Names that tell of the nucleus or the whole cell decide; of others, the first inner distance
    and the first pixelwise head are the whole cells', the second the nuclei's.
    Raises ModelMismatch that says which heads are missing.
    """
    channels = {name: plane.shape[-1] for name, plane in heads.planes.items()}
    found, missing = {}, []
    for compartment in compartments:
        roles = roles_of({name: channels[name] for name in _half(channels, compartment)})
        needed: tuple[Role, ...] = ("inner distance", "pixelwise classes")
        missing += [f"{compartment} {role}" for role in needed if role not in roles]
        if not missing:
            inner, pixelwise = (heads.planes[roles[role]] for role in needed)
            found[compartment] = (inner[..., 0], interior_of(pixelwise))
    if missing:
        raise missing_heads(missing, heads)
    return found


def _half(channels: Mapping[str, int], compartment: Compartment) -> list[str]:
    """Return the names of the heads of one compartment."""
    owners = {name: _compartment(name) for name in channels}
    half = [name for name, owner in owners.items() if owner == compartment]
    silent = sorted((name for name, owner in owners.items() if owner is None), key=_natural)
    for several in (False, True):
        alike = [name for name in silent if (channels[name] > 1) == several]
        place = COMPARTMENTS.index(compartment)
        half += alike[place : place + 1]
    return half


def _compartment(name: str) -> Compartment | None:
    lower = name.lower()
    if "whole" in lower:
        return "whole-cell"
    return "nuclear" if "nucle" in lower else None


def _told_by_name(name: str) -> Role | None:
    if name == "foreground":
        return "foreground"
    lower = name.lower()
    return next((role for mark, role in _MARKS if mark in lower), None)


def _natural(name: str) -> list[tuple[str, int]]:
    """Sort key by which `head_2` comes before `head_10`."""
    parts: list[tuple[Any, Any]] = re.findall(r"(\D*)(\d*)", name)
    return [(text, int(digits or -1)) for text, digits in parts]
