"""A model server in this process that serves several models, each with heads of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.errors import UnknownModel
from kiosk_tasks.ports import Signature, TensorSpec

__all__ = ["FakeModel", "FakeModels", "deepcell", "ours", "says"]

Outputs = dict[str, NDArray[Any]]


@dataclass
class FakeModel:
    """answer: outputs for a batch of images, (B, Y, X, 1). tile: side it insists on; -1: any."""

    answer: Callable[[NDArray[Any]], Outputs]
    tile: int = -1
    seen: list[NDArray[Any]] = field(default_factory=list)


@dataclass
class FakeModels:
    """A `ModelServer`: version 1 of each of the models."""

    models: Mapping[str, FakeModel]

    def signature(self, name: str, version: int | None = None) -> Signature:
        if name not in self.models or version not in (None, 1):
            raise UnknownModel(f"model {name} version {version} is not served.")
        model = self.models[name]
        side = 64 if model.tile < 0 else model.tile
        reply = model.answer(np.zeros((1, side, side, 1), np.float32))
        float32 = np.dtype(np.float32)
        given = {"image": TensorSpec("image", float32, (-1, model.tile, model.tile, 1))}
        outputs = {}
        for one, array in reply.items():
            spatial = array.shape[1:3] == (side, side)
            shape = (-1, model.tile, model.tile, array.shape[3]) if spatial else array.shape
            outputs[one] = TensorSpec(one, array.dtype, shape)
        return Signature(name, 1, given, outputs)

    def predict(
        self,
        signature: Signature,
        batches: Iterable[Mapping[str, NDArray[Any]]],
        *,
        check: Callable[[], None] = lambda: None,
        in_flight: int | None = None,  # noqa: ARG002
    ) -> Iterator[Outputs]:
        model = self.models[signature.model]
        for batch in batches:
            check()
            model.seen.append(batch["image"])
            yield model.answer(batch["image"])

    def close(self) -> None:
        """There is nothing to close."""


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The distance to the background, 1 at the deepest pixel; (B, Y, X, 1)."""
    depth = np.stack([ndimage.distance_transform_edt(np.pad(m[..., 0], 1)) for m in mask])
    depth = depth[:, 1:-1, 1:-1, np.newaxis]
    return (depth / max(depth.max(), 1)).astype(np.float32)


def ours(threshold: float = 0.4, *, of: float = 1.0) -> FakeModel:
    """A model with our heads; cells are where `of` × the image is above the threshold."""

    def answer(images: NDArray[Any]) -> Outputs:
        mask = of * images > threshold
        distance = _distance(mask)
        foreground = mask.astype(np.float32)
        return {"inner_distance": distance, "outer_distance": distance, "foreground": foreground}

    return FakeModel(answer)


def deepcell(*heads: str, tile: int = -1, threshold: float = 0.4) -> FakeModel:
    """A model with those heads, by what their names begin with: inner, outer, classes3 …"""

    def answer(images: NDArray[Any]) -> Outputs:
        mask = images > threshold
        core = np.stack([ndimage.binary_erosion(m[..., 0]) for m in mask])[..., np.newaxis]
        classes = np.concatenate([mask & ~core, core, ~mask], axis=-1).astype(np.float32)
        kinds = {"inner": _distance(mask), "outer": _distance(mask), "classes3": classes}
        kinds["classes4"] = np.insert(classes, 1, 0, axis=-1)
        return {f"semantic_{place}": kinds[head] for place, head in enumerate(heads)}

    return FakeModel(answer, tile)


def says(*values: float) -> FakeModel:
    """A model that says the same of every image."""

    def answer(images: NDArray[Any]) -> Outputs:
        return {"said": np.tile(np.array(values, np.float32), (len(images), 1))}

    return FakeModel(answer, tile=216)
