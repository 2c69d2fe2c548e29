"""What can be sent: files as they are, arrays as OME-TIFF, OME-Zarr as zip, and many of them."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kiosk_tasks.client.errors import CannotSend
from kiosk_tasks.client.wire import Upload
from kiosk_tasks.client.zarr_folder import is_zarr_folder, zipped

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ENDINGS", "as_upload", "guess_axes", "many", "tiff_of"]

ENDINGS = (".tif", ".tiff", ".png", ".jpg", ".jpeg", ".ozx", ".zarr.zip")
"""Files of a folder that are taken for images."""

_AXES = "TZCYXB"
_FILE_ORDER = "TBZCYX"
"""Of axes in the file; OME has no letter for a batch, so B becomes Z, or T where there is a Z."""
_COLOURS = (3, 4)


def many(images: object) -> bool:
    """Tell whether that is several images: a folder, or a list of files or arrays.

    The folder of an OME-Zarr is one image.
    """
    if isinstance(images, str | Path):
        return Path(images).is_dir() and not is_zarr_folder(Path(images).name)
    return isinstance(images, list | tuple | set | Iterator)


def each(images: Any) -> list[Any]:
    """Return the images one by one: those of a folder by name, those of a list as they are."""
    if isinstance(images, str | Path):
        folder = Path(images)
        if is_zarr_folder(folder.name):
            return [folder]
        found = sorted(
            p
            for p in folder.iterdir()
            if p.name.lower().endswith(ENDINGS) or (is_zarr_folder(p.name) and p.is_dir())
        )
        if not found:
            raise CannotSend(f"{folder} has no images ({', '.join(ENDINGS)}) in it.")
        return list(found)
    return list(images) if isinstance(images, Iterable) else [images]


def as_upload(
    image: Any, params: Mapping[str, Any], *, name: str | None = None, type_name: str = ""
) -> tuple[Upload, dict[str, Any]]:
    """Return what to send for an image, and the parameters to send with it.

    image: a path, or an array; the folder of an OME-Zarr is sent as a zip file.
    name: what results are named after; default: the file's name.
    params: `axes` and `mpp` of an array go into the file.
    Raises CannotSend.
    """
    given = dict(params)
    if isinstance(image, str | Path):
        path = Path(image).expanduser()
        if is_zarr_folder(path.name) and path.is_dir():
            return zipped(path, name), given
        if not path.is_file():
            kind = "is a folder" if path.is_dir() else "does not exist"
            raise CannotSend(f"{image} {kind}; give the path of an image.")
        return Upload(name or path.name, path), given
    if not hasattr(image, "__array__"):
        raise CannotSend(f"a {type(image).__name__} is no image; give a path, or a NumPy array.")
    import numpy as np

    array = np.asarray(image)
    axes = given.pop("axes", None) or guess_axes(array, type_name)
    content, written = tiff_of(array, axes, mpp=given.get("mpp"))
    if "B" in written:
        given["axes"] = written
    return Upload(name or "array.tif", content), given


def guess_axes(array: NDArray[Any], type_name: str = "") -> str:
    """Return the axes of an array whose shape leaves no doubt; raises CannotSend.

    type_name: of the job; a movie is what `track` takes.
    """
    shape = array.shape
    if array.ndim == 2:
        return "YX"
    if array.ndim == 3 and shape[-1] in _COLOURS and shape[0] > 4 and array.dtype == "uint8":
        return "YXC"
    if type_name in ("track", "tracking", "caliban") and array.ndim in (3, 4):
        return "TYX" if array.ndim == 3 else "TCYX"
    sizes = " × ".join(map(str, shape))
    if array.ndim == 3:
        raise CannotSend(
            f"an array of {sizes} may be channels, planes or frames; "
            'say which: axes="CYX", "ZYX" or "TYX".'
        )
    raise CannotSend(
        f"an array of {sizes} has {array.ndim} axes; name them, for example "
        f'axes="{_example(array.ndim)}".'
    )


def tiff_of(array: NDArray[Any], axes: str, *, mpp: float | None = None) -> tuple[bytes, str]:
    """Return an array as an OME-TIFF, and the axes in the order in which they are in the file.

    axes: of T, Z, C, Y, X and B, a letter for each dimension; any order.
    mpp: µm per pixel. Raises CannotSend.
    """
    import numpy as np
    import tifffile

    axes = axes.upper()
    _check(array, axes)
    flat = [n for n, a in enumerate(axes) if array.shape[n] == 1 and a not in "YX"]
    array = _storable(np.squeeze(array, axis=tuple(flat)))
    axes = "".join(a for n, a in enumerate(axes) if n not in flat)
    colour = axes.endswith("YXC") and array.shape[-1] in _COLOURS and array.dtype.kind == "u"
    order = "".join(sorted(axes, key=_FILE_ORDER.index))
    if colour:
        order = order.replace("C", "") + "C"
    array = np.ascontiguousarray(array.transpose([axes.index(a) for a in order]))
    size = {f"PhysicalSize{a}": mpp for a in "XY"} | {f"PhysicalSize{a}Unit": "µm" for a in "XY"}
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        array,
        ome=True,
        photometric="rgb" if colour else "minisblack",
        extrasamples=["unassalpha"] if colour and array.shape[-1] == 4 else None,
        metadata={"axes": _ome(order, colour=colour), **(size if mpp else {})},
        compression="zlib",
    )
    return buffer.getvalue(), order


def _check(array: NDArray[Any], axes: str) -> None:
    if len(axes) != array.ndim or len(set(axes)) != len(axes) or not set(axes) <= set(_AXES):
        sizes = " × ".join(map(str, array.shape))
        raise CannotSend(
            f'axes "{axes}" do not fit an array of {sizes}: one letter for each dimension, of '
            "T (frames), Z (planes), B (batch), C (channels), Y and X."
        )
    if not {"Y", "X"} <= set(axes):
        raise CannotSend(f'axes "{axes}" have no Y or no X.')
    if not array.size:
        raise CannotSend("the array is empty.")


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array with a type of pixels that every reader of TIFF knows."""
    import numpy as np

    kind, bits = array.dtype.kind, array.dtype.itemsize * 8
    if kind == "b":
        return array.astype(np.uint8)
    if kind == "f" and bits != 32:
        return array.astype(np.float32)
    if kind in "ui" and bits > 32:
        low, high = int(array.min()), int(array.max())
        fitting: list[type[np.generic]] = [np.uint16, np.uint32, np.int32]
        for wanted in fitting:
            limits = np.iinfo(wanted)  # type: ignore[type-var]
            if limits.min <= low and high <= limits.max:
                return array.astype(wanted)
        return array.astype(np.float32)
    if kind not in "uif":
        raise CannotSend(f"pixels of type {array.dtype} cannot be sent; give numbers.")
    return array.astype(array.dtype.newbyteorder("="))


def _ome(order: str, *, colour: bool) -> str:
    letters = order[:-1] + "S" if colour else order
    return letters.replace("B", "T" if "Z" in letters else "Z")


def _example(dimensions: int) -> str:
    return {4: "TCYX", 5: "TZCYX"}.get(dimensions, "TZCYX")
