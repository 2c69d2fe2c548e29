"""How good tracks are, against a truth, by the library `traccuracy`.

    score_tracks(truth_labels, truth_table, labels, table) -> TrackScores

Labels are frames (Y, X) in which a number is a track, and may be drawn one at a time; tables are
those of the Cell Tracking Challenge, (n, 4) rows (id, first frame, last frame, parent or 0).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.errors import InvalidAxes, MissingExtra, UnusableImage

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["NEAR_FRAMES", "TrackScores", "score_tracks"]

NEAR_FRAMES = 2  #: a division found so many frames too early or late still counts as found

_LABEL_BITS = 40

Node = int
"""A cell in one frame; traccuracy wants whole numbers above 0 (see `_node`)."""


@dataclass(frozen=True)
class TrackScores:
    """Scores from 0 to 1; None where the truth has nothing to be judged by.

    tra, det, lnk: tracking, detection and linking of the Cell Tracking Challenge: one minus what
        it costs to correct the graph, of what it costs to draw it (Matula et al. 2015, PLoS ONE
        10:e0144959).
    seg: mean intersection over union of the true cells with the found ones that cover more than
        half of them; a cell without such counts 0.
    division_f1: of divisions of the right mother into the right daughters, at most `NEAR_FRAMES`
        frames from the true one. division_f1_exact: in the same frame.
    divisions, divisions_found, divisions_right: how many are true, found, and both (near).
    """

    tra: float
    det: float
    lnk: float | None
    seg: float
    division_f1: float | None
    division_f1_exact: float | None
    divisions: int
    divisions_found: int
    divisions_right: int


def score_tracks(
    truth_labels: Iterable[NDArray[Any]],
    truth_table: NDArray[Any],
    labels: Iterable[NDArray[Any]],
    table: NDArray[Any],
) -> TrackScores:
    """Score the tracks of a movie against the true ones.

    truth_labels, labels: (T, Y, X) integer, or frames one by one; numbers are tracks.
    truth_table, table: (n, 4) integer rows (id, first frame, last frame, parent or 0).

    A true cell is matched to the found one that covers more than half of it, as in the Cell
    Tracking Challenge. Divisions need a matching one to one: of several true cells that one found
    cell covers, only that of the largest intersection over union is matched for them.

    Importing traccuracy takes some 5 s of CPU, because it compiles; hence not at the top.
    Raises InvalidAxes if the movies differ in size or a table does not fit its labels,
    UnusableImage if the truth has no cells, MissingExtra if traccuracy is not installed.
    """
    _require_traccuracy()
    overlaps = _Overlaps()
    for truth, found in zip_longest(truth_labels, labels):
        overlaps.add(truth, found)
    if not overlaps.truth:
        raise UnusableImage("the truth has no cells in any frame; tracks cannot be scored by it.")
    with redirect_stderr(io.StringIO()):  # its progress bars
        return _scores(
            _graph(overlaps.truth, truth_table, "the truth"),
            _graph(overlaps.found, table, "the result"),
            overlaps,
        )


class _Overlaps:
    """Which true cell is covered by which found one, gathered frame by frame."""

    def __init__(self) -> None:
        self.truth: list[Node] = []
        self.found: list[Node] = []
        self.pairs: list[tuple[Node, Node]] = []
        self.ious: list[float] = []
        self._frames = 0

    def add(self, truth: NDArray[Any] | None, found: NDArray[Any] | None) -> None:
        if truth is None or found is None or truth.shape != found.shape:
            shapes = ["nothing" if frame is None else frame.shape for frame in (truth, found)]
            raise InvalidAxes(
                f"frame {self._frames} is {shapes[0]} in the truth and {shapes[1]} in the result; "
                "both movies must have the same size."
            )
        frame, self._frames = self._frames, self._frames + 1
        true, row, true_areas = _cells(truth)
        labels, column, areas = _cells(found)
        self.truth += [_node(frame, label) for label in true[1:]]
        self.found += [_node(frame, label) for label in labels[1:]]
        shared = np.bincount(row * len(areas) + column, minlength=len(true_areas) * len(areas))
        shared = shared.reshape(len(true_areas), len(areas))
        covered = 2 * shared > true_areas[:, None]
        covered[0] = covered[:, 0] = False
        for one, other in np.argwhere(covered).tolist():
            self.pairs.append((_node(frame, true[one]), _node(frame, labels[other])))
            both = int(shared[one, other])
            self.ious.append(both / float(true_areas[one] + areas[other] - both))

    def one_to_one(self) -> list[tuple[Node, Node]]:
        """Return the pairs in which a found cell is matched only to its best true one."""
        best: dict[Node, tuple[float, Node]] = {}
        for (truth, found), iou in zip(self.pairs, self.ious, strict=True):
            best[found] = max(best.get(found, (0.0, truth)), (iou, truth))
        return [(truth, found) for found, (_iou, truth) in best.items()]


def _cells(frame: NDArray[Any]) -> tuple[list[int], NDArray[np.intp], NDArray[np.intp]]:
    """Return the labels, background first even if there is none; each pixel's index; areas."""
    flat = np.concatenate([np.zeros(1, frame.dtype), frame.ravel()])
    labels, index = np.unique(flat, return_inverse=True)
    areas = np.bincount(index)
    areas[0] -= 1
    return labels.tolist(), index[1:], areas


def _node(frame: int, label: int) -> Node:
    return (frame << _LABEL_BITS) + label


def _graph(nodes: list[Node], table: NDArray[Any], whose: str) -> nx.DiGraph[Node]:
    """Return the graph of the cells, an edge from each to what it is in its next frame."""
    import networkx as nx

    graph: nx.DiGraph[Node] = nx.DiGraph()
    frames: dict[int, list[int]] = {}
    for node in nodes:
        frame, label = node >> _LABEL_BITS, node & (1 << _LABEL_BITS) - 1
        graph.add_node(node, t=frame, segmentation_id=label)
        frames.setdefault(label, []).append(frame)
    listed = {int(row[0]): int(row[3]) for row in table}
    if unknown := sorted(set(frames) - set(listed)):
        raise InvalidAxes(
            f"{whose} has the label {unknown[0]} in frame {frames[unknown[0]][0]}, which its table "
            "of tracks does not list; labels and table must be of the same tracks."
        )
    for label, seen in frames.items():
        graph.add_edges_from(pairwise(_node(frame, label) for frame in seen))
        parent = listed[label]
        if parent in frames and frames[parent][-1] < seen[0]:
            graph.add_edge(_node(frames[parent][-1], parent), _node(seen[0], label))
    return graph


def _scores(truth: nx.DiGraph[Node], found: nx.DiGraph[Node], overlaps: _Overlaps) -> TrackScores:
    from traccuracy import TrackingGraph
    from traccuracy.matchers._matched import Matched
    from traccuracy.metrics import CTCMetrics, DivisionMetrics

    def matched(pairs: list[tuple[Node, Node]], kind: str) -> Matched:
        graphs = (TrackingGraph(graph.copy()) for graph in (truth, found))  # they get annotated
        return Matched(*graphs, pairs, {"matching type": kind})

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No edges in the GT graph")
        ctc = CTCMetrics().compute(matched(overlaps.pairs, "many-to-one")).results
    divisions = DivisionMetrics(max_frame_buffer=NEAR_FRAMES).compute(
        matched(overlaps.one_to_one(), "one-to-one"), relax_skips_gt=True, relax_skips_pred=True
    )
    exact, near = (divisions.results[f"Frame Buffer {n}"] for n in (0, NEAR_FRAMES))
    return TrackScores(
        tra=float(ctc["TRA"]),
        det=float(ctc["DET"]),
        lnk=float(ctc["LNK"]) if truth.edges else None,
        seg=sum(overlaps.ious) / len(overlaps.truth),
        division_f1=_f1(near),
        division_f1_exact=_f1(exact),
        divisions=int(near["Total GT Divisions"]),
        divisions_found=int(near["Total Predicted Divisions"]),
        divisions_right=_right(near),
    )


def _f1(counts: dict[str, Any]) -> float | None:
    both = counts["Total GT Divisions"] + counts["Total Predicted Divisions"]
    return 2 * _right(counts) / both if both else None


def _right(counts: dict[str, Any]) -> int:
    # A division over a closed gap is counted apart.
    return int(counts["True Positive Divisions"] + counts["True Positive Skip Divisions"])


def _require_traccuracy() -> None:
    try:
        with redirect_stderr(io.StringIO()):
            import_module("traccuracy.metrics")
    except ImportError as exc:
        raise MissingExtra(
            f"scores of tracks need a package that is not installed ({exc.name}); run "
            '`pip install "kiosk-tasks[evaluate]"`, then `pip install --no-deps traccuracy`.'
        ) from exc
