"""What a layer is as an image: its axes, its pixel size, its place in the viewer. No Qt here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.client import CannotSend

__all__ = ["Place", "Sending", "axes_choices", "guess_axes", "pixel_size", "sending"]

_WORDS = {"time": "T", "frame": "T", "channel": "C", "plane": "Z", "batch": "B"}
_MOVIES = ("track",)
_MICROMETRES = {"nm": 1e-3, "µm": 1.0, "um": 1.0, "mm": 1e3}
_NAMES = {"nanometer": 1e-3, "micrometer": 1.0, "micron": 1.0, "millimeter": 1e3}


@dataclass(frozen=True)
class Place:
    """Where a layer lies in the viewer.

    axes: a letter for each dimension of the layer. shape, scale, translate: one number for each.
    """

    axes: str
    shape: tuple[int, ...]
    scale: tuple[float, ...]
    translate: tuple[float, ...]


@dataclass(frozen=True)
class Sending:
    """An image to be sent, as layers of the viewer hold it.

    arrays: one, or a channel each. axes: of the image, in the order of the array that is sent.
    """

    name: str
    arrays: tuple[Any, ...]
    axes: str
    place: Place

    def array(self) -> NDArray[Any]:
        """Return the pixels; lazy layers are computed here."""
        parts = [np.asarray(array) for array in self.arrays]
        return np.stack(parts) if len(parts) > 1 else parts[0]


def axes_choices(ndim: int, *, rgb: bool = False) -> list[str]:
    """Return what the axes of a layer may be.

    ndim: the layer's own, without the samples of colour.
    """
    leading = max(0, ndim - 2)
    letters = ["".join(letters) for letters in permutations("TZC", leading)]
    if leading == 1:
        letters.append("B")
    if rgb:
        return [f"{before}YXC" for before in letters if "C" not in before]
    return [f"{before}YX" for before in letters]


def guess_axes(layer: Any, type_name: str = "") -> str:
    """Return the axes where the layer, or what the job takes, leaves no doubt; else nothing."""
    choices = axes_choices(layer.ndim, rgb=_rgb(layer))
    labels = [str(label).strip().lower() for label in getattr(layer, "axis_labels", ())]
    told = "".join(_WORDS.get(label, label[:1].upper()) for label in labels)
    told += "C" if _rgb(layer) else ""
    if told in choices and all(len(label) == 1 or label in _WORDS for label in labels):
        return told
    if len(choices) == 1:
        return choices[0]
    return "TYX" if type_name in _MOVIES and "TYX" in choices else ""


def pixel_size(layer: Any) -> float | None:
    """Return µm per pixel by the layer's scale and units; None where both say nothing.

    A scale other than 1 without a unit is taken for µm, as most readers mean it.
    """
    scale = float(layer.scale[-1])
    unit = str(getattr(layer, "units", ("pixel",))[-1]).lower()
    factor = _MICROMETRES.get(unit) or _NAMES.get(unit)
    if factor is not None:
        return scale * factor
    return scale if unit in ("pixel", "px", "") and scale != 1.0 else None


def sending(layers: Sequence[Any], axes: str) -> Sending:
    """Return the image that one layer is, or several as its channels.

    axes: of a layer. Raises CannotSend.
    """
    if not layers:
        raise CannotSend("choose an image layer in the list of layers first.")
    first = layers[0]
    if not axes:
        raise CannotSend(
            f"the layer {first.name} has {first.ndim} dimensions; say under Axes what they are."
        )
    if len(layers) > 1:
        if "C" in axes:
            raise CannotSend("several layers are sent as channels, so none may have channels.")
        if len({_full(layer).shape for layer in layers}) > 1:
            raise CannotSend("the chosen layers differ in size, so they are no channels of one.")
    arrays = tuple(_full(layer) for layer in layers)
    dimensions = axes[:-1] if _rgb(first) else axes
    place = Place(
        dimensions,
        tuple(int(n) for n in arrays[0].shape[: len(dimensions)]),
        tuple(map(float, first.scale)),
        tuple(map(float, first.translate)),
    )
    return Sending(first.name, arrays, axes if len(layers) == 1 else f"C{axes}", place)


def _full(layer: Any) -> Any:
    """Return the layer's data at full resolution."""
    return layer.data[0] if getattr(layer, "multiscale", False) else layer.data


def _rgb(layer: Any) -> bool:
    return bool(getattr(layer, "rgb", False))
