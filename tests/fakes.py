"""Twins of the outside world for tests in one process: a model server, and adapters over memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kiosk_tasks.errors import UnknownModel
from kiosk_tasks.imaging import io
from kiosk_tasks.job import Limits
from kiosk_tasks.ledger import Ledger
from kiosk_tasks.ports import Signature, TensorSpec
from kiosk_tasks.storage.memory import MemoryStorage
from kiosk_tasks.wiring import Adapters
from kiosk_tasks.workspace import Workspace
from tests.synthetic import perfect_heads

__all__ = ["HEADS", "FakeModelServer", "fake_adapters", "png_bytes", "tiff_bytes"]

HEADS = ("inner_distance", "outer_distance", "foreground")

Batch = Mapping[str, NDArray[Any]]
Answer = Callable[[NDArray[Any]], dict[str, NDArray[Any]]]


@dataclass
class FakeModelServer:
    """A `ModelServer` in this process. `NuclearSegmentation` is a threshold, not a network.

    tile: side that the model insists on, px; -1: any.
    versions: what is served, by name.
    answer: outputs for a batch of images, (B, Y, X, 1).
    shapes: the shape of each batch that it was sent.
    """

    tile: int = -1
    versions: dict[str, tuple[int, ...]] = field(
        default_factory=lambda: {"NuclearSegmentation": (1,)}
    )
    answer: Answer | None = None
    outputs: tuple[str, ...] = HEADS
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    asked: list[tuple[str, int | None]] = field(default_factory=list)

    def signature(self, name: str, version: int | None = None) -> Signature:
        self.asked.append((name, version))
        served = self.versions.get(name, ())
        if not served or version not in (None, *served):
            raise UnknownModel(f"model {name} version {version} is not served.")
        spec = TensorSpec("image", np.dtype(np.float32), (-1, self.tile, self.tile, 1))
        heads = {
            head: TensorSpec(head, np.dtype(np.float32), (-1, self.tile, self.tile, 1))
            for head in self.outputs
        }
        return Signature(name, version or max(served), {"image": spec}, heads)

    def predict(
        self,
        signature: Signature,
        batches: Iterable[Batch],
        *,
        check: Callable[[], None] = lambda: None,
        in_flight: int | None = None,  # noqa: ARG002
    ) -> Iterator[dict[str, NDArray[Any]]]:
        for batch in batches:
            check()
            images = batch["image"]
            assert images.dtype == np.float32
            self.shapes.append(images.shape)
            reply = (self.answer or threshold_heads)(images)
            yield {name: reply[name] for name in signature.outputs}

    def close(self) -> None:
        """There is nothing to close."""


def threshold_heads(images: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return what a perfect network gives for the parts of each image that are above 0.4."""
    heads = [perfect_heads(ndimage.label(image[..., 0] > 0.4)[0]) for image in images]
    stacked = (np.stack(planes)[..., np.newaxis] for planes in zip(*heads, strict=True))
    return dict(zip(HEADS, stacked, strict=True))


def fake_adapters(
    *,
    models: FakeModelServer | None = None,
    ledger: Ledger | None = None,
    limits: Limits | None = None,
    **objects: bytes,
) -> Adapters:
    """Return adapters over memory; `objects` are what the bucket holds, by key."""
    storage = MemoryStorage()
    for key, data in objects.items():
        storage.put(key, data)
    return Adapters(
        storage=storage,
        workspace=Workspace(MemoryStorage()),
        models=models or FakeModelServer(),
        ledger=ledger,  # type: ignore[arg-type]  # a local run has none
        limits=limits or Limits(),
    )


def tiff_bytes(pixels: NDArray[Any], **metadata: Any) -> bytes:
    """Return an image as a TIFF file."""
    from io import BytesIO

    import tifffile

    file = BytesIO()
    tifffile.imwrite(file, pixels, **metadata)
    return file.getvalue()


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image as a PNG file."""
    from io import BytesIO

    from PIL import Image as Pillow

    file = BytesIO()
    Pillow.fromarray(pixels).save(file, "png")
    return file.getvalue()


def labels_of(data: bytes, folder: Any) -> NDArray[Any]:
    """Read a label image back."""
    path = folder / "labels.ome.tif"
    path.write_bytes(data)
    return io.read(path, name=path.name).data
