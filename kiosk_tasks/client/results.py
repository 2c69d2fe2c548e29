"""`Result`: what a finished job leaves. Only what is asked for is fetched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kiosk_tasks.client.contents import Contents
from kiosk_tasks.client.errors import KioskClientError
from kiosk_tasks.client.html import result_html
from kiosk_tasks.client.reading import Row, Tracks
from kiosk_tasks.client.state import ResultFile, State
from kiosk_tasks.client.transport import Transport

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Result"]


class Result:
    """What a finished job leaves; NotInResult is raised for what it does not."""

    def __init__(self, transport: Transport, contents: Contents) -> None:
        """Made by `Job.result()`."""
        self._run = transport.run
        self._contents = contents

    @property
    def state(self) -> State:
        """The job, as it ended."""
        return self._contents.state

    @property
    def files(self) -> list[ResultFile]:
        """The files, with their sizes."""
        return self._run(self._contents.files())

    @property
    def labels(self) -> NDArray[np.int32]:
        """The label image, (Y, X) int32, 0 the background; (T, Y, X) of a movie or a stack.

        Where there are several, such as cells and nuclei, use `parts`.
        """
        return self._run(self._contents.labels())

    @property
    def parts(self) -> dict[str, NDArray[np.int32]]:
        """All label images by name: "whole-cell", "nuclear", "channel_0"; "" for an only one."""
        return self._run(self._contents.parts())

    @property
    def tracks(self) -> Tracks:
        """The tracks of a movie, and who divided into whom; napari takes both as they are."""
        return self._run(self._contents.tracks())

    @property
    def spots(self) -> NDArray[np.float64]:
        """Places of spots, (N, 2): y, x in pixels; (N, 3) of a movie or batch, its number first."""
        return self._run(self._contents.spots())

    @property
    def cells(self) -> list[Row]:
        """The table of cells, a dict each; of a movie a dict for each cell and frame."""
        return self._run(self._contents.cells())

    @property
    def overlay(self) -> bytes:
        """The image with outlines of what was found, PNG."""
        return self._run(self._contents.overlay())

    def table(self, ending: str) -> list[Row]:
        """Return the rows of a table by the end of its name, such as "_divisions.csv"."""
        return self._run(self._contents.table(ending))

    def read(self, name: str) -> bytes:
        """Return one file by its name."""
        return self._run(self._contents.read(name))

    def save(self, folder: str | Path) -> list[Path]:
        """Write all files into a folder, which is made if need be; return their paths."""
        return self._run(self._contents.save(Path(folder)))

    def __repr__(self) -> str:
        return f"Result({self.state.type} of {self.state.name!r}, job {self.state.id})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        try:
            files = self.files
        except KioskClientError:
            files = []
        return result_html(self.state, files, self.picture())

    def picture(self) -> bytes | None:
        """Return what a notebook shows: the overlay, or the film of tracks (GIF), if any."""
        try:
            return self._run(self._contents.picture())
        except KioskClientError:
            return None
