"""Link the cells of a movie into tracks, by linear assignment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kiosk_tasks.imaging.tracks import Detections, Tracks

__all__ = ["LinkingParams", "link"]


@dataclass(frozen=True)
class LinkingParams:
    """How cells are linked. Lengths are in units of the median diameter of all cells."""

    reach: float = 1.2  #: a cell moves no further from one frame to the next
    division_reach: float = 1.1  #: a daughter appears no further from her mother
    gap_frames: int = 1  #: a cell may be missed for this many frames; 0: never
    divisions: bool = True


DEFAULT_PARAMS = LinkingParams()


def _no_check() -> None:
    """Let the work go on."""


def link(
    detections: Detections,
    *,
    shape: tuple[int, int],
    params: LinkingParams = DEFAULT_PARAMS,
    check: Callable[[], None] = _no_check,
) -> Tracks:
    """Link the cells of a movie into tracks.

    shape: (Y, X) of a frame, px.
    check: called now and then; raises to stop.
    """
    raise NotImplementedError
