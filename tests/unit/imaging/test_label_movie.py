"""Movies of labels: what is written frame by frame is read back whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from kiosk_tasks.imaging import io
from kiosk_tasks.imaging.frame_files import read_frames, write_frames
from kiosk_tasks.imaging.label_movie import LabelMovieWriter, label_type


@pytest.mark.parametrize(("largest", "mpp"), [(9, 0.65), (65535, None), (65536, None)])
def test_labels_come_back(tmp_path: Path, largest: int, mpp: float | None) -> None:
    labels = np.random.default_rng(1).integers(0, 9, (4, 20, 31)).astype(np.int32)
    labels[2, 3, 4] = largest
    kind = label_type(largest)
    paths = [tmp_path / "a.ome.tif", tmp_path / "b.ome.tif"]
    for path in paths:
        with LabelMovieWriter(path, labels.shape, kind=kind, mpp=mpp) as writer:
            for frame in labels:
                writer.add(frame)
    movie = io.read(paths[0], name="a.ome.tif")
    assert movie.axes == "TYX"
    assert movie.mpp == mpp
    assert movie.data.dtype == (np.uint16 if largest < 65536 else np.int32)
    np.testing.assert_array_equal(movie.data, labels)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_movie_too_large_for_a_classic_file_is_a_bigtiff(tmp_path: Path) -> None:
    for frames, big in ((1000, False), (20_000, True)):  # 0.5 and 10 GB, of which one frame
        path = tmp_path / "a.tif"
        with LabelMovieWriter(path, (frames, 512, 512), kind=np.dtype("u2"), mpp=None) as writer:
            writer.add(np.zeros((512, 512), np.int32))
        with tifffile.TiffFile(path, is_ome=False) as file:
            assert file.is_bigtiff == big


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_frames_in_a_file_of_their_own(tmp_path: Path, count: int, kind: str) -> None:
    frames = list(np.arange(count * 12, dtype=kind).reshape(count, 3, 4))
    write_frames(tmp_path / "a.tif", frames)
    found = read_frames(tmp_path / "a.tif")
    np.testing.assert_array_equal(found, frames)
    assert found[0].dtype == np.dtype(kind)
