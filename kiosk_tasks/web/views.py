"""Pictures of a finished job: its input and its label images, made when they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kiosk_tasks.errors import MissingObject
from kiosk_tasks.imaging.limits import ImageLimits, check_file_bytes
from kiosk_tasks.imaging.planes import PlaneChoice, Planes, open_planes, open_zarr_planes
from kiosk_tasks.imaging.preview import contrast_of, grey_png, labels_png
from kiosk_tasks.imaging.trk import unpack_trk
from kiosk_tasks.imaging.zarr_names import is_zarr_input
from kiosk_tasks.inputs import has_input
from kiosk_tasks.ports import Storage
from kiosk_tasks.web.errors import NoResult
from kiosk_tasks.web.results_cache import Directories, Member
from kiosk_tasks.web.views_cache import FileCache, Lately
from kiosk_tasks.web.views_of import View, view_of
from kiosk_tasks.web.views_tables import spots_json, track_numbers, tracks_json

__all__ = ["Views"]

_FILES_BYTES = 2**31  # on disk
_PICTURES_BYTES = 2**26  # in memory
_MOST_VIEWS = 500
_MOST_MEMBERS = 100_000  # files that are known, over all results
_AT_ONCE = 2  # planes that are decoded at a time
_SAMPLES = 3  # frames that a movie's contrast is taken from


class Views:
    """The pictures of one running service. Threads may share it."""

    def __init__(
        self,
        bucket: Storage,
        directories: Directories,
        *,
        limits: ImageLimits,
        scratch: Path | None,
    ) -> None:
        self._bucket, self._directories, self._limits = bucket, directories, limits
        self._files = FileCache(scratch, max_bytes=_FILES_BYTES)
        self._drawn = Lately[bytes](_PICTURES_BYTES, size=len)
        self._views = Lately[View](
            _MOST_MEMBERS,
            size=lambda view: _MOST_MEMBERS // _MOST_VIEWS + len(view.directory.members),
        )
        self._contrasts = Lately[tuple[float, float]](_MOST_VIEWS)
        self._gate = threading.BoundedSemaphore(_AT_ONCE)

    def of(self, result: str) -> View:
        """Return what there is to look at of a result; raises NoResult.

        result: key of the job's output.
        """
        known = self._views.get(result)
        if known is not None:
            return known
        return self._views.put(result, view_of(self._directories.of(result), self._bucket))

    def image(self, view: View, frame: int, *, key: str, name: str) -> bytes:
        """Return a frame of the job's input as PNG.

        key: of the input. name: what a person calls it. Raises NoResult where it is gone.
        """
        _check_frame(view, frame)

        def draw() -> bytes:
            with self._planes(view, key, name) as planes:
                if frame >= planes.count:
                    raise NoResult(f"{name} has {planes.count} frames; there is no frame {frame}.")
                contrast = self._contrasts.get(view.directory.key)
                if contrast is None:
                    at = np.linspace(0, planes.count - 1, min(_SAMPLES, planes.count)).astype(int)
                    chosen = contrast_of([planes.plane(number) for number in at.tolist()])
                    contrast = self._contrasts.put(view.directory.key, chosen)
                return grey_png(planes.plane(frame), contrast)

        return self._made(f"image/{frame}/{view.directory.key}", draw)

    def labels(self, view: View, part: str, frame: int) -> bytes:
        """Return a frame of a label image as PNG; in a movie a cell has its track's number.

        part: its name. Raises NoResult where there is none.
        """
        _check_frame(view, frame)
        found = view.parts.get(part)
        member = None if found is None else found.files.get(0 if found.movie else frame)
        if found is None or member is None:
            there = ", ".join(repr(name or "-") for name in view.parts) or "none"
            raise NoResult(f"there is no label image {part!r} of frame {frame}; there is {there}.")

        def draw() -> bytes:
            choice = PlaneChoice(axes="TYX" if found.movie else "YX")
            with (
                self._member(view, member) as path,
                self._gate,
                open_planes(path, name=member.name, choice=choice, limits=self._limits) as planes,
            ):
                labels = planes.plane(frame if found.movie else 0)
            if found.movie and "lineage" in view.tables:
                lineage = self._table(view, "lineage")
                labels = track_numbers(lineage, int(labels.max(initial=0)))[labels]
            return labels_png(labels)

        return self._made(f"labels/{part}/{frame}/{view.directory.key}", draw)

    def tracks(self, view: View) -> bytes:
        """Return the tracks as JSON; raises NoResult where there are none."""
        _check_table(view, "tracks")

        def draw() -> bytes:
            divisions = self._table(view, "divisions") if "divisions" in view.tables else b""
            return tracks_json(self._table(view, "tracks"), divisions)

        return self._made(f"tracks/{view.directory.key}", draw)

    def spots(self, view: View) -> bytes:
        """Return the spots as JSON; raises NoResult where there are none."""
        _check_table(view, "spots")
        return self._made(
            f"spots/{view.directory.key}", lambda: spots_json(self._table(view, "spots"))
        )

    def _made(self, key: str, draw: Callable[[], bytes]) -> bytes:
        """Return what is kept, else what is drawn."""
        kept = self._drawn.get(key)
        return self._drawn.put(key, draw()) if kept is None else kept

    @contextmanager
    def _planes(self, view: View, key: str, name: str) -> Iterator[Planes]:
        """Open the planes of a job's input."""
        given: dict[str, Any] = {"name": name, "choice": view.image, "limits": self._limits}
        if is_zarr_input(key, name):
            if not has_input(self._bucket, key):
                raise _gone(name)
            with self._gate, open_zarr_planes(self._bucket, key, **given) as planes:
                yield planes
        else:
            with self._input(key, name) as path, self._gate, open_planes(path, **given) as planes:
                yield planes

    def _input(self, key: str, name: str) -> AbstractContextManager[Path]:
        def fetch(target: Path) -> None:
            most = min(self._limits.max_bytes, _FILES_BYTES)
            try:
                check_file_bytes(name, self._bucket.size(key), max_bytes=most)
                self._bucket.download(key, target)
            except MissingObject as exc:
                raise _gone(name) from exc
            unpack_trk(target, name=name)

        return self._files.file(f"input/{key}", fetch)

    def _member(self, view: View, member: Member) -> AbstractContextManager[Path]:
        def fetch(target: Path) -> None:
            check_file_bytes(member.name, member.size, max_bytes=_FILES_BYTES)
            with target.open("wb") as file:
                file.writelines(view.directory.read(self._bucket, member))

        return self._files.file(f"result/{view.directory.key}/{member.name}", fetch)

    def _table(self, view: View, kind: str) -> bytes:
        read = partial(view.directory.read, self._bucket)
        return b"".join(read(view.tables[kind]))


def _gone(name: str) -> NoResult:
    return NoResult(
        f"{name} is gone from the bucket, so it cannot be shown; the label images and all files of "
        "the result are still there."
    )


def _check_frame(view: View, frame: int) -> None:
    if not 0 <= frame < view.frames:
        raise NoResult(f"there is no frame {frame}; there are {view.frames}, from 0.")


def _check_table(view: View, kind: str) -> None:
    if kind not in view.tables:
        raise NoResult(f"this result has no {kind} to draw; its files say what it has.")
