"""Tissue in two channels: what a model of whole cells and nuclei sees, and cells of its heads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.choices import named_model
from kiosk_tasks.errors import MissingChannel, ModelMismatch
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.intensity import equalise_adaptively, normalise_percentiles
from kiosk_tasks.imaging.labels import Labels, WatershedParams, deep_watershed
from kiosk_tasks.imaging.scale import resize
from kiosk_tasks.imaging.tiling import TileLayout
from kiosk_tasks.imaging.values import Heads, Scale, Tiles
from kiosk_tasks.job import Context, Model
from kiosk_tasks.ports import Signature
from kiosk_tasks.segmenting.heads import Compartment, multiplex_heads
from kiosk_tasks.stages import served

__all__ = [
    "MODEL",
    "OURS",
    "label_compartment",
    "most_shared",
    "nuclei_in_cells",
    "pick_channels",
    "prepare",
    "shared_pixels",
    "tile_tissue",
    "two_channel_model",
]

MODEL = Model("MultiplexSegmentation", axes="YXC", tile=256, mpp=0.5)
KERNEL = 128  # px, neighbourhood in which contrast is equalised
CLIPPED_ABOVE = 99.9  # percentile
OVERLAP = 64  # px; a stride of 0.75 tiles of 256 px, as the published DeepCell applications use

OURS = frozenset(
    f"{compartment}_{head}"
    for compartment in ("whole_cell", "nuclear")
    for head in ("inner_distance", "pixelwise")
)
"""Outputs of the bundled model, by which it is known. Its classes: background, interior, border."""

# Chosen on simulated tissue (models/multiplex/README.md).
TISSUE: dict[Compartment, WatershedParams] = {
    "whole-cell": WatershedParams(maxima_depth=0.1, least_interior=0.7),
    "nuclear": WatershedParams(maxima_depth=0.06, least_interior=0.7),
}


def two_channel_model(ctx: Context[Any]) -> Signature:
    """Return the signature of the model that the job names, else of the operator's.

    Raises UnknownModel, and ModelMismatch if it does not take two channels.
    """
    chosen = named_model(ctx.choices.mesmer_model, axes="YXC", tile=MODEL.tile, mpp=MODEL.mpp)
    signature = served(chosen, ctx)
    shapes = [spec.shape for spec in signature.inputs.values()]
    if len(shapes) != 1 or (shapes[0] is not None and shapes[0][-1] not in (2, -1)):
        raise ModelMismatch(
            f"model {signature.model} version {signature.version} takes inputs of shape {shapes}; "
            "mesmer needs one input of two channels, nuclear and membrane. Name such a model."
        )
    return signature


def pick_channels(image: Image, pair: tuple[int, int], name: str) -> Image:
    """Return the nuclear and the membrane channel, axes "YXC".

    pair: their indices, from 0. name: what the person calls the image.
    Raises MissingChannel that says which channel is expected where, InvalidAxes for a stack.
    """
    count = image.size.get("C", 1)
    if max(pair) >= count:
        has = "1 channel, 0" if count == 1 else f"{count} channels, 0 to {count - 1}"
        other = next((a for a in image.axes if a not in "YXC" and image.size[a] > 1), "")
        relabelled = image.axes.replace(other, "C") if other and count == 1 else ""
        raise MissingChannel(
            f'{name} (axes "{image.axes}") has {has}; mesmer expects the nuclei in channel '
            f"{pair[0]} and the membranes in channel {pair[1]}. Send both in one file, and say "
            'where they are with channels="nuclear,membrane", for example "0,1".'
            + (f' If channels lie along {other}, say axes="{relabelled}".' if relabelled else "")
        )
    planes = image.to("YXC")
    return Image(planes.data[..., list(pair)], "YXC", image.mpp)


def tile_tissue(image: Image, scale: Scale, *, signature: Signature) -> Tiles:
    """Bring both channels to the model's pixel size and contrast, and lay out the tiles.

    image: axes "YXC", nuclear and membrane channel.
    """
    plane = prepare(resize(image.data, scale.factor))
    height, width = plane.shape[:2]
    (spec,) = signature.inputs.values()
    side = min(MODEL.tile, -(-max(height, width) // 64) * 64)
    if spec.shape is not None and len(spec.shape) == 4 and spec.shape[1] > 0:
        side = spec.shape[1]
    layout = TileLayout((height, width), side, min(OVERLAP, side // 4))
    return Tiles(plane=plane, layout=layout, scale=scale, image=image)


def prepare(planes: NDArray[Any]) -> NDArray[np.float32]:
    """Clip each channel at its 99.9th percentile, then equalise its contrast locally.

    planes: (Y, X, C) at the model's pixel size, any real dtype, finite.
    Returns (Y, X, C) float32 in [0, 1]; a constant channel becomes 0.

    Source: Greenwald et al. 2022, Nature Biotechnology 40:555, Methods.
    """
    channels = (
        normalise_percentiles(planes[..., index], low=0.0, high=CLIPPED_ABOVE, clip=(0.0, 1.0))
        for index in range(planes.shape[-1])
    )
    return np.stack([equalise_adaptively(plane, kernel=KERNEL) for plane in channels], axis=-1)


def label_compartment(heads: Heads, compartment: Compartment) -> Labels:
    """Return whole cells or nuclei at the heads' size, (Y, X) int32; 0 is background.

    A model with our heads gets our settings, another those of the published MultiplexSegmentation.
    Raises ModelMismatch that says which heads are missing.
    """
    if set(heads.planes) >= OURS:
        prefix = compartment.replace("-", "_")
        inner = heads.planes[f"{prefix}_inner_distance"][..., 0]
        classes = heads.planes[f"{prefix}_pixelwise"]
        maxima, inside = (inner + classes[..., 1]) / 2, 1 - classes[..., 0]
        return deep_watershed(maxima, inside, params=TISSUE[compartment])
    inner, interior = multiplex_heads(heads, [compartment])[compartment]
    return deep_watershed(inner, interior, params=WatershedParams.mesmer(compartment))


def nuclei_in_cells(nuclei: Labels, cells: Labels) -> NDArray[np.int64]:
    """Return for each nucleus the cell in which most of it lies, and how much.

    nuclei, cells: (Y, X) of one shape, 1..n without gaps.
    Returns (n, 3) int64: nucleus, cell (0: it lies in none), pixels of the nucleus in it. Of cells
    with equal shares the one of the lower number is taken.
    """
    base = int(cells.max(initial=0)) + 1
    return most_shared(*shared_pixels(nuclei, cells, base), base)


def shared_pixels(
    nuclei: Labels, cells: Labels, base: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which nuclei and cells share pixels, as `nucleus * base + cell`, and how many.

    base: above every cell's number; cell 0 is where there is none.
    """
    inside = nuclei > 0
    pairs, pixels = np.unique(
        nuclei[inside].astype(np.int64) * base + cells[inside], return_counts=True
    )
    return pairs, pixels.astype(np.int64)


def most_shared(
    pairs: NDArray[np.int64], pixels: NDArray[np.int64], base: int
) -> NDArray[np.int64]:
    """Return what `nuclei_in_cells` does, of what `shared_pixels` has counted."""
    nucleus, cell = np.divmod(pairs, base)
    order = np.lexsort((cell, -pixels, cell == 0, nucleus))
    first = np.unique(nucleus[order], return_index=True)[1]
    chosen = order[first]
    return np.stack([nucleus[chosen], cell[chosen], pixels[chosen]], axis=1)
