"""Movies of dividing nuclei whose tracks are known.

Nuclei are textured ellipses that drift, push each other aside, enter and leave; for two frames
before a division they are bright, small, elongated plates; camera noise and blur come on top.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["PRESETS", "Movie", "MovieParams", "simulate", "small_movie"]

_PLATE_FRAMES = 2  # how long a nucleus is a metaphase plate
_INTERPHASE = 12  # frames; a nucleus does not divide before that age
_DAUGHTER = 0.66  # diameter of a daughter, of her mother's
_APART = 0.42  # of the mother's diameter: how far from her centre each daughter appears
_FEWEST_PIXELS = 12  # less of a nucleus is to be seen: it is not in the truth


@dataclass(frozen=True)
class MovieParams:
    """What is simulated; lengths in px."""

    frames: int = 40
    side: int = 512  #: of a square frame
    cells: int = 45  #: in the first frame
    diameter: float = 24.0
    step: float = 2.5  #: the standard deviation of a move per frame and axis is 0.6 of it
    division_rate: float = 0.012  #: per nucleus and frame
    entry_rate: float = 0.3  #: nuclei that come in per frame
    exposure: float = 1.0  #: photons per grey value; less is noisier
    drift: tuple[float, float] = (0.0, 0.0)  #: (y, x) that the stage moves per frame


PRESETS = {
    "easy": MovieParams(cells=35),
    "dense": MovieParams(cells=140, step=3.0, division_rate=0.01, exposure=0.5),
    "fast": MovieParams(cells=45, step=6.0),
    "small": MovieParams(cells=120, diameter=12.0, step=1.5),
}


@dataclass(frozen=True, eq=False)
class Movie:
    """A movie and its truth.

    pixels: (T, Y, X) uint16. labels: (T, Y, X) int32, numbers are tracks.
    table: (n, 4) int64 rows (id, first frame, last frame, parent or 0).
    offset: (T, 2) float64 (y, x), how far the stage has moved, px.
    """

    pixels: NDArray[np.uint16]
    labels: NDArray[np.int32]
    table: NDArray[np.int64]
    offset: NDArray[np.float64]


@dataclass
class _Nucleus:
    id: int
    parent: int
    y: float
    x: float
    diameter: float
    grown: float  # the diameter it grows to
    angle: float
    elongation: float
    brightness: float
    velocity: NDArray[np.float64]
    age: int = 20
    plate: int = 0  # frames until it divides
    seen: list[int] = field(default_factory=list)


def simulate(params: MovieParams, *, seed: int) -> Movie:
    """Simulate a movie; the same seed gives the same one."""
    world = _World(params, np.random.default_rng(seed))
    frames = [world.frame(index) for index in range(params.frames)]
    labels = np.stack([labels for _, labels in frames])
    table = _numbered(world.nuclei, labels)
    pixels = np.stack([pixels for pixels, _ in frames])
    offset = np.arange(params.frames)[:, None] * np.array(params.drift, np.float64)
    return Movie(pixels, labels, table, offset)


class _World:
    def __init__(self, params: MovieParams, rng: np.random.Generator) -> None:
        self.params = params
        self.rng = rng
        self.nuclei: dict[int, _Nucleus] = {}
        shape = (params.side, params.side)
        uneven = ndimage.gaussian_filter(rng.standard_normal(shape), 60) / 0.005
        self._background = 30 + 0.3 * uneven
        self._alive: list[_Nucleus] = []
        while len(self._alive) < params.cells:
            y, x = rng.uniform(0, params.side, 2)
            near = (np.hypot(c.y - y, c.x - x) < 0.9 * params.diameter for c in self._alive)
            if not any(near):
                self._alive.append(self._new(y, x))

    def frame(self, index: int) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
        """Move on by one frame (not to the first) and return its pixels and labels."""
        if index:
            self._alive = [after for cell in self._alive for after in self._lived(cell)]
            self._push_apart()
            self._enter()
        side, margin = self.params.side, self.params.diameter
        shift = index * np.array(self.params.drift)
        labels, light = self._draw(shift)
        for number in np.flatnonzero(np.bincount(labels.ravel(), minlength=1)):
            if number:
                self.nuclei[int(number)].seen.append(index)
        self._alive = [
            cell
            for cell in self._alive
            if -margin < cell.y + shift[0] < side + margin
            and -margin < cell.x + shift[1] < side + margin
        ]
        return self._camera(light), labels

    def _new(self, y: float, x: float, mother: _Nucleus | None = None) -> _Nucleus:
        rng, size = self.rng, self.params.diameter
        cell = _Nucleus(
            id=len(self.nuclei) + 1,
            parent=mother.id if mother else 0,
            y=y,
            x=x,
            diameter=mother.grown * _DAUGHTER if mother else size * rng.uniform(0.85, 1.2),
            grown=size * rng.uniform(0.9, 1.2),
            angle=mother.angle + np.pi / 2 if mother else rng.uniform(0, np.pi),
            elongation=rng.uniform(1.05, 1.5),
            brightness=mother.brightness * 1.3 if mother else rng.lognormal(0, 0.25),
            velocity=rng.standard_normal(2) * self.params.step * 0.5,
            age=0 if mother else 20,
        )
        self.nuclei[cell.id] = cell
        return cell

    def _lived(self, cell: _Nucleus) -> Iterator[_Nucleus]:
        """Yield what one frame makes of a nucleus: itself, or two daughters."""
        rng, step = self.rng, self.params.step
        cell.age += 1
        if cell.plate == 1:
            axis = np.array([np.sin(cell.angle), np.cos(cell.angle)])
            for side in (-1, 1):
                y, x = np.array([cell.y, cell.x]) + side * cell.grown * _APART * axis
                daughter = self._new(y, x, cell)
                daughter.velocity = side * 1.5 * axis
                yield daughter
            return
        if cell.plate:
            cell.plate -= 1
        elif cell.age > _INTERPHASE and rng.random() < self.params.division_rate:
            cell.plate = _PLATE_FRAMES
        cell.velocity = 0.7 * cell.velocity + 0.42 * step * rng.standard_normal(2)
        slower = 0.25 if cell.plate else 1.0
        cell.y += slower * cell.velocity[0]
        cell.x += slower * cell.velocity[1]
        cell.angle += rng.normal(0, 0.06)
        cell.diameter += (cell.grown - cell.diameter) * 0.12
        if cell.age < 15:
            cell.brightness += (1 - cell.brightness) * 0.1
        yield cell

    def _push_apart(self) -> None:
        if not self._alive:
            return
        place = np.array([[cell.y, cell.x] for cell in self._alive])
        size = np.array([cell.diameter for cell in self._alive])
        for _round in range(3):
            between = place[:, None] - place[None]
            apart = np.hypot(between[..., 0], between[..., 1]) + 1e-6
            push = np.clip(0.46 * (size[:, None] + size[None]) - apart, 0, None)
            np.fill_diagonal(push, 0)
            place += (between / apart[..., None] * push[..., None] * 0.35).sum(1)
        for cell, (y, x) in zip(self._alive, place, strict=True):
            cell.y, cell.x = y, x

    def _enter(self) -> None:
        rng, side = self.rng, self.params.side
        if rng.random() >= self.params.entry_rate:
            return
        outside = -0.3 * self.params.diameter
        along, border = rng.uniform(0, side), rng.integers(4)
        places = (
            (outside, along),
            (side - outside, along),
            (along, outside),
            (along, side - outside),
        )
        cell = self._new(*places[border])
        inward = np.array([side / 2 - cell.y, side / 2 - cell.x]) / side
        cell.velocity = inward * self.params.step * 2
        self._alive.append(cell)

    def _draw(self, shift: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return labels, and the light that the nuclei emit; who was first covers who is next."""
        side = self.params.side
        labels, light = np.zeros((side, side), np.int32), np.zeros((side, side))
        for cell in self._alive:
            diameter = cell.diameter * (0.8 if cell.plate else 1)
            longer = np.sqrt(1.9 if cell.plate else cell.elongation)
            angle = cell.angle + (np.pi / 2 if cell.plate else 0)
            y, x = np.array([cell.y, cell.x]) + shift
            reach = int(diameter) + 3
            rows = np.arange(max(0, int(y) - reach), min(side, int(y) + reach))
            columns = np.arange(max(0, int(x) - reach), min(side, int(x) + reach))
            if not len(rows) or not len(columns):
                continue
            dy, dx = rows[:, None] - y, columns[None] - x
            long = (dx * np.cos(angle) + dy * np.sin(angle)) / (diameter / 2 * longer)
            short = (dy * np.cos(angle) - dx * np.sin(angle)) / (diameter / 2 / longer)
            square = long**2 + short**2
            inside = square <= 1
            window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            bright = 120 * cell.brightness * (2 if cell.plate else 1)
            light[window][inside] += bright * (1 - 0.35 * square[inside])
            labels[window][inside & (labels[window] == 0)] = cell.id
        few = np.bincount(labels.ravel(), minlength=1) < _FEWEST_PIXELS
        labels[few[labels]] = 0
        return labels, light

    def _camera(self, light: NDArray[np.float64]) -> NDArray[np.uint16]:
        rng, exposure = self.rng, self.params.exposure
        grain = ndimage.gaussian_filter(rng.standard_normal(light.shape), 2) / 0.14
        focused = ndimage.gaussian_filter(light * (1 + 0.2 * grain), 1.2)
        haze = 0.15 * ndimage.gaussian_filter(light, 10)
        photons = np.clip((focused + haze + self._background) * exposure, 0, None)
        image = rng.poisson(photons) / exposure + rng.normal(0, 4, light.shape)
        return np.clip(image * 10 + 100, 0, 65535).astype(np.uint16)


def _numbered(nuclei: dict[int, _Nucleus], labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Number the tracks 1..n in `labels`, in place, and return their table.

    A nucleus that is out of sight for a while is another track, with no parent, when it is back.
    A division of which only one daughter is to be seen is none: she has no parent.
    """
    rows: list[list[int]] = []
    last: dict[int, tuple[int, int]] = {}  # nucleus -> its last track, and that one's last frame
    numbers = np.zeros((len(labels), len(nuclei) + 1), np.int32)
    for cell in nuclei.values():
        seen = np.array(cell.seen, np.intp)
        runs = np.split(seen, np.flatnonzero(np.diff(seen) > 1) + 1) if len(seen) else []
        for first, run in enumerate(runs):
            mother, ended = last.get(cell.parent, (0, -1))
            parent = mother if first == 0 and ended == run[0] - 1 else 0
            rows.append([len(rows) + 1, int(run[0]), int(run[-1]), parent])
            numbers[run, cell.id] = len(rows)
        if runs:
            last[cell.id] = (len(rows), int(runs[-1][-1]))
    for index, frame in enumerate(labels):
        frame[...] = numbers[index][frame]
    table = np.array(rows, np.int64).reshape(-1, 4)
    daughters = np.bincount(table[:, 3], minlength=1)
    table[daughters[table[:, 3]] == 1, 3] = 0
    return table


def small_movie(*, seed: int, **changes: float) -> Movie:
    """Return a movie for a test: few cells, many divisions, a second to make."""
    few = MovieParams(frames=16, side=160, cells=8, step=1.5, division_rate=0.03, entry_rate=0.1)
    return simulate(replace(few, **changes), seed=seed)  # type: ignore[arg-type]
