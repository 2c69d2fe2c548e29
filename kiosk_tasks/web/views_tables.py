"""Tracks and spots of a result's tables, as the page draws them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_SPOTS", "spots_json", "track_numbers", "tracks_json"]

MOST_SPOTS = 50_000


def tracks_json(table: bytes, divisions: bytes) -> bytes:
    """Return the tracks of `…_tracks.csv`: each one's places, frame by frame, and its parent."""
    rows = csv.DictReader(table.decode().splitlines())
    tracks: dict[int, list[list[float]]] = {}
    for row in rows:
        place = [int(row["frame"]), float(row["y"]), float(row["x"])]
        tracks.setdefault(int(row["track"]), []).append(place)
    parents = {
        int(row[daughter]): int(row["mother"])
        for row in csv.DictReader(divisions.decode().splitlines())
        for daughter in ("daughter_1", "daughter_2")
    }
    found = [
        {"id": number, "parent": parents.get(number), "points": points}
        for number, points in tracks.items()
    ]
    return _encoded({"tracks": found})


def spots_json(table: bytes) -> bytes:
    """Return the spots of `…_spots.csv`, spread evenly over them where there are too many.

    cells: the first of the cells that each lies in, 0 for none. frames: of a movie or a batch.
    """
    reader = csv.reader(table.decode().splitlines())
    columns = {name: place for place, name in enumerate(next(reader))}
    rows = list(reader)
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), MOST_SPOTS)).round().astype(int)
    shown = [rows[index] for index in chosen.tolist()]
    plane = columns.get("frame", columns.get("batch"))
    return _encoded(
        {
            "spots": [[float(row[columns[axis]]) for axis in "yx"] for row in shown],
            "cells": _numbers(shown, columns.get("cellID0")),
            "frames": _numbers(shown, plane),
            "total": len(rows),
        }
    )


def track_numbers(lineage: bytes, largest: int) -> NDArray[np.int32]:
    """Return the track of each label, (largest + 1,): a cell that is back keeps its number.

    lineage: `…_lineage.json`; in it, a piece of a track says which piece it continues.
    """
    tracks = np.arange(largest + 1, dtype=np.int32)
    pieces: Mapping[str, Mapping[str, Any]] = json.loads(lineage)
    for label in sorted(map(int, pieces)):  # a piece has a higher label than the one before it
        before = pieces[str(label)].get("continues")
        if before is not None and label <= largest:
            tracks[label] = tracks[before]
    return tracks


def _numbers(rows: Iterable[Sequence[str]], column: int | None) -> list[int] | None:
    return None if column is None else [int(row[column]) for row in rows]


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
