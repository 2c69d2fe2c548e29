"""The files of a tracked movie, written while its frames pass by: no movie is held in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.imaging.animation import TrackAnimation
from kiosk_tasks.imaging.label_movie import LabelMovieWriter, label_type
from kiosk_tasks.imaging.labels import Labels
from kiosk_tasks.imaging.lineage import Lineage, ctc_table, in_pieces, lineage_json
from kiosk_tasks.imaging.outlines import trace
from kiosk_tasks.imaging.rois import LARGEST_SIDE, RoiZip
from kiosk_tasks.imaging.tracks import Tracks
from kiosk_tasks.imaging.trk import TrkWriter
from kiosk_tasks.outputs.files import OutputFile

__all__ = ["DIVISION_COLUMNS", "TRACK_COLUMNS", "MovieFacts", "write_tracks"]

TRACK_COLUMNS = (
    "track,label,frame,y,x,area_px,mean_intensity,y_um,x_um,area_um2"  # y_um … empty without mpp
)
DIVISION_COLUMNS = "mother,frame,daughter_1,daughter_2,y,x,y_um,x_um"

_STACK, _TRK, _GIF, _REGIONS = "_tracked.ome.tif", ".trk", "_tracks.gif", "_tracked_rois.zip"
_MOST_REGIONS = 50_000  # Fiji's ROI Manager is slow long before


@dataclass(frozen=True)
class MovieFacts:
    """What is known of a movie before its frames are read.

    size: (T, Y, X). dtype: name of the pixels' type. mpp: µm per pixel, if known.
    contrast: pixel values to draw as black and as white.
    """

    size: tuple[int, int, int]
    dtype: str
    mpp: float | None
    contrast: tuple[float, float]


def write_tracks(
    frames: Iterable[tuple[NDArray[Any], Labels]],
    tracks: Tracks,
    facts: MovieFacts,
    *,
    stem: str,
    folder: Path,
) -> list[OutputFile]:
    """Write all files of one movie into a folder.

    frames: pixels and labels as they were detected, (Y, X) each, in order; drawn one by one.
    Labels are those of `in_pieces`: the label image, the `.trk` file, `lineage.json` and
    `res_track.txt` agree on them, and the tables have them beside the track.
    """
    lineage = in_pieces(tracks)
    entries = lineage_json(lineage, frames=facts.size[0])
    ends = [_STACK, _TRK, _GIF, *([_REGIONS] if _few_enough(tracks, facts) else [])]
    paths = {end: folder / f"{stem}{end}" for end in ends}
    _write_frames(frames, lineage, facts, entries=entries, paths=paths)
    return [
        *(OutputFile(path.name, path) for path in paths.values()),
        *_tables(lineage, tracks, facts, place=folder / stem),
        OutputFile(f"{stem}_lineage.json", json.dumps(entries, separators=(",", ":")).encode()),
        OutputFile(f"{stem}_res_track.txt", ctc_table(lineage)),
    ]


def _few_enough(tracks: Tracks, facts: MovieFacts) -> bool:
    """Tell whether regions of all cells are of use to anybody in Fiji."""
    return len(tracks.detections) <= _MOST_REGIONS and max(facts.size[1:]) <= LARGEST_SIDE


def _write_frames(
    frames: Iterable[tuple[NDArray[Any], Labels]],
    lineage: Lineage,
    facts: MovieFacts,
    *,
    entries: Mapping[str, Any],
    paths: Mapping[str, Path],
) -> None:
    """Write what is made of pixels. entries: of `lineage.json`. paths: by the names' ends."""
    animation = TrackAnimation(lineage, facts.size, contrast=facts.contrast)
    kind = label_type(len(lineage.pieces))
    with ExitStack() as files:
        stack = files.enter_context(
            LabelMovieWriter(paths[_STACK], facts.size, kind=kind, mpp=facts.mpp)
        )
        trk = files.enter_context(
            TrkWriter(paths[_TRK], facts.size, raw=np.dtype(facts.dtype), tracked=kind)
        )
        rois = files.enter_context(RoiZip(paths[_REGIONS])) if _REGIONS in paths else None
        for number, (image, found) in enumerate(frames):
            labels = lineage.tracks.relabel(found, number)
            stack.add(labels)
            trk.add(image, labels)
            if rois:
                rois.add_all(trace(labels), frame=number)
            if animation.wants(number):
                animation.add(number, image, labels)
        trk.finish(entries)
    animation.save(paths[_GIF])


def _tables(
    lineage: Lineage, tracks: Tracks, facts: MovieFacts, *, place: Path
) -> Iterator[OutputFile]:
    """Yield what spreadsheets read. place: folder, and what the files' names begin with."""
    table = place.with_name(f"{place.name}_tracks.csv")
    _write_lines(table, _track_lines(lineage, tracks, facts.mpp))
    yield OutputFile(table.name, table)
    divisions = "\n".join([DIVISION_COLUMNS, *_division_lines(lineage, facts.mpp)]) + "\n"
    yield OutputFile(f"{place.name}_divisions.csv", divisions.encode())


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _track_lines(lineage: Lineage, tracks: Tracks, mpp: float | None) -> Iterator[str]:
    """Yield the header, then a line for each cell of each frame, by track and frame."""
    yield TRACK_COLUMNS
    found = tracks.detections
    order = np.lexsort((found.frame, tracks.track))
    for row in order.tolist():
        y, x, area = float(found.y[row]), float(found.x[row]), float(found.area[row])
        yield (
            f"{tracks.track[row]},{lineage.label[row]},{found.frame[row]},{y:.2f},{x:.2f},"
            f"{area:.0f},{found.intensity[row]:.6g},{_um(y, mpp)},{_um(x, mpp)},"
            f"{'' if mpp is None else f'{area * mpp**2:.6g}'}"
        )


def _division_lines(lineage: Lineage, mpp: float | None) -> Iterator[str]:
    """Yield a line for each division: its first frame after, and where the mother was before."""
    by_label = {piece.label: piece for piece in lineage.pieces}
    found = lineage.tracks.detections
    for piece in lineage.divisions:
        one, other = piece.daughters
        frame = min(by_label[one].first, by_label[other].first)
        rows = found.rows(piece.last)
        row = rows.start + int(np.flatnonzero(lineage.label[rows] == piece.label)[0])
        y, x = float(found.y[row]), float(found.x[row])
        places = f"{y:.2f},{x:.2f},{_um(y, mpp)},{_um(x, mpp)}"
        yield f"{piece.track},{frame},{one},{other},{places}"


def _um(length: float, mpp: float | None) -> str:
    return "" if mpp is None else f"{length * mpp:.3f}"
