"""The two files of a batch: its inputs, and their results; zips that pack nothing.

inputs    "index.json", the names; then each input, by its number
results   the result archive of each input that is done, by its number; "index.json", what became
          of each
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_STORED, ZipFile

from kiosk_tasks.outputs import OutputFile, packed_files

__all__ = ["Done", "Inputs", "Results", "written"]

_INDEX = "index.json"


def written(files: Sequence[tuple[str, bytes]]) -> bytes:
    """Return a batch of inputs: their names, as people know them, and their bytes."""
    target = BytesIO()
    with ZipFile(target, "w", ZIP_STORED) as archive:
        archive.writestr(_INDEX, json.dumps([name for name, _ in files]))
        for number, (_, data) in enumerate(files):
            archive.writestr(str(number), data)
    return target.getvalue()


class Inputs(AbstractContextManager["Inputs"]):
    """A batch of inputs, to be read one by one."""

    def __init__(self, path: Path) -> None:
        """path: of what `written` returned."""
        self._archive = ZipFile(path)
        self.names: tuple[str, ...] = tuple(json.loads(self._archive.read(_INDEX)))

    def read(self, number: int) -> bytes:
        """Return an input's bytes."""
        return self._archive.read(str(number))

    def __exit__(self, *error: object) -> None:
        self._archive.close()


@dataclass(frozen=True)
class Done:
    """What became of one input.

    reason: why it failed; empty if it is done.
    seconds: that it took, of a process that did others, too.
    counts: facts for the table over all inputs.
    told: what older clients read of a file's job.
    """

    reason: str = ""
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)


class Results(AbstractContextManager["Results"]):
    """The results of a batch, as they are written, or read again."""

    def __init__(self, path: Path, *, new: bool = False) -> None:
        """new: to be written; else `done` is there, of each input."""
        self._archive = ZipFile(path, "w" if new else "r", ZIP_STORED)
        self.done = () if new else self._index()

    def add(self, number: int, result: bytes) -> None:
        """Take the result archive of an input."""
        self._archive.writestr(str(number), result)

    def end(self, done: Sequence[Done]) -> None:
        """Say what became of each input; nothing can be added after that."""
        self._archive.writestr(_INDEX, json.dumps([vars(one) for one in done]))
        self._archive.close()

    def files(self, number: int) -> Iterator[OutputFile]:
        """Yield the files of an input's result, none of them unpacked."""
        for name, packed in packed_files(self._archive.read(str(number))):
            yield OutputFile(name, packed=packed)

    def __exit__(self, *error: object) -> None:
        self._archive.close()

    def _index(self) -> tuple[Done, ...]:
        return tuple(Done(**one) for one in json.loads(self._archive.read(_INDEX)))
