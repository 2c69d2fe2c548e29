"""OME-XML is checked before tifffile makes lists as long as it says."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element, ParseError, fromstring

from kiosk_tasks.errors import UnreadableImage
from kiosk_tasks.imaging.limits import ImageLimits

__all__ = ["check_ome"]

_BRACKETS_PER_PLANE = 24
_BRACKETS = 10_000  # beside those of planes: instruments, annotations


def check_ome(xml: str, name: str, limits: ImageLimits) -> None:
    """Refuse OME-XML that claims absurd sizes; text that is no XML is left to tifffile.

    Raises ImageTooLarge for sizes over the limits, UnreadableImage for sizes that are none.
    """
    if xml.count("<") > _BRACKETS_PER_PLANE * limits.max_frames + _BRACKETS:
        raise _refused(name, "has too many elements")
    try:
        root = fromstring(xml)  # noqa: S314  without entities, and no longer than a few MB
    except ParseError:
        return
    for element in root.iter():
        kind = element.tag.rpartition("}")[2]
        if kind == "Pixels":
            _check_pixels(element, name, limits)
        elif kind == "TiffData":
            for attribute in ("IFD", "NumPlanes", "PlaneCount", "FirstT", "FirstZ", "FirstC"):
                limits.check_planes(name, _number(element, attribute, name, lowest=0))
        elif kind == "Channel":
            _number(element, "SamplesPerPixel", name, lowest=1)
        elif kind.startswith("ModuloAlong") and "Start" in element.attrib:
            _check_modulo(element, name, limits)


def _check_pixels(pixels: Element, name: str, limits: ImageLimits) -> None:
    width, height, *others = (
        _number(pixels, f"Size{axis}", name, lowest=1) for axis in ("X", "Y", "Z", "C", "T")
    )
    limits.check(name, (height, width), planes=math.prod(others))


def _check_modulo(modulo: Element, name: str, limits: ImageLimits) -> None:
    try:
        start, end, step = (
            float(modulo.get(key, default))
            for key, default in (("Start", "0"), ("End", "nan"), ("Step", "1"))
        )
        steps = (end - start) / step
    except (ValueError, ZeroDivisionError) as exc:
        raise _refused(name, "has a range that is none") from exc
    if not 0 <= steps < limits.max_frames:
        raise _refused(name, f"has a range of {steps:.9g} steps")


def _number(element: Element, attribute: str, name: str, *, lowest: int) -> int:
    text = element.get(attribute, str(lowest))
    try:
        number = int(text)
    except ValueError:
        number = lowest - 1
    if number < lowest:
        raise _refused(name, f"says {attribute} is {text[:20]!r}")
    return number


def _refused(name: str, fact: str) -> UnreadableImage:
    return UnreadableImage(
        f"{name} has OME-XML that {fact}; export it again, as plain TIFF or PNG."
    )
