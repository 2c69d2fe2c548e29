"""The planes of an image that a job segments, one by one, and what each of them shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kiosk_tasks.errors import InvalidParameter
from kiosk_tasks.imaging.image import Image
from kiosk_tasks.segmenting.models import LABELS

__all__ = ["View", "Wanted", "brightest", "sampled", "views_of", "wanted_channels"]


@dataclass(frozen=True)
class Wanted:
    """One channel of an image to segment.

    label: index into `LABELS`; None where nobody has said what it shows.
    """

    channel: int
    label: int | None = None


@dataclass(frozen=True, eq=False)
class View:
    """One plane to segment.

    image: axes "YX".
    label: index into `LABELS`; None where nobody has said what it shows.
    part: what tells its files from those of the job's other planes; empty where there is one.
    """

    image: Image
    label: int | None
    part: str = ""


def wanted_channels(text: str) -> tuple[Wanted, ...]:
    """Read the channels of a form: the place says what a channel shows, the number which it is.

    text: for example "0,," (nuclei are channel 0), ",0" (cytoplasm is channel 0), "1,0" (nuclei are
        channel 1, cytoplasm channel 0); the third place is phase contrast.
    Raises InvalidParameter for anything else.
    """
    places = [place.strip() for place in text.split(",")]
    if len(places) > len(LABELS) or not all(p.isascii() and p.isdigit() for p in places if p):
        raise InvalidParameter(
            f"channels is {text!r}, but should be up to three numbers from 0 with commas between "
            'them: the channels of nuclei, cytoplasm and phase contrast, for example "0,1" or ",0".'
        )
    return tuple(Wanted(int(place), label) for label, place in enumerate(places) if place)


def views_of(image: Image, wanted: Sequence[Wanted]) -> tuple[View, ...]:
    """Cut an image into the planes of its channels; those of one channel follow one another.

    image: any axes. Each plane along T, Z and B, in the file's order, is an item of the batch.
    Parts are named `batch_<i>`, `channel_<c>` or `batch_<i>_channel_<c>`, as much as tells them
    apart; where one channel is to show two things, its label's name follows.
    """
    channels = [one.channel for one in wanted]
    views = []
    for one in wanted:
        named = f"channel_{one.channel}" if len(wanted) > 1 else ""
        if named and one.label is not None and channels.count(one.channel) > 1:
            named += f"_{LABELS[one.label]}"
        planes = _planes(image.channel(one.channel))
        for number, plane in enumerate(planes):
            place = f"batch_{number}" if len(planes) > 1 else ""
            views.append(View(plane, one.label, "_".join(filter(None, (place, named)))))
    return tuple(views)


def brightest(image: Image) -> Image:
    """Return the brightest of the channels at each pixel, without the C axis."""
    axis = image.axes.index("C")
    return Image(image.data.max(axis), image.axes.replace("C", ""), image.mpp)


def sampled(views: Sequence[View], most: int) -> list[View]:
    """Return at most that many of the views in which there is something, evenly spread."""
    seen = [view for view in views if not view.image.is_constant]
    at = np.linspace(0, len(seen) - 1, min(most, len(seen))).round().astype(int)
    return [seen[index] for index in at.tolist()]


def _planes(image: Image) -> list[Image]:
    """Return the planes of an image without channels, in the file's order."""
    batch = "".join(letter for letter in image.axes if letter not in "YXC")
    ordered = image.to(f"{batch}YX")
    stack = ordered.data.reshape(-1, *ordered.data.shape[-2:])
    return [Image(plane, "YX", image.mpp) for plane in stack]
