from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kiosk_tasks.choices import Choices
from kiosk_tasks.errors import Cancelled, ModelMismatch
from kiosk_tasks.imaging.tracks import Track
from kiosk_tasks.job import Context, ImageParams, JobType, new_job
from kiosk_tasks.ports import Signature, TensorSpec
from kiosk_tasks.run.local import MemoryReporter
from kiosk_tasks.segmenting.track_model import TrackModels, link_by_models, track_models
from kiosk_tasks.storage.memory import MemoryStorage

F4 = np.dtype(np.float32)
ENCODER = {
    "encoder_app_input": (-1, 32, 32, 1),
    "encoder_morph_input": (-1, 3),
    "encoder_centroid_input": (-1, 2),
    "encoder_adj_input": (-1, -1),
}
JUDGE = {
    "embedding_current": (-1, 8, 3),
    "centroid_current": (-1, 8, 2),
    "embedding_future": (-1, 1, 3),
    "centroid_future": (-1, 1, 2),
}
CHOICES = Choices(track_encoder_model="NuclearTrackingNE:2", track_inference_model="Inf")
Frame = Mapping[int, tuple[int, int, int]]
Arrays = Mapping[str, NDArray[Any]]


@dataclass
class TrackingServer:
    """A model server whose embedding is (y, x, area), and whose judge knows what that means."""

    encoder: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: ENCODER)
    judge: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: JUDGE)
    sent: list[tuple[str, Arrays]] = field(default_factory=list)
    versions: list[tuple[str, int | None]] = field(default_factory=list)

    def signature(self, name: str, version: int | None = None) -> Signature:
        self.versions.append((name, version))
        shapes = self.judge if name == "Inf" else self.encoder
        inputs = {key: TensorSpec(key, F4, shape) for key, shape in shapes.items()}
        outputs = {"out": TensorSpec("out", F4, None)}
        return Signature(name, version or 1, inputs, outputs)

    def predict(
        self,
        signature: Signature,
        batches: Iterable[Arrays],
        *,
        check: Callable[[], None] = lambda: None,
        in_flight: int | None = None,  # noqa: ARG002
    ) -> Iterator[dict[str, NDArray[Any]]]:
        for batch in batches:
            check()
            self.sent.append((signature.model, batch))
            for name, spec in signature.inputs.items():
                assert batch[name].ndim == len(spec.shape or ())
                assert batch[name].dtype == np.float32
            yield {"out": judged(batch) if signature.model == "Inf" else encoded(batch)}


def encoded(batch: Arrays) -> NDArray[np.float32]:
    values = {name.split("_")[1]: array for name, array in batch.items()}
    return np.concatenate([values["centroid"], values["morph"][..., :1]], -1)


def judged(batch: Arrays) -> NDArray[np.float32]:
    past, now = batch["embedding_current"][:, -1], batch["embedding_future"][:, 0]
    np.testing.assert_array_equal(past[:, :2], batch["centroid_current"][:, -1])
    away = np.hypot(*(past[:, None, :2] - now[None, :, :2]).transpose(2, 0, 1))
    half = now[None, :, 2] < 0.7 * past[:, None, 2]
    scores = np.stack([(away < 6) & ~half, away >= 12, (away < 12) & half], -1).astype(np.float32)
    scores += 0.005
    return scores / scores.sum(-1, keepdims=True)


def context(server: TrackingServer, choices: Choices = CHOICES) -> Context[ImageParams]:
    kind = JobType(
        name="t", title="", queue="t", params=ImageParams, stages=(lambda value, _: value,)
    )
    job = new_job(kind, {"input_file_name": "x"})
    return Context(
        job,
        ImageParams(),
        MemoryStorage(),
        server,
        MemoryReporter(),
        choices=choices,
    )


def movie(*frames: Frame) -> list[tuple[NDArray[np.uint16], NDArray[np.int32]]]:
    """Frames of squares, label -> (y, x, side), with an image of some gradient."""
    drawn = []
    for cells in frames:
        labels = np.zeros((64, 64), np.int32)
        for label, (y, x, side) in cells.items():
            labels[y : y + side, x : x + side] = label
        drawn.append((np.add.outer(np.arange(64), np.arange(64)).astype(np.uint16), labels))
    return drawn


DIVISION = movie(
    {3: (20, 20, 10), 9: (50, 50, 8)},
    {1: (21, 20, 10), 2: (50, 48, 8)},
    {1: (21, 14, 7), 2: (21, 26, 7), 8: (49, 47, 8)},
    {4: (22, 27, 7), 5: (22, 12, 7)},
)


def models(ctx: Context[Any]) -> TrackModels:
    found = track_models(ctx)
    assert found is not None
    return found


def test_one_cell_moves_and_one_divides() -> None:
    server = TrackingServer()
    ctx = context(server)
    tracks = link_by_models(iter(DIVISION), ctx, models=models(ctx))
    assert server.versions == [("NuclearTrackingNE", 2), ("Inf", None)]
    assert tracks.track.tolist() == [1, 2, 1, 2, 3, 4, 2, 4, 3]
    assert tracks.tracks == (
        Track(1, (0, 1), None, (3, 4)),
        Track(2, (0, 1, 2)),
        Track(3, (2, 3), 1),
        Track(4, (2, 3), 1),
    )


def test_what_the_models_are_sent() -> None:
    server = TrackingServer()
    ctx = context(server, replace(CHOICES, track_max_distance=20.0))
    link_by_models(DIVISION, ctx, models=models(ctx), scale=0.5)
    encoder = [batch for name, batch in server.sent if name != "Inf"]
    judge = [batch for name, batch in server.sent if name == "Inf"]
    crops = encoder[2]["encoder_app_input"]
    assert crops.shape == (3, 32, 32, 1)
    np.testing.assert_allclose(crops.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(crops.std((1, 2, 3)), 1, atol=1e-4)
    np.testing.assert_allclose(encoder[0]["encoder_centroid_input"], [[12.25, 12.25], [26.75] * 2])
    np.testing.assert_allclose(encoder[0]["encoder_morph_input"][:, 0], [25, 16])
    assert encoder[0]["encoder_adj_input"].tolist() == [[1, 0], [0, 1]]  # 20.5 px apart
    assert [batch["embedding_current"].shape for batch in judge] == [(2, 8, 3)] * 2 + [(3, 8, 3)]
    places = judge[1]["centroid_current"][1]  # seen twice: the first fills the window up
    np.testing.assert_allclose(places, [[26.75, 26.75]] * 7 + [[26.75, 25.75]])


def test_inputs_with_a_batch_axis_are_found_by_other_names() -> None:
    encoder = {"appearance": (1, -1, 32, 32, 1), "x_centers": (1, -1, 2), "x_morphs": (1, -1, 3)}
    server = TrackingServer(encoder=encoder)
    ctx = context(server)

    def answered(batch: Arrays) -> NDArray[np.float32]:
        return np.concatenate([batch["x_centers"], batch["x_morphs"][..., :1]], -1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}.encoded", answered)
        tracks = link_by_models(DIVISION, ctx, models=models(ctx))
    assert len(tracks.tracks) == 4
    assert server.sent[0][1]["appearance"].shape == (1, 2, 32, 32, 1)


def test_empty_frames_and_movies() -> None:
    ctx = context(TrackingServer())
    assert link_by_models([], ctx, models=models(ctx)).tracks == ()
    cell: Frame = {7: (20, 20, 10)}
    gap = link_by_models(movie({}, cell, {}, cell, cell), ctx, models=models(ctx))
    assert [track.frames for track in gap.tracks] == [(1,), (3, 4)]


def test_a_cell_with_one_daughter_goes_on() -> None:
    ctx = context(TrackingServer())
    frames = movie({1: (20, 20, 10)}, {1: (21, 14, 7)}, {1: (21, 14, 7)})
    assert link_by_models(frames, ctx, models=models(ctx)).tracks == (Track(1, (0, 1, 2)),)


def test_no_cell_has_three_daughters() -> None:
    ctx = context(TrackingServer())
    frames = movie({1: (30, 30, 10)}, {1: (30, 24, 6), 2: (30, 38, 6), 3: (40, 32, 6)})
    tracks = link_by_models(frames, ctx, models=models(ctx)).tracks
    assert [len(track.daughters) for track in tracks] == [2, 0, 0, 0]


def test_division_is_what_a_daughter_must_be_likelier_than() -> None:
    ctx = context(TrackingServer(), replace(CHOICES, track_division=0.995))
    tracks = link_by_models(DIVISION, ctx, models=models(ctx)).tracks
    assert all(track.parent is None for track in tracks)


@pytest.mark.parametrize("missing", ["track_encoder_model", "track_inference_model"])
def test_both_models_are_needed(missing: str) -> None:
    assert track_models(context(TrackingServer(), replace(CHOICES, **{missing: ""}))) is None


def test_models_that_cannot_link() -> None:
    without = {"encoder_morph_input": (-1, 3), "encoder_centroid_input": (-1, 2)}
    with pytest.raises(ModelMismatch, match=r"NuclearTrackingNE version 2 cannot link .* crops"):
        track_models(context(TrackingServer(encoder=without)))
    with pytest.raises(ModelMismatch, match=r"Inf version 1 cannot link .* no input 'tokens'"):
        track_models(context(TrackingServer(judge={**JUDGE, "tokens": (-1,)})))
    ctx = context(TrackingServer())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}.judged", lambda _: np.zeros((2, 2, 2), np.float32))
        with pytest.raises(ModelMismatch, match=r"one output of shape \(2, 2, 3\)"):
            link_by_models(DIVISION, ctx, models=models(ctx))


def test_a_job_that_was_cancelled_stops() -> None:
    class Stopping(MemoryReporter):
        def check(self) -> None:
            raise Cancelled("cancelled.")

    ctx = replace(context(TrackingServer()), report=Stopping())
    with pytest.raises(Cancelled):
        link_by_models(DIVISION, ctx, models=models(ctx))
