"""A model of cells that is ready to be asked."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.values import Heads, Scale, Tiles
from kiosk_tasks.job import Context
from kiosk_tasks.ports import Signature
from kiosk_tasks.prediction import Predict, predictor, served
from kiosk_tasks.segmenting.labelling import needed_outputs
from kiosk_tasks.segmenting.models import CellModel, prepare

__all__ = ["Look", "look_with"]


@dataclass(frozen=True, eq=False)
class Look:
    """How planes are looked at: the model, what the server says of it, and what asks it.

    predict: asks for one plane. predict_many: for each of many, as `Predictor.many` does.
    predict_soon: the same, for who goes on with the first while the next is under way.
    """

    cells: CellModel
    signature: Signature
    predict: Predict
    predict_many: Callable[[Iterable[Tiles]], Iterator[Heads]]
    predict_soon: Callable[[Iterable[Tiles]], Iterator[Heads]]

    def at(self, plane: Image, scale: Scale) -> Heads:
        """Return the model's outputs for a plane of axes "YX", as it looks at that scale."""
        return self.predict(self._tiles(plane, scale))

    def at_many(self, planes: Iterable[Image], scale: Scale) -> Iterator[Heads]:
        """Yield what `at` returns for each plane, in order; small planes share requests.

        planes: drawn, and made ready, while replies are awaited. Those that are under way are held
            in memory: a few requests' worth. Planes of one size fill requests best.
        """
        return self.predict_many(self._tiles(plane, scale) for plane in planes)

    def at_scales(self, plane: Image, scales: Iterable[Scale]) -> Generator[Heads]:
        """Yield what `at` returns at each scale, in order; the next is predicted meanwhile.

        Closing it cancels what is under way.
        """
        yield from self.predict_soon(self._tiles(plane, scale) for scale in scales)

    def _tiles(self, plane: Image, scale: Scale) -> Tiles:
        return prepare(plane, scale, cells=self.cells, signature=self.signature)


def look_with(
    cells: CellModel, ctx: Context[Any], *, predict: Predict | None = None, tell: bool = False
) -> Look:
    """Find out what is served, and get ready to ask it.

    predict: what asks the model; None: made here. tell: whether it reports progress by tiles.
    Raises UnknownModel, and ModelMismatch if the model takes anything but one image of one channel.
    """
    signature = served(cells.model, ctx)
    outputs = needed_outputs(signature, cells.postprocess)
    asks = predictor(signature, ctx, tell=tell, outputs=outputs)
    _check_input(signature)
    if predict is not None:
        one_by_one = partial(map, predict)
        return Look(cells, signature, predict, one_by_one, one_by_one)
    return Look(cells, signature, asks, asks.many, partial(asks.many, soon=True))


def _check_input(signature: Signature) -> None:
    (spec,) = signature.inputs.values()
    shape = spec.shape
    if shape is None:
        return
    square = len(shape) == 4 and (shape[1] == shape[2] or -1 in shape[1:3])
    if not square or shape[3] not in (-1, 1):
        text = ", ".join("any" if length < 0 else str(length) for length in shape)
        raise ModelMismatch(
            f"model {signature.model} version {signature.version} takes {spec.name} of shape "
            f"({text}); this job gives it square tiles of one channel, (any, Y, X, 1)."
        )
