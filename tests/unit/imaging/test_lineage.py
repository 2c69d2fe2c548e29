"""Tracks in the form of others: labels without gaps, tables, lineages. Written out by hand."""

from __future__ import annotations

import numpy as np

from kiosk_tasks.imaging.lineage import Piece, ctc_table, in_pieces, lineage_json
from kiosk_tasks.imaging.tracks import Detections, Track, Tracks


def tracks() -> Tracks:
    """Track 1 is missed in frame 2 and divides into 2 and 3 in frame 4; 4 is there all the time."""
    seen = [(0, 1), (0, 4), (1, 1), (1, 4), (2, 4), (3, 1), (3, 4), (4, 2), (4, 3), (4, 4)]
    frame, track = np.array(seen, np.int32).T
    label = np.array([5, 9, 5, 9, 9, 5, 9, 1, 2, 3], np.int32)
    row = np.arange(len(seen), dtype=np.float32)
    found = Detections(frame, label, row, row + 0.5, row + 10, row + 100)
    return Tracks(
        found,
        track.copy(),
        (
            Track(1, (0, 1, 3), None, (2, 3)),
            Track(2, (4,), 1),
            Track(3, (4,), 1),
            Track(4, (0, 1, 2, 3, 4)),
        ),
    )


def test_a_track_with_a_gap_becomes_two_pieces() -> None:
    lineage = in_pieces(tracks())
    assert lineage.pieces == (
        Piece(1, 1, 0, 1),
        Piece(2, 2, 4, 4, parent=5),
        Piece(3, 3, 4, 4, parent=5),
        Piece(4, 4, 0, 4),
        Piece(5, 1, 3, 3, daughters=(2, 3), continues=1),
    )
    assert lineage.label.tolist() == [1, 4, 1, 4, 4, 5, 4, 2, 3, 4]
    assert [piece.label for piece in lineage.divisions] == [5]


def test_label_images_follow_the_pieces() -> None:
    lineage = in_pieces(tracks())
    frame = np.array([[0, 5], [9, 7]])
    assert lineage.tracks.relabel(frame, 1).tolist() == [[0, 1], [4, 0]]
    assert lineage.tracks.relabel(frame, 3).tolist() == [[0, 5], [4, 0]]


def test_the_table_of_the_cell_tracking_challenge() -> None:
    text = ctc_table(in_pieces(tracks())).decode()
    assert text.splitlines() == ["1 0 1 0", "2 4 4 5", "3 4 4 5", "4 0 4 0", "5 3 3 1"]


def test_the_lineage_has_the_old_form() -> None:
    entries = lineage_json(in_pieces(tracks()), frames=5)
    fields = {"label", "frames", "frame_div", "daughters", "parent", "capped"}
    assert all(fields <= set(entry) for entry in entries.values())
    assert set(entries["4"]) == fields
    assert entries["5"] == {
        "label": 5,
        "frames": [3],
        "frame_div": 4,
        "daughters": [2, 3],
        "parent": None,
        "capped": True,
        "continues": 1,
    }
    assert entries["2"]["parent"] == 5
    assert entries["4"]["frames"] == [0, 1, 2, 3, 4]
    assert [entries[key]["capped"] for key in "1234"] == [False, False, False, False]
    assert lineage_json(in_pieces(tracks()), frames=6)["4"]["capped"]


def test_no_tracks_at_all() -> None:
    none = np.zeros(0, np.int32)
    empty = Tracks(Detections(none, none, *[none.astype(np.float32)] * 4), none, ())
    lineage = in_pieces(empty)
    assert lineage.pieces == ()
    assert ctc_table(lineage) == b""
    assert lineage_json(lineage, frames=3) == {}
    assert not lineage.tracks.relabel(np.ones((2, 2), int), 0).any()
