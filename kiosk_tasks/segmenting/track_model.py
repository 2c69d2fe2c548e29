"""Link cells by models: an encoder of each cell among its neighbours, and a judge of pairs.

Follows the published description of Caliban's tracker (Schwartz et al. 2023, bioRxiv 803205):
cells of a frame are a graph of neighbours whose nodes are a crop, a place and a shape; the encoder
makes an embedding of each. From the embeddings and places of a track's last frames, and those of a
cell of the next, the other model says how likely it is the same cell, a different one, or a
daughter. A linear assignment decides. Where the description leaves a choice open, ours is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kiosk_tasks.choices import named_model
from kiosk_tasks.errors import ModelMismatch
from kiosk_tasks.imaging.assignment import assigned
from kiosk_tasks.imaging.scale import resize_to
from kiosk_tasks.imaging.tracks import Detections, Tracks, assembled, detect, joined
from kiosk_tasks.job import Context
from kiosk_tasks.ports import Signature

__all__ = ["TrackModels", "link_by_models", "track_models"]

CROP = 32  # px; side of what the encoder sees of a cell
_ENCODER = {
    "crops": ("app", "crop", "image"),
    "shapes": ("morph", "shape"),
    "places": ("centroid", "center", "centre"),
    "neighbours": ("adj",),
}
_LATER = ("future", "next", "candidate")
_EMBEDDING = ("embed", "feature")

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TrackModels:
    """The two models as they are served."""

    encoder: Signature
    judge: Signature


def track_models(ctx: Context[Any]) -> TrackModels | None:
    """Return the models that the operator chose for linking; None if no model should link.

    Raises ModelMismatch if they do not take what a linking model takes, UnknownModel if one is not
    served.
    """
    names = ctx.choices.track_encoder_model, ctx.choices.track_inference_model
    if not all(names):
        return None
    wanted = (named_model(name) for name in names)
    encoder, judge = (ctx.models.signature(model.name, model.version) for model in wanted)
    _inputs(encoder, dict.fromkeys(_ENCODER, np.zeros(0)))
    _inputs(judge, {role: np.zeros(0) for role in _JUDGE})
    return TrackModels(encoder, judge)


def link_by_models(
    frames: Iterable[tuple[NDArray[Any], NDArray[Any]]],
    ctx: Context[Any],
    *,
    models: TrackModels,
    scale: float = 1.0,
) -> Tracks:
    """Link the cells of a movie into tracks; a track has no daughters, or two.

    frames: (image, labels) of each, (Y, X) both, at any pixel size; one is in memory at a time.
    scale: pixels of the models per pixel of the movie (their pixel size is 0.65 µm).

    The window of a track shorter than `track_length` frames is filled up with its first frame. A
    cell that is not seen in the next frame has ended: gaps are not closed. What is likely decides
    as `assignment.assigned` tells.
    """
    window: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []  # of each track, by cell
    tables: list[Detections] = []
    previous: list[NDArray[np.intp]] = []
    before = total = 0
    for number, (image, labels) in enumerate(frames):
        ctx.report.check()
        cells = detect(labels, image, frame=number)
        embedded, places = _encoded(cells, image, labels, ctx, models.encoder, scale)
        links = np.full(len(cells), -1, np.intp)
        if len(cells) and window:
            likely = _judged(window, embedded, places, ctx, models.judge)
            choices = ctx.choices
            links = assigned(
                likely,
                birth=choices.track_birth,
                death=choices.track_death,
                division=choices.track_division,
            )
        length = ctx.choices.track_length
        window = [
            (
                np.concatenate([window[old][0], embedded[None, i]])[-length:],
                np.concatenate([window[old][1], places[None, i]])[-length:],
            )
            if old >= 0 and np.count_nonzero(links == old) == 1
            else (embedded[None, i], places[None, i])
            for i, old in enumerate(links.tolist())
        ]
        previous.append(np.where(links >= 0, links + before, -1))
        tables.append(cells)
        before, total = total, total + len(cells)
    detections = joined(tables)
    return assembled(detections, np.concatenate([np.zeros(0, np.intp), *previous]))


def _encoded(
    cells: Detections,
    image: NDArray[Any],
    labels: NDArray[Any],
    ctx: Context[Any],
    encoder: Signature,
    scale: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (n, E) embeddings and (n, 2) (y, x) places at the models' pixel size."""
    places = np.stack([cells.y, cells.x], 1) * np.float32(scale)
    if not len(cells):
        return np.zeros((0, 1), np.float32), places
    # Imported here: a worker that waits does without it.
    from scipy.spatial.distance import cdist

    crops, shapes = _looks(image, labels, scale)
    near = cdist(places, places) <= ctx.choices.track_max_distance
    values = {"crops": crops, "shapes": shapes, "places": places, "neighbours": near}
    reply = _asked(encoder, values, ctx)
    named = [name for name in reply if any(word in name.lower() for word in _EMBEDDING)]
    if not named and len(reply) > 1:
        raise _misfit(encoder, "an output named embedding", reply)
    embedded = np.asarray(reply[(named or list(reply))[0]], np.float32)
    return embedded.reshape(-1, embedded.shape[-1])[: len(cells)], places


def _looks(
    image: NDArray[Any], labels: NDArray[Any], scale: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return crops (n, 32, 32, 1), normalised each, and shapes (n, 3), by ascending label.

    A crop is the cell's bounding box, resized; a shape is (area, perimeter, eccentricity), px.
    """
    # Imported here: only linking by models needs it.
    from skimage.measure import regionprops

    crops, shapes = [], []
    for cell in regionprops(labels):  # type: ignore[no-untyped-call]
        crop = resize_to(image[cell.slice], (CROP, CROP))
        crops.append((crop - crop.mean()) / max(float(crop.std()), 1e-6))
        shapes.append((cell.area * scale**2, cell.perimeter * scale, cell.eccentricity))
    return np.stack(crops)[..., np.newaxis].astype(np.float32), np.array(shapes, np.float32)


def _judged(
    window: list[tuple[NDArray[np.float32], NDArray[np.float32]]],
    embedded: NDArray[np.float32],
    places: NDArray[np.float32],
    ctx: Context[Any],
    judge: Signature,
) -> NDArray[np.float32]:
    """Return (tracks, cells, 3) probabilities of same, different, daughter."""
    length = ctx.choices.track_length

    def filled(past: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([np.repeat(past[:1], length - len(past), 0), past])

    values = {
        "past embeddings": np.stack([filled(past) for past, _ in window]),
        "past places": np.stack([filled(past) for _, past in window]),
        "next embeddings": embedded[:, np.newaxis],
        "next places": places[:, np.newaxis],
    }
    reply = _asked(judge, values, ctx)
    wanted = (len(window), len(places), 3)
    (answer, *others) = reply.values()
    if others or answer.size != np.prod(wanted):
        raise _misfit(judge, f"one output of shape {wanted}", reply)
    return np.asarray(answer, np.float32).reshape(wanted)


_JUDGE = {
    "past embeddings": (_EMBEDDING, False),
    "past places": (_ENCODER["places"], False),
    "next embeddings": (_EMBEDDING, True),
    "next places": (_ENCODER["places"], True),
}


def _asked(signature: Signature, values: Arrays, ctx: Context[Any]) -> Arrays:
    (reply,) = ctx.models.predict(signature, [_inputs(signature, values)], check=ctx.report.check)
    return dict(reply)


def _inputs(signature: Signature, values: Mapping[str, NDArray[Any]]) -> Arrays:
    """Give each input of a model the array that its name asks for, with a batch axis if it has one.

    Raises ModelMismatch if a name asks for none of them, or the model does not take the crops
    or the embeddings, which are what links.
    """
    found: Arrays = {}
    given = set()
    for name, spec in signature.inputs.items():
        role = next((role for role in values if _asks_for(name.lower(), role)), None)
        if role is None:
            raise _misfit(
                signature, f"no input {name!r}, but {', '.join(values)}", signature.inputs
            )
        given.add(role)
        array = np.asarray(values[role], spec.dtype)
        batched = spec.shape is not None and len(spec.shape) == array.ndim + 1
        found[name] = array[np.newaxis] if batched else array
    needed = {"crops", "past embeddings", "next embeddings"} & set(values)
    if missing := sorted(needed - given):
        raise _misfit(signature, f"an input for {missing[0]}", signature.inputs)
    return found


def _asks_for(name: str, role: str) -> bool:
    if role in _ENCODER:
        return any(word in name for word in _ENCODER[role])
    words, later = _JUDGE[role]
    return any(word in name for word in words) and later == any(word in name for word in _LATER)


def _misfit(signature: Signature, wanted: str, names: Iterable[str]) -> ModelMismatch:
    return ModelMismatch(
        f"model {signature.model} version {signature.version} cannot link cells: linking needs "
        f"{wanted}; it has {', '.join(sorted(names)) or 'none'}."
    )
