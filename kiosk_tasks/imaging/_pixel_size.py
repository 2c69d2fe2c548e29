"""Micrometres per pixel, from what files say about themselves."""

from __future__ import annotations

import html
import math
import re
from fractions import Fraction

__all__ = ["from_ome", "from_resolution", "micrometres"]

_MICROMETRES = {
    "µm": 1.0,
    "μm": 1.0,  # the Greek letter, which looks the same
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometre": 1.0,
    "pm": 1e-6,
    "å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "m": 1e6,
    "in": 25400.0,
    "inch": 25400.0,
}

_PLAUSIBLE = (0.01, 20.0)  # µm per pixel of a microscope; 1200 dpi and all screens are coarser


def from_ome(xml: str) -> float | None:
    """Return PhysicalSizeX of the first image of an OME-XML text, µm; None if it has none."""
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    if pixels is None:
        return None
    attributes = dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', pixels.group()))
    size = attributes.get("PhysicalSizeX")
    if size is None:
        return None
    unit = html.unescape(attributes.get("PhysicalSizeXUnit", "µm"))
    try:
        return micrometres(float(size), unit)
    except ValueError:
        return None


def from_resolution(pixels: float | Fraction, unit: str) -> float | None:
    """Return µm for a density in pixels per unit, if it can be that of a microscope.

    Programs write 72, 96 or 300 dpi where they know nothing, hence the check.
    """
    if not pixels:
        return None
    mpp = micrometres(float(1 / pixels), unit)
    return mpp if mpp is not None and _PLAUSIBLE[0] <= mpp <= _PLAUSIBLE[1] else None


def micrometres(length: float, unit: str) -> float | None:
    """Return a length in µm; None for an unknown unit, or a length that is not above 0."""
    factor = _MICROMETRES.get(unit.replace(r"\u00B5", "µ").strip().lower())
    if factor is None or not math.isfinite(length) or length <= 0:
        return None
    return float(f"{length * factor:.9g}")  # a ratio of two 32-bit numbers knows no more digits
