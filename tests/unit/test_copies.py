"""How often a pixel is copied between a plane and the model server, and back.

A plane of floats has 4 bytes a pixel. Each step below may take memory for so many copies of the
tiles that it handles, and no more: what a new copy takes is seen in the peak.

* 1 into the batch: tiles overlap, so they are cut out of the plane;
* 1 into the request: gRPC takes bytes that are whole;
* 0 out of the reply: the array is a view of what gRPC received;
* 1 into the stitched plane: the one that the job keeps, and two tiles to weigh with.

gRPC itself copies once more each way, into and out of its own buffers; that is not seen here.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest

from kiosk_tasks.imaging.stitching import Stitcher
from kiosk_tasks.imaging.tiling import TileLayout, iter_tiles
from kiosk_tasks.ports import Signature, TensorSpec
from kiosk_tasks.serving.protos import predict_pb2
from kiosk_tasks.serving.signatures import fit_inputs
from kiosk_tasks.serving.tensors import to_proto
from kiosk_tasks.serving.wire import read_reply, write_request

T = TypeVar("T")

SIDE, TILE = 512, 128
LAYOUT = TileLayout((SIDE, SIDE), TILE, 32)
SPEC = TensorSpec("x", np.dtype("f4"), (-1, -1, -1, 1))
SIGNATURE = Signature("M", 1, {"x": SPEC}, {"x": SPEC})
SLACK = 0.05  #: of the bytes: what the names, shapes and objects around them take


def peak_of(work: Callable[[], T]) -> tuple[T, int]:
    """Return what `work` returns, and the most bytes that it held at once."""
    work()  # once before, for what is kept for good
    tracemalloc.start()
    try:
        result = work()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_tiles_are_copied_once_when_they_are_cut() -> None:
    plane = np.ones((SIDE, SIDE, 1), np.float32)
    (batch,), peak = peak_of(lambda: list(iter_tiles(plane, LAYOUT, batch=len(LAYOUT))))
    assert batch.nbytes <= peak <= (1 + SLACK) * batch.nbytes


def test_pixels_are_copied_once_into_a_request() -> None:
    batch = np.ones((8, TILE, TILE, 1), np.float32)
    data, peak = peak_of(lambda: write_request(SIGNATURE, fit_inputs(SIGNATURE, {"x": batch})))
    assert batch.nbytes <= len(data) <= peak <= (1 + SLACK) * batch.nbytes


@pytest.mark.parametrize("typed", [False, True])
def test_no_pixel_of_a_reply_is_copied(typed: bool) -> None:
    batch = np.ones((8, TILE, TILE, 1), np.float32)
    reply = predict_pb2.PredictResponse(outputs={"x": to_proto(batch, typed=typed)})
    data = reply.SerializeToString()
    array, peak = peak_of(lambda: read_reply(data)["x"].array())
    assert array.shape == batch.shape
    assert peak <= SLACK * batch.nbytes


@pytest.mark.parametrize("channels", [1, 4])
def test_replies_are_copied_once_into_the_plane(channels: int) -> None:
    tiles = np.ones((len(LAYOUT), TILE, TILE, channels), np.float32)

    def stitched() -> Stitcher:
        stitcher = Stitcher(LAYOUT)
        for start in range(0, len(tiles), 8):
            stitcher.add(tiles[start : start + 8])
        return stitcher

    stitcher, peak = peak_of(stitched)
    plane = stitcher.plane()
    assert plane.nbytes <= peak <= (1 + SLACK) * plane.nbytes + 2 * TILE * TILE * 4
