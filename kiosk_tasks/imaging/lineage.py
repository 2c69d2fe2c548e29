"""Tracks as the label images and files of others know them: each without a gap.

The Cell Tracking Challenge and the programs that read its files want a cell of every number in
every frame from its first to its last. So a track that bridges a frame in which its cell was missed
becomes several pieces with a number each: the first has the track's, the others follow after all
tracks. In `res_track.txt` such a piece has the one before it as its parent, which is the
challenge's way to say that a cell is back (Ulman et al. 2017, Nature Methods 14:1141).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.tracks import Track, Tracks

__all__ = ["Lineage", "Piece", "ctc_table", "in_pieces", "lineage_json"]


@dataclass(frozen=True)
class Piece:
    """A track, or a part of one, without a gap.

    label: its number in label images. track: the number of its track.
    first, last: frames, from 0.
    parent: label of the piece that divided into this one. daughters: labels, none or two.
    continues: label of the piece of the same cell before a gap.
    """

    label: int
    track: int
    first: int
    last: int
    parent: int | None = None
    daughters: tuple[int, ...] = ()
    continues: int | None = None


@dataclass(frozen=True, eq=False)
class Lineage:
    """The pieces of all tracks, by label from 1, and which label each detection has.

    tracks: those that `relabel` numbers the cells of a frame by: `label` in place of tracks.
    """

    pieces: tuple[Piece, ...]
    tracks: Tracks

    @property
    def label(self) -> NDArray[np.int32]:
        """Label of each row of the detections, (N,)."""
        return self.tracks.track

    @property
    def divisions(self) -> Iterator[Piece]:
        """The pieces that end in a division."""
        return (piece for piece in self.pieces if piece.daughters)


def in_pieces(tracks: Tracks) -> Lineage:
    """Cut tracks at their gaps."""
    runs = {track.id: _runs(track) for track in tracks.tracks}
    labels: dict[int, list[int]] = {}
    following = len(runs) + 1
    for track, found in runs.items():
        labels[track] = [track, *range(following, following + len(found) - 1)]
        following += len(found) - 1
    pieces = [
        Piece(
            label=label,
            track=track.id,
            first=first,
            last=last,
            parent=labels[track.parent][-1] if track.parent and number == 0 else None,
            daughters=track.daughters if number == len(runs[track.id]) - 1 else (),
            continues=labels[track.id][number - 1] if number else None,
        )
        for track in tracks.tracks
        for number, (label, (first, last)) in enumerate(
            zip(labels[track.id], runs[track.id], strict=True)
        )
    ]
    label_of = tracks.track.copy()
    for piece in pieces:
        if piece.continues is not None:
            later = (tracks.track == piece.track) & (tracks.detections.frame >= piece.first)
            label_of[later] = piece.label
    pieces.sort(key=lambda piece: piece.label)
    return Lineage(tuple(pieces), replace(tracks, track=label_of))


def ctc_table(lineage: Lineage) -> bytes:
    """Return `res_track.txt`: a line "label first last parent" each; parent 0 is none."""
    lines = (
        f"{piece.label} {piece.first} {piece.last} {piece.parent or piece.continues or 0}\n"
        for piece in lineage.pieces
    )
    return "".join(lines).encode()


def lineage_json(lineage: Lineage, *, frames: int) -> dict[str, dict[str, Any]]:
    """Return what `lineage.json` holds, by label: the form of the old Kiosk and of `.trk` files.

    frames: of the whole movie.
    `frame_div` is the first frame of the daughters; null without a division. `capped` tells that
    the cell is lost or has divided before the movie ends. A piece after a gap has `continues`
    besides, the label of the piece before it; that one is not capped.
    """
    by_label = {piece.label: piece for piece in lineage.pieces}
    continued = {piece.continues for piece in lineage.pieces}
    return {
        str(piece.label): {
            "label": piece.label,
            "frames": list(range(piece.first, piece.last + 1)),
            "frame_div": min((by_label[d].first for d in piece.daughters), default=None),
            "daughters": list(piece.daughters),
            "parent": piece.parent,
            "capped": piece.last < frames - 1 and piece.label not in continued,
            **({} if piece.continues is None else {"continues": piece.continues}),
        }
        for piece in lineage.pieces
    }


def _runs(track: Track) -> list[tuple[int, int]]:
    """Return first and last frame of each stretch without a gap."""
    breaks = [(one, other) for one, other in pairwise(track.frames) if other != one + 1]
    firsts = [track.frames[0], *(other for _one, other in breaks)]
    return list(zip(firsts, [*(one for one, _other in breaks), track.frames[-1]], strict=True))
