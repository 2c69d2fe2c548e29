"""One nucleus: outline and brightness, drawn from formulas or cut from a real image."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from models.nuclear.fields import FloatImage

__all__ = ["Nucleus", "Outline", "Texture", "draw_nucleus", "transform_nucleus"]


class Texture(StrEnum):
    """How brightness varies within a nucleus."""

    FLAT = "flat"
    DOME = "dome"
    RIM = "rim"
    NUCLEOLI = "nucleoli"  # dark spots
    CHROMOCENTRES = "chromocentres"  # bright spots
    CONDENSED = "condensed"  # mitotic figures


@dataclass(frozen=True)
class Outline:
    """Shape of a nucleus."""

    diameter: float  # of the disc of equal area, px
    elongation: float  # long axis over short axis
    angle: float  # of the long axis, radians
    roughness: float = 0.0  # amplitude of the boundary's ripples, of the radius
    bend: float = 0.0  # bends the long axis: beans at 0.2, crescents at 0.6


@dataclass(frozen=True)
class Nucleus:
    """A small square image of one nucleus."""

    brightness: FloatImage  # (Y, X), about 1 inside, 0 outside
    mask: NDArray[np.bool_]  # (Y, X)


def draw_nucleus(rng: np.random.Generator, outline: Outline, *, texture: Texture) -> Nucleus:
    """Draw an ellipse with a rippled boundary, bent and textured as asked."""
    depth = _depth(rng, outline)
    mask = depth >= 0
    depth = np.clip(depth, 0, 1)
    brightness = _brightness(rng, depth, texture=texture)
    return Nucleus(np.where(mask, brightness, 0).astype(np.float32), mask)


def transform_nucleus(rng: np.random.Generator, source: Nucleus, *, outline: Outline) -> Nucleus:
    """Scale, turn and stretch a real nucleus to the diameter of an outline."""
    scale = outline.diameter / (2 * np.sqrt(source.mask.sum() / np.pi))
    stretch = float(np.exp(rng.normal(0, 0.12)))
    cos, sin = np.cos(outline.angle), np.sin(outline.angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    forward = turn @ np.diag([scale * stretch, scale / stretch])
    inverse = np.linalg.inv(forward)
    side = 2 * int(np.ceil(max(source.mask.shape) * scale * 0.75)) + 3
    centre = (np.array(source.mask.shape) - 1) / 2
    offset = centre - inverse @ np.full(2, (side - 1) / 2)
    smooth = source.brightness
    if scale < 0.8:
        smooth = np.asarray(ndi.gaussian_filter(smooth, 0.35 / scale), np.float32)
    brightness = ndi.affine_transform(smooth, inverse, offset, (side, side), order=1)
    mask = ndi.affine_transform(
        source.mask.astype(np.float32), inverse, offset, (side, side), order=1
    )
    inside = mask > 0.5
    return Nucleus(np.where(inside, brightness, 0).astype(np.float32), inside)


def _depth(rng: np.random.Generator, outline: Outline) -> FloatImage:
    """1 at the centre of the nucleus, 0 on its boundary, negative outside."""
    long = outline.diameter / 2 * np.sqrt(outline.elongation)
    short = outline.diameter / 2 / np.sqrt(outline.elongation)
    reach = int(np.ceil(long * (1.1 + 2.5 * outline.roughness) + abs(outline.bend) * long / 2)) + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    cos, sin = np.cos(outline.angle), np.sin(outline.angle)
    along, across = x * cos + y * sin, -x * sin + y * cos
    across = across + outline.bend * (along**2 / long - 0.3 * long)
    direction = np.arctan2(across / short, along / long)
    radius = np.hypot(across / short, along / long)
    boundary = np.ones_like(direction)
    if outline.roughness > 0:
        for order in range(2, 7):
            amplitude = outline.roughness / (order - 1) * rng.standard_normal()
            boundary += amplitude * np.cos(order * direction + rng.uniform(0, 2 * np.pi))
    return np.asarray(1 - radius / np.maximum(boundary, 0.3), np.float32)


def _brightness(rng: np.random.Generator, depth: FloatImage, *, texture: Texture) -> FloatImage:
    match texture:
        case Texture.DOME:
            return np.asarray(0.2 + 0.8 * depth ** rng.uniform(0.2, 0.8), np.float32)
        case Texture.RIM:
            return np.asarray(1 + rng.uniform(0.1, 0.9) * np.exp(-depth / 0.15), np.float32)
        case Texture.NUCLEOLI:
            return _spots(rng, depth, count=int(rng.integers(1, 6)), gains=(-0.8, -0.3))
        case Texture.CHROMOCENTRES:
            return _spots(rng, depth, count=int(rng.integers(1, 14)), gains=(0.5, 2.0))
        case Texture.CONDENSED:
            return np.asarray(0.7 + 0.3 * depth, np.float32)
        case _:
            return np.ones_like(depth)


def _spots(
    rng: np.random.Generator, depth: FloatImage, *, count: int, gains: tuple[float, float]
) -> FloatImage:
    brightness = np.ones_like(depth)
    inside = np.argwhere(depth > 0.15)
    if not len(inside):
        return brightness
    y, x = np.ogrid[: depth.shape[0], : depth.shape[1]]
    diameter = 2 * np.sqrt(np.count_nonzero(depth) / np.pi)
    widths = (0.05, 0.13) if gains[0] < 0 else (0.03, 0.08)
    for centre in inside[rng.integers(len(inside), size=count)]:
        sigma = diameter * rng.uniform(*widths) + 0.3
        spot = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * sigma**2))
        brightness = brightness * (1 + rng.uniform(*gains) * spot)
    return brightness.astype(np.float32)
