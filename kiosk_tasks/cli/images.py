"""Which images a command line means, and what their results are called."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from kiosk_tasks.errors import InvalidFileType
from kiosk_tasks.imaging.io import is_image_file
from kiosk_tasks.outputs import numbered, stem_of

__all__ = ["find_images", "result_names"]

_OTHERS = (".zip", ".trk", ".trks")


def find_images(arguments: Sequence[str]) -> list[Path]:
    """Return the images that files, folders and glob patterns name, each once, in order.

    A file named outright is taken whatever it holds: the job says what is wrong with it. Of a
    folder only images are taken; of a pattern archives and tracked movies, too, by their names.
    Raises InvalidFileType if an argument names nothing.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        images = _of(argument)
        if not images:
            raise InvalidFileType(
                f"{argument} names no image. Give TIFF, PNG or JPEG files, a zip archive of them, "
                "a folder or a pattern."
            )
        found.update(dict.fromkeys(images))
    return list(found)


def result_names(images: Sequence[Path]) -> list[str]:
    """Return a name for each image's results; images of the same stem get numbers."""
    names, taken = [], set[str]()
    for image in images:
        name, number = image.name, 1
        while stem_of(name) in taken:
            number += 1
            name = numbered(image.name, number)
        taken.add(stem_of(name))
        names.append(name)
    return names


def _of(argument: str) -> list[Path]:
    path = Path(argument).expanduser()
    if path.is_dir():
        return [p for p in sorted(path.iterdir()) if p.is_file() and is_image_file(p)]
    if path.exists():
        return [path]
    matches = (Path(match) for match in sorted(glob.glob(str(path), recursive=True)))  # noqa: PTH207
    return [p for p in matches if p.is_file() and (p.suffix.lower() in _OTHERS or is_image_file(p))]
