"""Predictions: tiles to the model server, heads back; neighbouring planes share requests."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Protocol

from numpy.typing import NDArray

from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.imaging.boxes import Detections, detections_of, gather, is_boxes
from kiosk_tasks.imaging.stitching import Stitcher
from kiosk_tasks.imaging.tiling import TileCutter
from kiosk_tasks.imaging.values import Heads, Tiles
from kiosk_tasks.job import Context, Model, Stage, Status
from kiosk_tasks.limits import Limits
from kiosk_tasks.ports import Signature

__all__ = ["Predict", "Predictor", "grpc_predict", "most_tiles", "predictor", "served"]

_FULL_TILE = 512  #: px; side of the tiles that `max_batch` counts


Predict = Callable[[Tiles], Heads]
"""Sends tiles to the model server and returns its stitched heads."""


class Predictor(Protocol):
    """A `Predict` that can do many planes at once."""

    def __call__(self, tiles: Tiles) -> Heads:
        """Return the heads of one plane."""
        ...

    def many(self, planes: Iterable[Tiles], *, soon: bool = False) -> Iterator[Heads]:
        """Yield the heads of each plane, in order; neighbours of one tile side share requests.

        planes: drawn while replies are awaited, so that making them costs no time: a few requests
            ahead, never all of them.
        soon: there is work to do with the first plane while the server is at the next. If it is one
            request, it is not to share the server's processors with that.
        """
        ...


def grpc_predict(model: Model) -> Stage:
    """Return the stage that sends tiles to the model server and stitches what comes back.

    model: used where the job names none. A stage that predicts more than once uses `predictor`.
    """

    def predict(tiles: Tiles, ctx: Context[Any]) -> Heads:
        signature = served(model, ctx)
        # Here, not in `check`: a newer version may have come since, and the record must be true.
        ctx.report.note(model={"name": signature.model, "version": signature.version})
        return predictor(signature, ctx)(tiles)

    def check(ctx: Context[Any]) -> None:
        _input_name(served(model, ctx))

    return Stage("predict", predict, Status.PREDICTING, model=model, check=check)


def predictor(
    signature: Signature, ctx: Context[Any], *, tell: bool = True, outputs: Iterable[str] = ()
) -> Predictor:
    """Return what sends tiles to a model and stitches what comes back, as often as it is called.

    tell: whether it reports its progress, by the tiles of all calls.
    outputs: names of those that are stitched; none: all. A model that finds boxes gives them all.
        The server is asked for all in any case: TensorFlow Serving puts no requests together that
        ask for some, nor holds them to `num_batch_threads`.
    Raises ModelMismatch if the model takes more than one input.
    """
    return _Session(signature, ctx, tell=tell, outputs=outputs)


def served(model: Model, ctx: Context[Any]) -> Signature:
    """Return the signature of the model the job uses: the one it names, else `model`."""
    params = ctx.params
    default_version = model.version if params.model_name in (None, model.name) else None
    version_wanted = params.model_version or default_version
    return ctx.models.signature(params.model_name or model.name, version_wanted)


class _Session:
    """The predictions of one job: progress counts the tiles of all of them."""

    def __init__(
        self, signature: Signature, ctx: Context[Any], *, tell: bool, outputs: Iterable[str]
    ) -> None:
        self._tell = tell
        self._input = _input_name(signature)
        self._finds_boxes = any(is_boxes(n, s.shape) for n, s in signature.outputs.items())
        wanted = set() if self._finds_boxes else set(outputs)
        self._outputs = [name for name in signature.outputs if name in wanted or not wanted]
        self._signature = signature
        self._ctx = ctx
        self._done = 0
        self._total = 0

    def __call__(self, tiles: Tiles) -> Heads:
        (heads,) = self.many([tiles])
        return heads

    def many(self, planes: Iterable[Tiles], *, soon: bool = False) -> Iterator[Heads]:
        """Send the tiles in batches, several in flight; stitch the replies as they come."""
        in_flight = None
        if soon:
            planes = iter(planes)
            first = next(planes)
            planes = chain([first], planes)
            alone = len(first.layout) <= most_tiles(first.layout.tile, self._ctx.limits)
            in_flight = 1 if alone else None
        waiting: deque[_Plane] = deque()
        sent: deque[int] = deque()
        batches = self._batches(planes, waiting, sent)
        check = self._ctx.report.check
        replies = self._ctx.models.predict(
            self._signature, batches, check=check, in_flight=in_flight
        )
        for reply in replies:
            count = sent.popleft()
            _check_count({name: reply[name] for name in self._outputs}, count)
            self._done += count
            if self._tell:
                self._ctx.report.progress(self._done, self._total)
            start = 0
            while start < count:
                start += waiting[0].add(reply, start)
                if not waiting[0].missing:
                    yield waiting.popleft().heads()
            del reply  # else it would be held while the next one is awaited

    def _batches(
        self, planes: Iterable[Tiles], waiting: deque[_Plane], sent: deque[int]
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Cut the planes into batches, only when they are asked for; note what is under way."""
        cutter = TileCutter()
        for tiles in planes:
            self._total += len(tiles.layout)
            waiting.append(_Plane(tiles, self._outputs, finds_boxes=self._finds_boxes))
            most = most_tiles(tiles.layout.tile, self._ctx.limits)
            for batch in cutter.cut(tiles.plane, tiles.layout, batch=most):
                sent.append(len(batch))
                yield {self._input: batch}
        for batch in cutter.rest():
            sent.append(len(batch))
            yield {self._input: batch}


class _Plane:
    """A plane of which tiles are under way, and what has come of it."""

    def __init__(self, tiles: Tiles, outputs: Iterable[str], *, finds_boxes: bool) -> None:
        self._image, self._scale, self._layout = tiles.image, tiles.scale, tiles.layout
        self._stitchers = {name: Stitcher(tiles.layout) for name in outputs}
        self._found: list[Detections] | None = [] if finds_boxes else None
        self.missing = len(tiles.layout)

    def add(self, reply: Mapping[str, NDArray[Any]], start: int) -> int:
        """Take this plane's tiles out of a reply, from that one on; return how many they were."""
        stop = start + self.missing
        part = {name: reply[name][start:stop] for name in self._stitchers}
        count = len(next(iter(part.values())))
        if self._found is not None:
            self._found += _take_detections(part, self._layout.tile)
        for name, plane in part.items():
            self._stitchers[name].add(plane)
        self.missing -= count
        return count

    def heads(self) -> Heads:
        """Return what the model made of the plane; every tile must have come."""
        stitchers, detections = self._stitchers, None
        if self._found is not None:
            stitchers = {name: one for name, one in stitchers.items() if one.added}
            detections = gather(self._found, self._layout)
        planes = {name: stitcher.plane() for name, stitcher in stitchers.items()}
        return Heads(planes, self._scale, self._image, detections)


def most_tiles(side: int, limits: Limits) -> int:
    """Return how many tiles of that side share a request, at most.

    Where they are smaller than full ones, as many as have their pixels, within `max_items`.
    """
    alike = limits.max_batch * (_FULL_TILE // side) ** 2
    return max(limits.max_batch, min(alike, limits.max_items or limits.max_batch))


def _check_count(reply: Mapping[str, NDArray[Any]], count: int) -> None:
    for name, array in reply.items():
        if array.ndim == 0 or len(array) != count:
            came = len(array) if array.ndim else "no list of them"
            raise ModelMismatch(f"{count} tiles were sent; of output {name} {came} came back.")


def _take_detections(reply: dict[str, NDArray[Any]], tile: int) -> list[Detections]:
    """Take all that is no plane out of a reply, and return it as detections, one for each tile."""
    flat = [name for name, array in reply.items() if array.shape[1:3] != (tile, tile)]
    try:
        return detections_of({name: reply.pop(name) for name in flat})
    except KeyError as exc:
        raise ModelMismatch(f"the model finds objects, but gives no {exc.args[0]}.") from exc


def _input_name(signature: Signature) -> str:
    """Return the name of the model's one input; raises ModelMismatch if there are others."""
    names = sorted(signature.inputs)
    if len(names) != 1:
        raise ModelMismatch(
            f"model {signature.model} version {signature.version} takes {len(names)} inputs "
            f"({', '.join(names)}); this job gives it one, the image."
        )
    return names[0]
