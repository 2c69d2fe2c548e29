"""What a synthetic image shows: a random description, and where its nuclei lie."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.nuclear.fields import FloatImage, log_uniform, smooth_noise, unit_grid
from models.nuclear.nucleus import Texture

__all__ = ["Layout", "Scene", "draw_scene", "place_centres"]

Points: TypeAlias = NDArray[np.float64]
MOST_NUCLEI = 800  # bounds the time one image takes
SURFACES = (Texture.FLAT, Texture.DOME, Texture.RIM, Texture.NUCLEOLI, Texture.CHROMOCENTRES)


class Layout(StrEnum):
    """How nuclei are arranged."""

    SCATTERED = "scattered"  # sparse culture
    CLUSTERED = "clustered"  # colonies
    PACKED = "packed"  # confluent culture with holes
    TISSUE = "tissue"  # packed in a direction, with layers out of focus above and below
    EMBRYO = "embryo"  # tissue within a glowing body on a dark ground
    CONTOUR = "contour"  # rows along a closed curve: blastoderm, tubule, crypt

    @property
    def deep(self) -> bool:
        """Whether nuclei lie in several layers."""
        return self in (Layout.TISSUE, Layout.EMBRYO, Layout.CONTOUR)


@dataclass(frozen=True)
class Scene:
    """One kind of specimen; lengths in pixels unless they are fractions of the diameter."""

    size: int  # side of the image
    layout: Layout
    diameter: float  # median of the nuclei
    diameter_spread: float  # deviation of its logarithm
    elongation: float  # largest
    alignment: float  # 0: long axes point anywhere, 1: they follow `direction`
    direction: FloatImage  # (Y, X) angle, radians
    region: NDArray[np.bool_]  # (Y, X) where nuclei may lie
    roughness: float
    bent: float  # share of beans
    overlap: float  # of an area that an earlier nucleus may hide
    brightness_spread: float  # deviation of its logarithm
    textures: tuple[Texture, ...]
    granularity: float  # amplitude of the texture common to all
    mitotic: float  # share
    real: float  # share of nuclei cut from real images
    hidden_layers: int  # layers out of focus, drawn but not labelled


def draw_scene(rng: np.random.Generator, *, size: int) -> Scene:
    """Describe a random specimen for a (size, size) image."""
    layout = rng.choice(list(Layout), p=[0.2, 0.17, 0.2, 0.22, 0.13, 0.08])
    deep = Layout(layout).deep
    diameter = log_uniform(rng, 8, 60) if deep else log_uniform(rng, 8, 100)
    several = rng.random() < 0.25
    return Scene(
        size=size,
        layout=Layout(layout),
        diameter=diameter,
        diameter_spread=rng.uniform(0.05, 0.35),
        elongation=rng.choice([rng.uniform(1.1, 1.6), rng.uniform(1.4, 3.2)], p=[0.65, 0.35]),
        alignment=rng.choice([0.0, rng.uniform(0.5, 1.0)], p=[0.3, 0.7] if deep else [0.8, 0.2]),
        direction=(np.pi / 2 * smooth_noise(rng, size, sigma=rng.uniform(30, 120))).astype(
            np.float32
        ),
        region=_region(rng, size, layout=Layout(layout)),
        roughness=rng.choice([rng.uniform(0, 0.05), rng.uniform(0.03, 0.12)], p=[0.6, 0.4]),
        bent=rng.choice([0.05, 0.3]),
        overlap=rng.choice([0.02, 0.08, 0.2, 0.35], p=[0.35, 0.3, 0.25, 0.1]),
        brightness_spread=rng.uniform(0.05, 0.8),
        textures=SURFACES if several else (SURFACES[rng.integers(len(SURFACES))],),
        granularity=rng.choice([rng.uniform(0, 0.25), rng.uniform(0.2, 0.6)], p=[0.6, 0.4]),
        mitotic=rng.choice([0.0, 0.03, 0.12], p=[0.4, 0.4, 0.2]),
        real=rng.choice([0.0, 0.3, 1.0], p=[0.45, 0.2, 0.35]),
        hidden_layers=int(rng.choice([0, 1, 2], p=[0.15, 0.5, 0.35])) if deep else 0,
    )


def place_centres(rng: np.random.Generator, scene: Scene) -> Points:
    """Draw centres of nuclei, (n, 2) float64 (y, x); some lie just outside the image."""
    size, diameter = scene.size, scene.diameter
    match scene.layout:
        case Layout.SCATTERED:
            area_share = rng.uniform(0.0, 0.4)
            count = int(min(MOST_NUCLEI, area_share * size**2 / (0.785 * diameter**2)))
            centres = rng.uniform(-diameter / 3, size + diameter / 3, (count, 2))
        case Layout.CLUSTERED:
            count = int(
                np.clip(rng.uniform(0.05, 0.6) * size**2 / (0.785 * diameter**2), 2, MOST_NUCLEI)
            )
            colonies = rng.uniform(0, size, (rng.integers(1, 7), 2))
            spread = rng.uniform(1, 3) * diameter
            centres = colonies[rng.integers(len(colonies), size=count)]
            centres = centres + spread * rng.standard_normal((count, 2))
        case Layout.CONTOUR:
            centres = _on_contours(rng, size, diameter=diameter)
        case _:
            centres = _lattice(rng, scene)
    inside = scene.region[tuple(np.clip(centres, 0, size - 1).astype(int).T)]
    return np.asarray(rng.permutation(centres[inside])[:MOST_NUCLEI])


def _lattice(rng: np.random.Generator, scene: Scene) -> Points:
    """Hexagonal lattice, jittered, with holes."""
    size = scene.size
    tight = rng.uniform(0.85, 1.1) if scene.layout.deep else rng.uniform(0.92, 1.25)
    pitch = scene.diameter * tight
    rows, columns = np.meshgrid(
        np.arange(-pitch, size + pitch, 0.87 * pitch),
        np.arange(-pitch, size + pitch, pitch),
        indexing="ij",
    )
    columns = columns + pitch / 2 * (np.arange(len(rows)) % 2)[:, None]
    centres = np.stack([rows.ravel(), columns.ravel()], -1)
    centres += rng.standard_normal(centres.shape) * pitch * rng.uniform(0.08, 0.28)
    holes = smooth_noise(rng, size, sigma=rng.uniform(15, 50))
    threshold = rng.uniform(-2.5, 0.6)
    keep = holes[tuple(np.clip(centres, 0, size - 1).astype(int).T)] > threshold
    return np.asarray(centres[keep])


def _on_contours(rng: np.random.Generator, size: int, *, diameter: float) -> Points:
    """Rows of nuclei along one or two ellipses."""
    rows = []
    for _ in range(rng.integers(1, 3)):
        centre = rng.uniform(0.2, 0.8, 2) * size
        radii = rng.uniform(0.2, 0.7, 2) * size
        for layer in range(rng.integers(1, 4)):
            shrunk = radii - layer * diameter * rng.uniform(0.9, 1.3)
            if shrunk.min() < diameter:
                break
            count = int(2 * np.pi * shrunk.mean() / (diameter * rng.uniform(0.8, 1.4)))
            angle = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.normal(
                0, 0.15 / count, count
            )
            ring = centre + shrunk * np.stack([np.sin(angle), np.cos(angle)], -1)
            rows.append(ring + rng.standard_normal(ring.shape) * 0.12 * diameter)
    centres = np.concatenate(rows) if rows else np.full((1, 2), size / 2)
    near = np.all((centres > -diameter / 2) & (centres < size + diameter / 2), axis=1)
    return np.asarray(centres[near])


def _region(rng: np.random.Generator, size: int, *, layout: Layout) -> NDArray[np.bool_]:
    if layout is not Layout.EMBRYO:
        return np.ones((size, size), bool)
    y, x = unit_grid(size)
    y, x = y - rng.uniform(-0.35, 0.35), x - rng.uniform(-0.35, 0.35)
    angle = rng.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    ripple = 0.12 * smooth_noise(rng, size, sigma=rng.uniform(15, 50))
    radius = np.hypot(along / rng.uniform(0.35, 0.8), across / rng.uniform(0.2, 0.55))
    return np.asarray(radius + ripple < 1)
