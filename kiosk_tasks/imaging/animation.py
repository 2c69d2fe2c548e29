"""A moving picture to judge tracks by: the movie in grey, each track in a colour of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

from kiosk_tasks.imaging.labels import Labels, resize_labels
from kiosk_tasks.imaging.lineage import Lineage
from kiosk_tasks.imaging.picture import PALETTE, outlines

__all__ = ["TrackAnimation"]

_LARGEST = 512  # px, either side; smaller movies are enlarged by a whole number
_MOST_FRAMES = 100  # of the picture; of longer movies every second, third, … is drawn
_TAIL = 15  # frames of the movie that a cell's path goes back
_SHOWN_S = 0.1  # each frame
_GREYS = 24  # few, and a little blur: half the bytes where a camera's noise fills the picture
_BLUR = 0.7  # standard deviation, px of the picture
_WHITE = _GREYS + len(PALETTE)
_GAMMA = 0.7  # below 1: dim cells show


class TrackAnimation:
    """Draws frames of a movie and their tracks, and writes them as an animated GIF.

    A cell is outlined in its track's colour, and a line shows where it was, across a division
    where its mother was. Colours are those of `PALETTE`, told apart by colour-blind people too.
    Memory is that of the drawn frames, a byte a pixel. Equal calls give equal bytes.
    """

    def __init__(
        self, lineage: Lineage, size: tuple[int, int, int], *, contrast: tuple[float, float]
    ) -> None:
        """size: (T, Y, X). contrast: pixel values that become black and white in all frames."""
        frames, height, width = size
        longest = max(height, width)
        self._factor = _LARGEST / longest if longest > _LARGEST else float(_LARGEST // longest)
        self._shape = (max(round(height * self._factor), 1), max(round(width * self._factor), 1))
        self._step = -(-frames // _MOST_FRAMES)
        self._dark, self._bright = contrast
        self._paths = _Paths(lineage)
        tracks = [0, *(piece.track for piece in lineage.pieces)]
        self._colour = _GREYS + np.array(tracks, np.intp) % len(PALETTE)
        self._drawn: list[Pillow.Image] = []

    def wants(self, frame: int) -> bool:
        """Tell whether a frame of the movie is one of those that are drawn."""
        return frame % self._step == 0

    def add(self, frame: int, image: NDArray[Any], labels: Labels) -> None:
        """Draw a frame: (Y, X) pixels, and labels of the lineage."""
        picture = self._grey(image)
        cells = resize_labels(labels, self._shape)
        outline = outlines(cells)
        picture[outline] = self._colour[cells[outline]]
        from PIL import ImageDraw  # and a library of fonts, which no other job needs

        drawing = Pillow.fromarray(picture)
        pen = ImageDraw.Draw(drawing)
        pen.fontmode = "1"  # without half tones: between two indices of the palette is no colour
        for label, path in self._paths.until(frame):
            places = [((x + 0.5) * self._factor, (y + 0.5) * self._factor) for y, x in path]
            pen.line(places, fill=int(self._colour[label]), width=1)
        pen.text((4, 2), str(frame), fill=_WHITE)
        self._drawn.append(drawing)

    def save(self, path: Path) -> None:
        """Write what was drawn."""
        greys = np.repeat(np.linspace(0, 255, _GREYS).round()[:, None], 3, axis=1)
        white = np.full((1, 3), 255)
        palette = np.concatenate([greys, PALETTE, white]).astype(np.uint8).tobytes()
        for picture in self._drawn:
            picture.putpalette(palette)
        first, *others = self._drawn
        first.save(
            path,
            "GIF",
            save_all=True,
            append_images=others,
            duration=round(1000 * _SHOWN_S),
            loop=0,
        )

    def _grey(self, image: NDArray[Any]) -> NDArray[np.uint8]:
        span = max(self._bright - self._dark, float(np.finfo(np.float32).tiny))
        stretched = np.clip((image.astype(np.float32) - self._dark) / span, 0, 1)
        way = Pillow.Resampling.BOX if self._factor < 1 else Pillow.Resampling.BILINEAR
        fitted = np.asarray(Pillow.fromarray(stretched).resize(self._shape[::-1], way))
        fitted = np.clip(ndimage.gaussian_filter(fitted, _BLUR), 0, 1)
        return (fitted**_GAMMA * (_GREYS - 1) + 0.5).astype(np.uint8)


class _Paths:
    """Where each cell has been: rows of the detections by piece, in order of their frames."""

    def __init__(self, lineage: Lineage) -> None:
        found = lineage.tracks.detections
        order = np.lexsort((found.frame, lineage.label))
        self._frame, self._label = found.frame[order], lineage.label[order]
        self._places = np.stack([found.y[order], found.x[order]], axis=1)
        labels = np.arange(len(lineage.pieces) + 2)
        self._start = np.searchsorted(self._label, labels)
        before = [piece.parent or piece.continues or 0 for piece in lineage.pieces]
        self._before = [0, *before]
        self._of_frame = lineage.tracks

    def until(self, frame: int) -> list[tuple[int, NDArray[np.float32]]]:
        """Return label and (n, 2) places, (y, x), of each cell of a frame and some before it."""
        rows = self._of_frame.detections.rows(frame)
        labels = self._of_frame.track[rows].tolist()
        return [(label, self._path(label, frame)) for label in labels if label]

    def _path(self, label: int, frame: int) -> NDArray[np.float32]:
        first = frame - _TAIL
        parts = []
        while label:
            rows = slice(self._start[label], self._start[label + 1])
            near = (self._frame[rows] >= first) & (self._frame[rows] <= frame)
            parts.append(self._places[rows][near])
            label = self._before[label] if near[:1].all() else 0
        return np.concatenate(parts[::-1])
