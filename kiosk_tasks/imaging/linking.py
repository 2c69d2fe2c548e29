"""Link the cells of a movie into tracks, by linear assignment.

Cells of neighbouring frames are linked so that their squared moves are least, then ends of tracks
are linked to starts over gaps and from mothers to daughters (Jaqaman et al. 2008, Nature Methods
5:695), by the library `laptrack` (Fukai and Kawaguchi 2023, Bioinformatics 39:btac799). Divisions
are then looked at once more (`divisions`). Only the table of cells is needed, no pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import ImageTooLarge
from kiosk_tasks.imaging.divisions import DivisionParams, without_false_divisions
from kiosk_tasks.imaging.limits import spaced
from kiosk_tasks.imaging.tracks import Detections, Tracks, assembled

__all__ = ["LinkingParams", "link", "typical_diameter"]


@dataclass(frozen=True)
class LinkingParams:
    """How cells are linked. Lengths are in median diameters of the movie's cells.

    Reaches were chosen on simulated movies (`benchmarks.tracking`).
    """

    reach: float = 1.2  #: a cell moves no further from one frame to the next, or over a gap
    division_reach: float = 1.1  #: a daughter appears no further from where her mother was
    gap_frames: int = 1  #: a cell may be missed for so many frames; 0: never
    divide: bool = True  #: whether cells may divide
    divisions: DivisionParams = field(default_factory=DivisionParams)


DEFAULT_PARAMS = LinkingParams()

_MOST_CELLS = 20_000  # of a frame: the distances to those of the next take 8 bytes each, 3.2 GB


def _no_check() -> None:
    """Let the work go on."""


def link(
    detections: Detections,
    *,
    shape: tuple[int, int],
    drift: NDArray[np.float64] | None = None,
    params: LinkingParams = DEFAULT_PARAMS,
    check: Callable[[], None] = _no_check,
) -> Tracks:
    """Link the cells of a movie into tracks; a track has no daughters, or two.

    detections: of all frames; any number of cells, none in some frames or in all.
    shape: (Y, X) of a frame, px.
    drift: (T, 2) (y, x) px, how far the stage had moved in each frame (`drift.drifts`).
    check: called before and after the assignment; raises to stop.
    Raises ImageTooLarge for more cells in a frame than can be compared with the next one's.

    600 frames of 100 cells take some 3 s.
    """
    places = np.stack([detections.y, detections.x], 1).astype(np.float64)
    if drift is not None:
        places -= drift[detections.frame]
    check()
    previous = _assigned(detections, places, params)
    check()
    if params.divide:
        previous = without_false_divisions(
            detections, previous, places=places, shape=shape, params=params.divisions
        )
    return assembled(detections, previous)


def typical_diameter(detections: Detections) -> float:
    """Return the diameter of a disc of the cells' median area, px; there must be cells."""
    return float(np.sqrt(4 / np.pi * np.median(detections.area)))


def _assigned(
    detections: Detections, places: NDArray[np.float64], params: LinkingParams
) -> NDArray[np.intp]:
    """Return for each row that of the cell it was in a frame before, or -1.

    places: (N, 2) (y, x), px.
    """
    previous = np.full(len(detections), -1, np.intp)
    if not len(detections) or detections.frame[0] == detections.frame[-1]:
        return previous
    _check_count(detections)
    # Imported here: with pandas and scikit-learn it costs 3 s of CPU and 130 MB.
    from laptrack import LapTrack

    unit = typical_diameter(detections) ** 2
    reach = params.reach**2 * unit
    tracker = LapTrack(  # its own metric is the squared distance; functions would be slow
        cutoff=reach,
        gap_closing_cutoff=reach if params.gap_frames else False,
        gap_closing_max_frame_count=params.gap_frames + 1,  # it counts the step, not the gap
        splitting_cutoff=params.division_reach**2 * unit if params.divide else False,
        # The cost of no link is a high percentile of all costs. Of a few that must be the highest:
        # the lower of two would rule the other out.
        alternative_cost_percentile_interpolation="higher",
    )
    first = int(detections.frame[0])
    starts = np.searchsorted(detections.frame, np.arange(first, detections.frame[-1] + 2))
    tree = tracker.predict([places[i:j] for i, j in pairwise(starts)])
    for (frame, cell), (later, same) in tree.edges:
        previous[starts[later] + same] = starts[frame] + cell
    return previous


def _check_count(detections: Detections) -> None:
    counts = np.bincount(detections.frame)
    most = int(counts.argmax())
    if counts[most] > _MOST_CELLS:
        raise ImageTooLarge(
            f"frame {most} has {spaced(int(counts[most]))} cells; up to {spaced(_MOST_CELLS)} in a "
            "frame can be linked. Crop the movie into parts, or have small objects removed "
            "(min_size)."
        )
