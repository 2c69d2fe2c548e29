"""Take out of the base image's Python what no running service needs: `python bare.py`.

pip and its bundled copy, the editor, the test suite, headers. It runs in an image that is made, as
root, before anything is installed; of a Python that is not the base image's it keeps its hands.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

__all__ = ["bare", "unneeded"]

IMAGES_PREFIX = "/usr/local"
PACKAGES = ("pip", "setuptools", "wheel", "pkg_resources", "_distutils_hack")
LIBRARY = ("ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo")
PROGRAMS = ("pip*", "wheel", "idle*", "2to3*", "pydoc*", "python*-config")


def bare(prefix: Path, library: Path) -> None:
    """Remove it. prefix: where Python is installed; library: the folder of its own modules."""
    for path in unneeded(prefix, library):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def unneeded(prefix: Path, library: Path) -> Iterator[Path]:
    """Yield the files and folders that go."""
    yield from (library / name for name in LIBRARY if (library / name).exists())
    yield from library.glob("config-*")  # to link against Python
    for name in PACKAGES:
        yield from (library / "site-packages").glob(f"{name}")
        yield from (library / "site-packages").glob(f"{name}-*.dist-info")
    for pattern in PROGRAMS:
        yield from (prefix / "bin").glob(pattern)
    yield from (path for path in (prefix / "include").glob("python*"))


if __name__ == "__main__":
    if sys.prefix != IMAGES_PREFIX:
        sys.exit(f"this Python is at {sys.prefix}, and not the image's at {IMAGES_PREFIX}.")
    bare(Path(sys.prefix), Path(sysconfig.get_path("stdlib")))
