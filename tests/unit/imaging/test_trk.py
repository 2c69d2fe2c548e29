"""Tracked movies, sound and otherwise."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiosk_tasks.errors import ArchiveTooLarge, ImageTooLarge, UnreadableArchive
from kiosk_tasks.imaging.limits import ArchiveLimits, ImageLimits
from kiosk_tasks.imaging.trk import TrackedMovie, TrkWriter, read_trk
from tests.unit.imaging.zips import npy, npy_header, tarred, trk_files

FILES = trk_files()
RAW = np.arange(3 * 8 * 9, dtype=np.float32).reshape(3, 8, 9, 1)


def load(tmp_path: Path, content: bytes, **limits: Any) -> TrackedMovie:
    path = tmp_path / "upload"
    path.write_bytes(content)
    return read_trk(path, name="cells.trk", **limits)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_movie_comes_back(tmp_path: Path, mode: str) -> None:
    movie = load(tmp_path, tarred(FILES, mode=mode))
    np.testing.assert_array_equal(movie.raw, RAW)
    np.testing.assert_array_equal(movie.tracked, (RAW % 3).astype(np.int32))
    assert movie.lineages[0]["1"]["frames"] == [0, 1]


def test_a_batch_and_other_layouts(tmp_path: Path) -> None:
    movie = load(tmp_path, tarred(trk_files(batch=2)))
    assert movie.raw.shape == (2, 3, 8, 9, 1)
    assert len(movie.lineages) == 2
    other = {**FILES, "raw.npy": npy(np.asfortranarray(RAW.astype(">f8")))}
    movie = load(tmp_path, tarred({f"./{name}": content for name, content in other.items()}))
    assert movie.raw.dtype == np.float64
    assert movie.raw.flags.c_contiguous
    np.testing.assert_array_equal(movie.raw, RAW)


PICKLE = npy(np.array([[[[{}]]]], dtype=object))
MOVIES = {
    "no tar": (b"II*\0" + bytes(2000), "movie with tracks"),
    "empty": (b"", "movie with tracks"),
    "cut": (tarred(FILES)[:2000], "end after"),
    "cut gzip": (tarred(FILES, mode="w:gz")[:-200], "movie with tracks"),
    "no raw": (tarred({"lineage.json": b"{}"}), "no raw.npy, tracked.npy"),
    "no lineage": (tarred({k: v for k, v in FILES.items() if "npy" in k}), "no lineage.json"),
    "pickle": (tarred({**FILES, "raw.npy": PICKLE}), "no array of numbers"),
    "no json": (tarred({**FILES, "lineage.json": b"{"}), "movie with tracks"),
    "deep json": (tarred({**FILES, "lineage.json": b"[" * 100_000}), "movie with tracks"),
    "odd json": (tarred({**FILES, "lineage.json": b"[1]"}), "no lineage"),
    "lineages": (tarred({**FILES, "lineage.json": b"[{}, {}]"}), "2 lineages"),
    "shapes": (tarred({**FILES, "tracked.npy": npy(RAW[:2])}), "do not fit"),
    "short array": (tarred({**FILES, "raw.npy": npy(RAW)[:-8]}), "should follow"),
    "shape": (tarred({**FILES, "raw.npy": npy_header("3, , 4")}), "shape"),
    "negative": (tarred({**FILES, "raw.npy": npy_header("-3, 4, 5, 1")}), "no array"),
    "kind": (tarred({**FILES, "raw.npy": npy_header("3, 4, 5, 1", "<f3")}), "elements"),
    "no size": (tarred({**FILES, "raw.npy": npy_header("0, 4, 5, 1")}), "shape"),
    "no npy": (tarred({**FILES, "raw.npy": b"\x93NUMPY\x09\0"}), "start"),
    "long header": (tarred({**FILES, "raw.npy": b"\x93NUMPY\2\0\xff\xff\xff\x7f"}), "header"),
}


@pytest.mark.parametrize("case", MOVIES)
def test_bad_movies_are_refused(tmp_path: Path, case: str) -> None:
    content, fact = MOVIES[case]
    with pytest.raises(UnreadableArchive, match=fact) as caught:
        load(tmp_path, content)
    assert "cells.trk" in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "setting"),
    [
        ("1, 100000, 100000, 1", "MAX_PIXELS"),
        ("1000000000, 10, 10, 1", "MAX_FRAMES"),
        ("10000, 8000, 8000, 1", "MAX_FILE_BYTES"),
        ("1, 999999999999999999, 999999999999999999, 1", "MAX_PIXELS"),
    ],
)
def test_claims_are_checked_before_anything_is_read(
    tmp_path: Path, shape: str, setting: str
) -> None:
    with pytest.raises(ImageTooLarge, match=setting):
        load(tmp_path, tarred({**FILES, "raw.npy": npy_header(shape)}))


def test_limits(tmp_path: Path) -> None:
    with pytest.raises(ImageTooLarge, match="planes"):
        load(tmp_path, tarred(FILES), limits=ImageLimits(max_frames=2))
    with pytest.raises(ArchiveTooLarge, match="files"):
        load(tmp_path, tarred(FILES), archive_limits=ArchiveLimits(max_members=2))
    with pytest.raises(ArchiveTooLarge, match=r"lineage\.json"):
        load(tmp_path, tarred({**FILES, "lineage.json": b" " * (2**24 + 1)}))


def links() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo("raw.npy")
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    return buffer.getvalue()


def bomb(size: int, kind: bytes, name: str = "raw.npy") -> bytes:
    """Return a tar.gz whose one entry has that many zeros, of which some are really there."""
    member = tarfile.TarInfo(name)
    member.size, member.type = size, kind
    head = member.tobuf(tarfile.GNU_FORMAT)
    return gzip.compress(head + npy_header("1, 4000, 4000, 1") + bytes(2**26), 9)


@pytest.mark.parametrize(
    "content",
    [
        links(),
        bomb(2**32, tarfile.REGTYPE, "junk"),
        bomb(2**32, tarfile.XHDTYPE),
        bomb(2**32, tarfile.GNUTYPE_LONGNAME),
        bomb(4000 * 4000 * 4 + 128, tarfile.REGTYPE),
        tarred({"x" * 200: b"y"})[:512] * 5000,
    ],
)
def test_traps_are_refused_at_once(tmp_path: Path, content: bytes) -> None:
    began = time.perf_counter()
    with pytest.raises((ArchiveTooLarge, UnreadableArchive), match=r"cells\.trk"):
        load(tmp_path, content)
    assert time.perf_counter() - began < 2


def test_lineage_of_real_length(tmp_path: Path) -> None:
    track = {"label": 1, "frames": list(range(500)), "daughters": [], "capped": True}
    lineage = json.dumps({str(n): track for n in range(200)}).encode()
    assert len(load(tmp_path, tarred({**FILES, "lineage.json": lineage})).lineages[0]) == 200


def test_what_is_written_frame_by_frame_is_read_back(tmp_path: Path) -> None:
    raw = np.arange(7 * 33 * 21, dtype=np.uint16).reshape(7, 33, 21)
    tracked = (raw % 5).astype(np.int32)
    lineage = {"1": {"label": 1, "frames": [0, 1], "parent": None}}
    contents = []
    for name in ("one.trk", "two.trk"):
        path = tmp_path / name
        shape = (7, 33, 21)
        with TrkWriter(path, shape, raw=raw.dtype, tracked=tracked.dtype) as writer:
            for frame, labels in zip(raw, tracked, strict=True):
                writer.add(frame, labels)
            writer.finish(lineage)
        contents.append(path.read_bytes())
        movie = read_trk(path, name=name)
        np.testing.assert_array_equal(movie.raw[..., 0], raw)
        np.testing.assert_array_equal(movie.tracked[..., 0], tracked)
        assert movie.lineages == (lineage,)
    assert contents[0] == contents[1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.trk", "two.trk"]
    with tarfile.open(tmp_path / "one.trk", "r:gz") as tar:  # as other programs open it
        assert tar.getnames() == ["raw.npy", "tracked.npy", "lineage.json"]
        array = tar.extractfile("raw.npy")
        assert array is not None
        np.testing.assert_array_equal(np.load(io.BytesIO(array.read()))[..., 0], raw)


def test_a_movie_that_lacks_frames_is_not_written(tmp_path: Path) -> None:
    kind = np.dtype(np.uint8)
    with TrkWriter(tmp_path / "a.trk", (2, 4, 4), raw=kind, tracked=kind) as writer:
        writer.add(np.zeros((4, 4)), np.zeros((4, 4)))
        with pytest.raises(ValueError, match="1 frames"):
            writer.finish({})
    assert list(tmp_path.iterdir()) == []
