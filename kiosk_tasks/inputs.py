"""Inputs in the bucket: a file is one object, the folder of an OME-Zarr is many."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kiosk_tasks.errors import MissingObject
from kiosk_tasks.imaging.zarr_names import is_zarr_folder
from kiosk_tasks.ports import Storage

__all__ = ["bytes_of", "delete_input", "has_input", "input_bytes", "is_folder", "put_input"]

_THREADS = 8  # hide a bucket's latency: a chunk has 100 kB


def is_folder(path: Path) -> bool:
    """Tell whether a local path is the folder of an OME-Zarr."""
    return is_zarr_folder(path.name) and path.is_dir()


def bytes_of(path: Path) -> int:
    """Return how many bytes a local file has, or all files of a folder; raises OSError."""
    if not is_folder(path):
        return path.stat().st_size
    return sum(file.stat().st_size for file in _files(path))


def put_input(storage: Storage, key: str, path: Path) -> None:
    """Put a local file into the bucket, or a folder, file by file; all of it, or nothing stays."""
    if not is_folder(path):
        storage.upload(key, path)
        return

    def put(file: Path) -> None:
        storage.upload(f"{key}/{file.relative_to(path).as_posix()}", file)

    try:
        with ThreadPoolExecutor(_THREADS) as threads:
            for _ in threads.map(put, _files(path)):
                pass
    except BaseException:
        storage.delete_all(f"{key}/")
        raise


def has_input(storage: Storage, key: str) -> bool:
    """Tell whether an input is there."""
    if is_zarr_folder(key) and next(iter(storage.list(f"{key}/")), None) is not None:
        return True
    return storage.exists(key)


def input_bytes(storage: Storage, key: str) -> int | None:
    """Return how many bytes an input has; None for a folder. Raises MissingObject."""
    if not is_zarr_folder(key) or storage.exists(key):
        return storage.size(key)
    if not has_input(storage, key):
        raise MissingObject(f"the bucket has no folder {key!r}.")
    return None


def delete_input(storage: Storage, key: str) -> None:
    """Remove an input; one that is not there is no error."""
    storage.delete(key)
    if is_zarr_folder(key):
        storage.delete_all(f"{key}/")


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.is_file())
