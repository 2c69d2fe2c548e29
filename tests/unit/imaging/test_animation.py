"""The moving picture of tracks: size, colours, paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from kiosk_tasks.imaging.animation import TrackAnimation
from kiosk_tasks.imaging.lineage import in_pieces
from kiosk_tasks.imaging.picture import PALETTE
from kiosk_tasks.imaging.tracks import Track, Tracks, detect, joined


def moving(frames: int, size: int = 64) -> tuple[NDArray[np.int32], Tracks]:
    """Two squares that move to the right and to the left, in different rows."""
    labels = np.zeros((frames, size, size), np.int32)
    for number in range(frames):
        step = number % (size // 2)
        labels[number, 10:16, 4 + step : 10 + step] = 1
        labels[number, 40:46, size - 10 - step : size - 4 - step] = 2
    found = joined([detect(frame, frame, frame=i) for i, frame in enumerate(labels)])
    ids = tuple(Track(i, tuple(range(frames))) for i in (1, 2))
    return labels, Tracks(found, found.label.copy(), ids)


def drawn(path: Path, frames: int, size: int = 64) -> list[NDArray[np.uint8]]:
    labels, tracks = moving(frames, size)
    animation = TrackAnimation(in_pieces(tracks), labels.shape, contrast=(0, 2))
    for number, frame in enumerate(labels):
        if animation.wants(number):
            animation.add(number, frame.astype(np.uint16), frame)
    animation.save(path)
    pictures = []
    with Pillow.open(path) as file:
        for number in range(file.n_frames):
            file.seek(number)
            pictures.append(np.array(file.convert("RGB")))
    return pictures


def colours(picture: NDArray[np.uint8], rows: slice) -> set[tuple[int, ...]]:
    found = [tuple(c) for c in PALETTE.tolist() if (picture[rows] == c).all(axis=-1).any()]
    return set(found)


def test_a_track_keeps_its_colour_and_shows_its_path(tmp_path: Path) -> None:
    pictures = drawn(tmp_path / "a.gif", 12)
    assert len(pictures) == 12
    assert pictures[0].shape == (512, 512, 3)
    upper, lower = colours(pictures[0], slice(0, 256)), colours(pictures[0], slice(256, 512))
    assert len(upper) == len(lower) == 1
    assert upper != lower
    for picture in pictures:
        assert colours(picture, slice(0, 256)) == upper
        assert colours(picture, slice(256, 512)) == lower
    (colour,) = upper
    row = (pictures[11][12 * 8 + 8] == colour).all(axis=1)  # through the middle of the square
    assert row[8 * 8 : 15 * 8].all()  # its path, from where it was to where it is


@pytest.mark.parametrize(("frames", "drawn"), [(2, 2), (100, 100), (101, 51), (10_000, 100)])
def test_long_movies_are_thinned_out(frames: int, drawn: int) -> None:
    _labels, tracks = moving(2)
    animation = TrackAnimation(in_pieces(tracks), (frames, 64, 64), contrast=(0, 2))
    assert sum(animation.wants(number) for number in range(frames)) == drawn


def test_large_frames_shrink(tmp_path: Path) -> None:
    assert drawn(tmp_path / "a.gif", 2, size=600)[0].shape == (512, 512, 3)


def test_equal_movies_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.gif", "b.gif"):
        drawn(tmp_path / name, 5)
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
