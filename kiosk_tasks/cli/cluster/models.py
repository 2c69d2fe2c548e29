"""Whether the model server takes batches as large as jobs send them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from kiosk_tasks.cli.finding import Finding, wrong_or
from kiosk_tasks.errors import KioskError, ModelMismatch, ModelServerUnavailable
from kiosk_tasks.jobs import job_types
from kiosk_tasks.ports import ModelServer, Signature
from kiosk_tasks.settings import Settings
from kiosk_tasks.wiring import adapters

__all__ = ["examine_models", "largest_batch"]

_SIDE = 32
"""Of the smallest image that is tried where a model takes any, px."""
_TOO_LARGE = re.compile(r"larger than maximum(?: input)? batch size (\d+)")
"""TensorFlow Serving's words."""


def examine_models(settings: Settings) -> list[Finding]:
    """Send a batch of empty tiles to each model that the job types need and that is served."""
    wanted = {(m.name, m.version) for job_type in job_types().values() for m in job_type.models}
    wrong, tried = [], 0
    for name, version in sorted(wanted, key=str):
        try:
            most = largest_batch(adapters().models, name, version, tiles=settings.max_batch)
        except ModelServerUnavailable:
            break  # each question would wait anew
        except KioskError:  # `examine` says which is not served
            continue
        tried += 1
        if most < settings.max_batch:
            wrong.append(
                f"jobs send {settings.max_batch} tiles at once, and the model server takes {most} "
                f"of {name}: they would fail; set KIOSK_MAX_BATCH to {most}, or raise the server's "
                "max_batch_size."
            )
    if not tried:
        return []
    return wrong_or(wrong, f"{tried} model(s) take batches of {settings.max_batch} tiles")


def largest_batch(models: ModelServer, name: str, version: int | None, *, tiles: int) -> int:
    """Return `tiles` if a batch of so many is not refused for that, else the server's limit.

    Raises what asking a model server raises, but for its refusals of so small an image.
    """
    signature = models.signature(name, version)
    try:
        for _ in models.predict(signature, [_empty(signature, tiles)]):
            pass
    except ModelMismatch as exc:
        too_large = _TOO_LARGE.search(str(exc))
        return int(too_large[1]) if too_large else tiles
    return tiles


def _empty(signature: Signature, tiles: int) -> Mapping[str, Any]:
    """Return inputs of zeros that fit the signature."""
    return {
        name: np.zeros(
            (tiles, *(side if side > 0 else _SIDE for side in (spec.shape or ())[1:])), spec.dtype
        )
        for name, spec in signature.inputs.items()
    }
