"""Parts of an unknown whole, and what browsers are told."""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context
from multiprocessing.connection import Connection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiosk_tasks.storage.per_process import PerProcess
from kiosk_tasks.storage.streams import attachment, in_parts, media_type, ranges


@given(chunks=st.lists(st.binary(max_size=40)), part_bytes=st.integers(1, 50))
def test_parts_are_the_chunks_joined_and_only_the_last_is_shorter(
    chunks: list[bytes], part_bytes: int
) -> None:
    parts = list(in_parts(chunks, part_bytes))
    assert b"".join(part for part, _ in parts) == b"".join(chunks)
    assert [last for _, last in parts] == [False] * (len(parts) - 1) + [True]
    assert all(len(part) == part_bytes for part, last in parts if not last)
    assert len(parts[-1][0]) <= part_bytes
    assert parts[-1][0] or len(parts) == 1


def test_parts_are_drawn_one_by_one() -> None:
    drawn = []

    def chunks() -> object:
        for number in range(5):
            drawn.append(number)
            yield b"xx"

    parts = in_parts(chunks(), 2)  # type: ignore[arg-type]
    next(parts)
    assert drawn == [0, 1]


@pytest.mark.parametrize(
    ("size", "steps"), [(0, []), (1, [(0, 1)]), (4, [(0, 4)]), (9, [(0, 4), (4, 4), (8, 1)])]
)
def test_ranges(size: int, steps: list[tuple[int, int]]) -> None:
    assert list(ranges(size, 4)) == steps


def test_name_of_a_download_cannot_break_the_header() -> None:
    assert attachment("a.zip") == "attachment; filename=\"a.zip\"; filename*=UTF-8''a.zip"
    header = attachment('x"; filename="evil\r\nSet-Cookie: a\\%41µ')
    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2


def test_media_type() -> None:
    assert media_type("a/b.tif") == "image/tiff"
    assert media_type("a.csv.gz") == media_type("a.unheard") == "application/octet-stream"


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_each_process_makes_its_own_and_only_one() -> None:
    made: PerProcess[str, object] = PerProcess(lambda _which: object())
    mine = made.get("a")
    assert made.get("a") is mine
    assert made.get("b") is not mine
    context = get_context("fork")
    ours, theirs = context.Pipe()

    def child(pipe: Connection) -> None:
        pipe.send((os.getpid(), made.get("a") is mine, made.get("a") is made.get("a")))

    process = context.Process(target=child, args=(theirs,))
    process.start()
    pid, same, stable = ours.recv()
    process.join()
    ours.close()
    theirs.close()
    assert (pid == os.getpid(), same, stable) == (False, False, True)
