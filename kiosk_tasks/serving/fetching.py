"""Models to where a model server finds them: from the bucket, or those that come along."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Collection, Iterable
from functools import partial
from importlib.resources import files
from pathlib import Path

from kiosk_tasks.errors import UnknownModel
from kiosk_tasks.ports import Storage
from kiosk_tasks.scratch import scratch_folder
from kiosk_tasks.serving.deployed import deployed

__all__ = ["fetch_from_bucket", "fetch_own"]

_SAVED = "saved_model.pb"


def fetch_own(folder: Path, names: Collection[str] | None = None) -> list[Path]:
    """Copy the models that come along to `<folder>/<name>/<version>/`; return what was copied.

    names: of these, which; None: all.
    """
    source = _own()
    return [
        target
        for name, versions in deployed([source]).items()
        for version in versions
        if names is None or name in names
        if (target := _place(folder, name, str(version), partial(_copy, source)))
    ]


def fetch_from_bucket(bucket: Storage, names: Iterable[str], folder: Path) -> list[Path]:
    """Copy all versions of those models from `models/<name>/<version>/` of a bucket.

    Of a model that the bucket does not have, the versions that come along are copied. A version
    appears whole, and one that is in the folder stays. Returns what was copied.
    Raises UnknownModel for a model that is nowhere, and what the bucket raises.
    """
    fetched = list[Path]()
    for name in names:
        keys = list(bucket.list(f"models/{name}/"))
        parts = [key.split("/") for key in keys]
        versions = [part for _, _, part, *rest in parts if rest == [_SAVED] and part.isdecimal()]
        if not versions and name in deployed([_own()]):
            fetched += fetch_own(folder, [name])
        elif not versions:
            raise UnknownModel(
                f"the bucket has no model {name} (models/{name}/<version>/{_SAVED}). "
                "Put it there with `kiosk export-model`, or ask for another."
            )
        for version in versions:
            target = _place(folder, name, version, partial(_download, bucket, keys))
            if target:
                fetched.append(target)
    return fetched


def _own() -> Path:
    return Path(str(files("kiosk_tasks.serving") / "models"))


def _place(
    folder: Path, name: str, version: str, fill: Callable[[str, str, Path], None]
) -> Path | None:
    """Have a version made elsewhere and put it in place by one rename; None if it is there."""
    target = folder / name / version
    if target.exists():
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(target.parent) as scratch:  # servers pass over what is named by no number
        made = scratch / "model"
        fill(name, version, made)
        try:
            made.rename(target)
        except OSError as exc:
            if exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return None  # somebody else was sooner
    target.chmod(0o755)  # the server runs as another user
    return target


def _copy(source: Path, name: str, version: str, made: Path) -> None:
    shutil.copytree(source / name / version, made)


def _download(bucket: Storage, keys: Iterable[str], name: str, version: str, made: Path) -> None:
    prefix = f"models/{name}/{version}/"
    for key in keys:
        if key.startswith(prefix):
            file = made / key.removeprefix(prefix)
            file.parent.mkdir(parents=True, exist_ok=True)
            bucket.download(key, file)
            file.chmod(0o644)
