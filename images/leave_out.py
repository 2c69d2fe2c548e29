"""What no running image needs of the libraries: tests, sources to compile against, samples.

Each pattern says why. What is left out is only ever removed, never changed: the files may be hard
links into uv's cache.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

__all__ = ["leave_out"]

PATTERNS = (
    "**/tests",  # of pandas, scipy, numpy, scikit-learn, scikit-image, networkx
    "joblib/test",  # and no other `test`: TensorFlow's is for tests of yours
    "bin",  # console scripts, which name the builder's Python
    "share",  # manual pages
    "include",
    "numpy/_core/include",
    "sklearn/datasets/data",
    "sklearn/datasets/images",
    "sklearn/datasets/descr",
    "numpy/**/*.pyi",  # for type checkers; scikit-image's own are read when it runs
    "pandas/**/*.pyi",
    "scipy/**/*.pyi",
    "**/*.pyx",  # for compilers, as all that follow
    "**/*.pxd",
    "**/*.pxi",
    "**/*.tp",
    "**/*.c",
    "**/*.cpp",
    "**/*.h",
    "**/*.hpp",
    "**/*.a",
    "**/*.f90",
    "skimage/data/*.png",  # sample images
    "skimage/data/*.npz",
    "skimage/data/*.npy",
    "skimage/data/*.tif",
    "skimage/data/*.jpg",
    "skimage/data/*.gif",
    "skimage/data/*.xml",
    "imagecodecs/_avif*",  # a picture format of web sites, with an encoder of films
    "imagecodecs.libs/libaom*",
    "imagecodecs.libs/libavif*",
    "PIL/_avif*",
    "pillow.libs/libavif*",
)
BOTOCORE = ("s3", "sts", "sso", "sso-oidc", "signin")
"""The services that a bucket needs, with the ways to log in; botocore describes 400 more."""


def leave_out(lib: Path, patterns: Iterable[str] = ()) -> None:
    """Remove what is not needed from a library folder.

    patterns: of files and folders, beside those of all images.
    """
    services = (path for path in (lib / "botocore" / "data").glob("*") if path.is_dir())
    unused = [path for path in services if path.name not in BOTOCORE]
    for pattern in (*PATTERNS, *patterns):
        unused += lib.glob(pattern)
    for path in unused:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # it went with its folder
