"""Which images a command line means, and what their results are called."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from kiosk_tasks.errors import InvalidFileType
from kiosk_tasks.imaging.io import is_image_file
from kiosk_tasks.imaging.zarr_names import is_ome_zarr
from kiosk_tasks.inputs import is_folder
from kiosk_tasks.outputs import numbered, stem_of

__all__ = ["find_images", "result_names"]

_OTHERS = (".zip", ".trk", ".trks")


def find_images(arguments: Sequence[str]) -> list[Path]:
    """Return the images that files, folders and glob patterns name, each once, in order.

    A file named outright is taken whatever it holds: the job says what is wrong with it. Of a
    folder only images are taken, the folders of OME-Zarr among them; of a pattern archives and
    tracked movies, too, by their names.
    Raises InvalidFileType if an argument names nothing.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        images = _of(argument)
        if not images:
            raise InvalidFileType(
                f"{argument} names no image. Give TIFF, PNG, JPEG or OME-Zarr, a zip archive of "
                "files, a folder or a pattern."
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
    if is_folder(path):
        return [path]
    if path.is_dir():
        return [p for p in sorted(path.iterdir()) if _is_image(p)]
    if path.exists():
        return [path]
    matches = (Path(match) for match in sorted(glob.glob(str(path), recursive=True)))  # noqa: PTH207
    named = [p for p in matches if _is_image(p) or (p.is_file() and p.suffix.lower() in _OTHERS)]
    return [p for p in named if not any(is_folder(folder) for folder in p.parents)]


def _is_image(path: Path) -> bool:
    if path.is_file():
        return is_ome_zarr(path.name) or is_image_file(path)
    return is_folder(path)
