"""Synthetic fluorescence images of nuclei with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from models.nuclear.fields import FloatImage, smooth_noise
from models.nuclear.nucleus import Nucleus, Outline, Texture, draw_nucleus, transform_nucleus
from models.nuclear.optics import add_background, add_clutter, add_haze, expose
from models.nuclear.scene import Scene, draw_scene, place_centres

__all__ = ["draw_image", "largest_pieces"]

LEAST_AREA = 8  # px²; smaller remains of hidden nuclei are not labelled
LEAST_VISIBLE = 0.2  # of the median area; likewise


def draw_image(
    rng: np.random.Generator, *, size: int = 256, real_nuclei: Sequence[Nucleus] = ()
) -> tuple[FloatImage, NDArray[np.int32]]:
    """Draw one image.

    real_nuclei: nuclei cut from real images, which some scenes use instead of drawn ones.
    Returns (size, size) float32 in camera units and (size, size) int32 labels, 0 background.
    Nuclei of the layers out of focus are drawn but not labelled.
    """
    scene = draw_scene(rng, size=size)
    canvas = _Canvas(rng, scene, real_nuclei)
    for centre in place_centres(rng, scene):
        canvas.add(centre)
    signal = canvas.signal
    for _ in range(scene.hidden_layers):
        signal = signal + _hidden_layer(rng, scene, real_nuclei=real_nuclei)
    signal = add_clutter(rng, signal, scene=scene)
    signal = np.asarray(ndi.gaussian_filter(signal, _focus(rng, scene)), np.float32)
    signal = add_haze(rng, signal, scene=scene)
    signal = add_background(rng, signal, scene=scene)
    least = max(LEAST_AREA, LEAST_VISIBLE * 0.785 * scene.diameter**2)
    seen = largest_pieces(canvas.labels, least=least, least_at_border=LEAST_AREA)
    return expose(rng, signal), seen


@dataclass
class _Canvas:
    """The layer in focus while nuclei are added."""

    rng: np.random.Generator
    scene: Scene
    real_nuclei: Sequence[Nucleus]
    grain: FloatImage = field(init=False)
    signal: FloatImage = field(init=False)
    labels: NDArray[np.int32] = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        size, diameter = self.scene.size, self.scene.diameter
        fine = smooth_noise(self.rng, size, sigma=max(0.8, diameter * self.rng.uniform(0.04, 0.15)))
        coarse = smooth_noise(
            self.rng, size, sigma=max(1.0, diameter * self.rng.uniform(0.15, 0.4))
        )
        self.grain = np.clip(1 + self.scene.granularity * (0.6 * fine + 0.4 * coarse), 0.15, 3)
        self.signal = np.zeros((size, size), np.float32)
        self.labels = np.zeros((size, size), np.int32)

    def add(self, centre: NDArray[np.float64]) -> None:
        """Add one nucleus, unless too much of it would hide or be hidden."""
        nucleus, brightness = self._nucleus(centre)
        corner = np.round(centre).astype(int) - nucleus.mask.shape[0] // 2
        window, patch = _clip(corner, nucleus.mask.shape[0], self.scene.size)
        mask = nucleus.mask[patch]
        labels = self.labels[window]
        if mask.sum() < LEAST_AREA or (mask & (labels > 0)).sum() > self.scene.overlap * mask.sum():
            return
        self.signal[window] += brightness * nucleus.brightness[patch] * self.grain[window] * mask
        self.count += 1
        above = self.rng.random() < 0.5
        labels[mask if above else mask & (labels == 0)] = self.count

    def _nucleus(self, centre: NDArray[np.float64]) -> tuple[Nucleus, float]:
        rng, scene = self.rng, self.scene
        brightness = float(np.exp(max(-1.8, scene.brightness_spread * rng.standard_normal())))
        outline = _outline(rng, scene, centre=centre)
        if rng.random() < scene.mitotic:
            condensed = Outline(
                outline.diameter * rng.uniform(0.5, 0.85), rng.uniform(1.2, 3.2), outline.angle, 0.1
            )
            brightness *= rng.uniform(1.3, 3)
            return draw_nucleus(rng, condensed, texture=Texture.CONDENSED), brightness
        if self.real_nuclei and rng.random() < scene.real:
            source = self.real_nuclei[int(rng.integers(len(self.real_nuclei)))]
            return transform_nucleus(rng, source, outline=outline), brightness
        texture = scene.textures[rng.integers(len(scene.textures))]
        return draw_nucleus(rng, outline, texture=texture), brightness


def _outline(rng: np.random.Generator, scene: Scene, *, centre: NDArray[np.float64]) -> Outline:
    at = np.clip(centre, 0, scene.size - 1).astype(int)
    free = rng.uniform(0, np.pi) * (1 - scene.alignment)
    bent = rng.random() < scene.bent
    return Outline(
        diameter=scene.diameter
        * float(np.clip(np.exp(rng.normal(0, scene.diameter_spread)), 0.45, 2.2)),
        elongation=rng.uniform(1.0, scene.elongation) * (1.4 if bent else 1.0),
        angle=float(scene.direction[at[0], at[1]]) + free,
        roughness=scene.roughness,
        bend=float(rng.uniform(0.1, 0.45) * rng.choice([-1, 1])) if bent else 0.0,
    )


def _hidden_layer(
    rng: np.random.Generator, scene: Scene, *, real_nuclei: Sequence[Nucleus]
) -> FloatImage:
    """Another layer of the same specimen, out of focus."""
    layer = _Canvas(rng, scene, real_nuclei)
    for centre in place_centres(rng, scene):
        layer.add(centre)
    blurred = ndi.gaussian_filter(layer.signal, scene.diameter * rng.uniform(0.2, 0.6))
    return np.asarray(rng.uniform(0.15, 0.8) * blurred, np.float32)


def _focus(rng: np.random.Generator, scene: Scene) -> float:
    """Blur of the layer in focus, px."""
    relative = rng.uniform(0.05, 0.13) if rng.random() < 0.25 else rng.uniform(0, 0.05)
    return float(rng.uniform(0.4, 1.0) + relative * scene.diameter)


def _clip(
    corner: NDArray[np.int_], side: int, size: int
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Window in the image and part of a patch of `side` px that lies in it."""
    start = np.clip(corner, 0, size)
    stop = np.clip(corner + side, 0, size)
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    patch = tuple(slice(a - c, b - c) for a, b, c in zip(start, stop, corner, strict=True))
    return window, patch


def largest_pieces(
    labels: NDArray[np.integer], *, least: float, least_at_border: float
) -> NDArray[np.int32]:
    """Keep the largest piece of each label, if it is not small, px²; number from 1.

    Pieces at the border of the field may be smaller: they go on outside.
    """
    kept = np.zeros(labels.shape, np.int32)
    count = 0
    for label, window in enumerate(ndi.find_objects(labels), 1):
        if window is None:
            continue
        pieces, _count = ndi.label(labels[window] == label)
        areas = np.bincount(pieces.ravel(), minlength=2)
        areas[0] = 0
        touches = any(
            side.start == 0 or side.stop == length
            for side, length in zip(window, labels.shape, strict=True)
        )
        if areas.max() >= (least_at_border if touches else least):
            count += 1
            kept[window][pieces == areas.argmax()] = count
    return kept
