"""Files that were built to do harm, files that are damaged, and sound ones beside them."""

from __future__ import annotations

import io
import stat
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kiosk_tasks.ports import Storage
from tests.unit.imaging.files import COLOUR, PLANE, png, tiff
from tests.unit.imaging.traps import TRAPS, ZEROS
from tests.unit.imaging.zips import (
    many_entries,
    npy,
    one_entry,
    overlapping,
    tarred,
    trk_files,
    zipped,
)

__all__ = ["DAMAGED", "FOLDER", "HARMFUL", "MORE_HARMFUL", "SOUND", "Input", "lay_out"]

FOLDER = "uploads/files/"


@dataclass(frozen=True)
class Input:
    """A file and how a job is to read it.

    name: what the person calls it. make: returns its bytes; None for a file that is not there.
    """

    name: str
    make: Callable[[], bytes] | None
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return FOLDER + self.name

    @property
    def job(self) -> dict[str, Any]:
        """What to submit a job of type `file` with."""
        return {"input_file_name": self.key, **self.params}


def lay_out(inputs: list[Input], bucket: Storage) -> None:
    """Put the files into a bucket."""
    for one in inputs:
        if one.make is not None:
            bucket.put(one.key, one.make())


def _link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("a.tif")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


def _pickled() -> bytes:
    return tarred({**trk_files(), "raw.npy": npy(np.array([[[[{}]]]], dtype=object))})


def _with_nan() -> bytes:
    plane = PLANE.astype(np.float32)
    plane[5, 7] = np.nan
    return tiff(plane)


_ZIP, _TRK = {"kind": "zip"}, {"kind": "trk"}

SOUND = [
    Input("cells.tif", lambda: tiff(PLANE, compression="zlib")),
    Input("cells.png", lambda: png(PLANE)),
    Input("cells.zip", lambda: zipped({"a.tif": tiff(PLANE), "b.png": png(COLOUR)}), _ZIP),
    Input("cells.trk", lambda: tarred(trk_files()), _TRK),
]

HARMFUL = [
    Input("giant.tif", TRAPS["claims 100000 squared"]),
    Input("giant.png", TRAPS["png claims 100000 squared"]),
    Input("bomb.zip", lambda: zipped({"a.tif": ZEROS}), _ZIP),
    Input("overlapping.zip", lambda: overlapping(1000), _ZIP),
    Input("million.zip", lambda: many_entries(10**6), _ZIP),
    Input("leaves.zip", lambda: one_entry(b"../../a.tif"), _ZIP),
    Input("link.zip", _link, _ZIP),
    Input("pickled.trk", _pickled, _TRK),
]

MORE_HARMFUL = [Input(f"trap{n}.tif", make) for n, make in enumerate(TRAPS.values())]

DAMAGED = [
    Input("cut.tif", lambda: tiff(PLANE)[:3000]),
    Input("cut-zlib.tif", lambda: tiff(PLANE, compression="zlib")[:-200]),
    Input("cut.png", lambda: png(PLANE)[:2000]),
    Input("empty.tif", lambda: b""),
    Input("document.tif", lambda: b"%PDF-1.7\n" + bytes(100)),
    Input("archive.tif", lambda: zipped({"a.tif": tiff(PLANE)})),
    Input("words.png", lambda: b"hello, these are no pixels"),
    Input("nan.tif", _with_nan),
    Input("constant.tif", lambda: tiff(PLANE * 0)),
    Input("complex.tif", lambda: tiff(PLANE.astype(np.complex64))),
    Input("no-rows.tif", TRAPS["no size"]),
    Input("no-channel.tif", lambda: tiff(PLANE), {"channel": 3}),
    Input("wrong-axes.tif", lambda: tiff(PLANE), {"axes": "ZYX"}),
    Input("movie.tif", lambda: tiff(np.stack([PLANE] * 3), photometric="minisblack")),
    Input("cut.zip", lambda: zipped({"a.tif": tiff(PLANE)})[:-30], _ZIP),
    Input("image.zip", lambda: tiff(PLANE), _ZIP),
    Input("cut.trk", lambda: tarred(trk_files())[:2000], _TRK),
    Input("not-there.tif", None),
]
