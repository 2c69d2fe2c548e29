"""Spots in cells: where each spot is, the cell it lies in, and how many each cell has.

Spots are found here; cells by child jobs, `predict` for a cell culture and `mesmer` for tissue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from kiosk_tasks.errors import InvalidParameter, PartFailed
from kiosk_tasks.fan_out import Child, FanOut, Gathered, Outcome
from kiosk_tasks.imaging import io
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.imaging.image_file import write_image
from kiosk_tasks.imaging.intensity import check_pixels
from kiosk_tasks.imaging.labels import LabelImage
from kiosk_tasks.imaging.spot_values import CellPart, SpotsInCells, cells_of_spots
from kiosk_tasks.job import Context, JobType, Stage, Status
from kiosk_tasks.outputs import fetch_result, parts_folder, stem_of
from kiosk_tasks.params import form
from kiosk_tasks.scratch import scratch_folder
from kiosk_tasks.segmenting.spots import SpotOptions, check_spots, plane_of, spot_finder
from kiosk_tasks.stages import download, upload

CULTURE, TISSUE, NONE = "culture", "tissue", "none"
LABELS = {"nuclear": 0, "cytoplasm": 1}
"""What `predict` calls the cells of each channel of a culture."""
COMPARTMENTS = ("whole-cell", "nuclear")
_LABEL_FILE = "_labels.ome.tif"
_LONGEST_STEM = 120  # bytes; what is put behind it must not be cut off


def _plain(text: object) -> object:
    """Read "Cell-Culture" as "cell culture"."""
    return text.lower().replace("_", " ").replace("-", " ") if isinstance(text, str) else text


class PolarisParams(SpotOptions):
    """Parameters of `polaris`."""

    channels: str | None = Field(
        None,
        pattern=r"^\d*(,\d*){0,2}$",
        description='Spot, nuclear and cytoplasm or membrane channel, from 0: "0,1,2", "0,,1"; '
        "default: spots in channel 0. The parameters below stand above it.",
        json_schema_extra=form(rare=True),
    )
    spot_channels: str | None = Field(
        None,
        pattern=r"^\d+(,\d+)*$",
        description='Channels with spots: "0", "0,3"; each is searched by itself.',
    )
    nuclear_channel: int | None = Field(None, ge=0, description="Channel that shows the nuclei.")
    membrane_channel: int | None = Field(
        None, ge=0, description="Channel that shows the cytoplasm or the membrane."
    )
    segmentation_type: Annotated[
        Literal["none", "culture", "cell culture", "tissue"] | None, BeforeValidator(_plain)
    ] = Field(
        None,
        description="none: spots only; culture (or cell culture): nuclei, cytoplasm or both; "
        "tissue: whole cells, of both channels. Default: culture if a channel shows cells.",
    )
    compartment: Literal["whole-cell", "nuclear", "both"] | None = Field(
        None, description="What is wanted of tissue; default: the operator's."
    )

    @property
    def spots_in(self) -> tuple[int, ...]:
        """The channels that show spots."""
        if self.spot_channels is not None:
            return tuple(dict.fromkeys(int(index) for index in self.spot_channels.split(",")))
        return (self._listed(0) or 0,)

    @property
    def cells_in(self) -> dict[str, int]:
        """The channels that show cells: "nuclear" and "cytoplasm"."""
        given = (self.nuclear_channel, self.membrane_channel)
        named = {
            name: self._listed(place) if index is None else index
            for place, (name, index) in enumerate(zip(LABELS, given, strict=True), start=1)
        }
        return {name: index for name, index in named.items() if index is not None}

    @property
    def segmentation(self) -> str:
        """How cells are found."""
        wanted = self.segmentation_type or (CULTURE if self.cells_in else NONE)
        return CULTURE if wanted == "cell culture" else wanted

    def _listed(self, place: int) -> int | None:
        entries = [*(self.channels or "").split(","), "", "", ""]
        return int(entries[place]) if entries[place] else None


@dataclass(frozen=True, eq=False)
class FieldOfView:
    """One field of view: the planes that show spots, by channel, and those that show cells."""

    spots: Mapping[str, Image]
    cells: Mapping[str, Image]


def check_cells(ctx: Context[PolarisParams]) -> None:
    """Find out before any work whether the channels that the cells need are named."""
    kind, given = ctx.params.segmentation, ctx.params.cells_in
    if kind == CULTURE and not given:
        raise InvalidParameter(
            "no channel shows cells; give nuclear_channel, membrane_channel or both, "
            'or segmentation_type "none" for spots only.'
        )
    if kind == TISSUE and len(given) < len(LABELS):
        raise InvalidParameter(
            "tissue needs a nuclear and a membrane channel; give both as nuclear_channel and "
            'membrane_channel, or in channels ("0,1,2").'
        )


def preprocess(image: Image, ctx: Context[PolarisParams]) -> FieldOfView:
    """Pick the channels."""
    params, name = ctx.params, ctx.job.source.name

    def plane(index: int) -> Image:
        picked = plane_of(image, index, project=params.project).to("YX")
        check_pixels(picked.data, f"channel {index} of {name}")
        return picked

    wanted = params.cells_in if params.segmentation != NONE else {}
    return FieldOfView(
        spots={str(index): plane(index) for index in params.spots_in},
        cells={cells: plane(index) for cells, index in wanted.items()},
    )


@dataclass(frozen=True, eq=False)
class Found:
    """The spots, and the planes in which cells are still to be found."""

    spots: SpotsInCells
    cells: Mapping[str, Image]


def find(field: FieldOfView, ctx: Context[PolarisParams]) -> Found:
    """Find the spots of each channel that shows some."""
    finder = spot_finder(ctx, tell=False)
    found = []
    for plane in field.spots.values():
        ctx.report.check()
        found.append(finder(plane))
    ctx.report.note(spots=sum(map(len, found)))
    spots = SpotsInCells(
        image=_brightest(field.spots),
        spots=tuple(found),
        channels=tuple(map(int, field.spots)),
        cells=(),
        diameter=ctx.params.diameter,
    )
    return Found(spots, field.cells)


def segment(found: Found, ctx: Context[PolarisParams]) -> FanOut | SpotsInCells:
    """Have the cells found by child jobs, if any are wanted."""
    if not found.cells:
        return found.spots
    return FanOut(tuple(_children(found.cells, ctx)), keep=found.spots)


def postprocess(value: Gathered | SpotsInCells, ctx: Context[PolarisParams]) -> SpotsInCells:
    """Fetch the cells; tell which spot lies in which."""
    if isinstance(value, SpotsInCells):
        return value
    kept: SpotsInCells = value.keep
    parts = [part for outcome in value.outcomes for part in _cells(outcome, kept.image, ctx)]
    result = replace(kept, cells=tuple(parts))
    ctx.report.note(
        cells=int(parts[0].labels.data.max(initial=0)),
        cell_columns={f"cellID{index}": part.name for index, part in enumerate(parts)},
        spots_in_cells=sum(
            int(np.count_nonzero(cells_of_spots(spots, parts[0].labels.data)))
            for spots in result.spots
        ),
    )
    return result


def _brightest(planes: Mapping[str, Image]) -> Image:
    """Return what the picture is drawn on: at each pixel the brightest of the spot channels."""
    data = reduce(np.maximum, (plane.data for plane in planes.values()))
    return replace(next(iter(planes.values())), data=data)


def _children(cells: Mapping[str, Image], ctx: Context[PolarisParams]) -> Iterator[Child]:
    """Leave the planes for the child jobs, and yield these."""
    stem = stem_of(ctx.job.source.name).encode()[:_LONGEST_STEM].decode(errors="ignore")
    if ctx.params.segmentation == TISSUE:
        pair = np.stack([cells[name].data for name in LABELS])
        image = Image(pair, "CYX", next(iter(cells.values())).mpp)
        compartment = {"compartment": ctx.params.compartment} if ctx.params.compartment else {}
        fields = _leave(image, "tissue", f"{stem}.tif", ctx)
        yield Child("mesmer", {**fields, "channels": "0,1", **compartment})
        return
    for name, image in cells.items():
        fields = _leave(image, name, f"{stem}_{name}.tif", ctx)
        yield Child("predict", {**fields, "label": LABELS[name], "labels_only": True})


def _leave(image: Image, name: str, original: str, ctx: Context[Any]) -> dict[str, Any]:
    """Write an image for a child; return the child's source and what it must know of the image."""
    key = f"{parts_folder(ctx.job.id)}{name}.tif"
    with scratch_folder(ctx.limits.scratch) as folder:
        write_image(folder / "part.tif", image)
        ctx.storage.upload_new(key, folder / "part.tif")
    known = {} if image.mpp is None else {"mpp": image.mpp}
    return {"input_file_name": key, "original_name": original, "axes": image.axes, **known}


def _cells(outcome: Outcome, image: Image, ctx: Context[PolarisParams]) -> Iterator[CellPart]:
    """Yield the label images of a child."""
    if not outcome.ok:
        raise PartFailed(f"the cells could not be found: {outcome.reason}")
    with scratch_folder(ctx.limits.scratch) as folder:
        files = fetch_result(ctx.storage, outcome.output["output_file_name"], folder)
        for name in dict.fromkeys((*COMPARTMENTS, *LABELS)):
            path = next((p for f, p in files.items() if f.endswith(f"{name}{_LABEL_FILE}")), None)
            if path is not None:
                labels = io.read(path, name=path.name, limits=ctx.limits.image).to("YX")
                yield CellPart(name, LabelImage(labels.data.astype(np.int32), image.mpp))


job_type = JobType(
    name="polaris",
    title="Spots in cells",
    queue="polaris",
    params=PolarisParams,
    stages=(
        download,
        preprocess,
        Stage("predict", find, Status.PREDICTING, check=check_spots),
        Stage("segment", segment, fans_out=True, check=check_cells),
        postprocess,
        upload,
    ),
)
