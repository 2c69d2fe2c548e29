"""TIFF is read region by region as it is read whole."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kiosk_tasks.errors import ImageTooLarge, MissingChannel, UnreadableImage
from kiosk_tasks.imaging import io
from kiosk_tasks.imaging.limits import ImageLimits
from kiosk_tasks.imaging.regions import RegionImage, look_at, open_regions, read_whole
from kiosk_tasks.storage.local import LocalStorage
from tests.ome_zarr import noise
from tests.unit.imaging.traps import BOMBS, TRAPS

KEY = "cells.tif"
LIMITS = ImageLimits()
ROWS, COLUMNS = slice(33, 101), slice(20, 77)
LAYOUTS: dict[str, dict[str, Any]] = {
    "one strip": {"rowsperstrip": 150},
    "strips": {"rowsperstrip": 16},
    "tiles": {"tile": (64, 32)},
}
PACKED: dict[str, dict[str, Any]] = {
    "plain": {},
    "deflate": {"compression": "zlib"},
    "predicted": {"compression": "zlib", "predictor": True},
    "lzw": {"compression": "lzw"},
    "zstd": {"compression": "zstd", "predictor": True},
    "packbits": {"compression": "packbits"},
}
KINDS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "grey": ((150, 103), {"photometric": "minisblack"}),
    "bright is low": ((150, 103), {"photometric": "miniswhite"}),
    "colour": ((150, 103, 3), {"photometric": "rgb"}),
    "with alpha": ((150, 103, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "grey with alpha": (
        (150, 103, 2),
        {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unassalpha"]},
    ),
    "planes of colour": ((3, 150, 103), {"photometric": "rgb", "planarconfig": "separate"}),
    "pages": ((4, 150, 103), {"photometric": "minisblack", "metadata": {"axes": "CYX"}}),
    "ome": ((4, 150, 103), {"photometric": "minisblack", "ome": True, "metadata": {"axes": "CYX"}}),
    "imagej": ((4, 150, 103), {"imagej": True, "metadata": {"axes": "CYX"}}),
}


class Counting(LocalStorage):
    """Counts what is asked of a bucket."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: Counter[str] = Counter()

    def read_range(self, key: str, start: int, length: int) -> bytes:
        data = super().read_range(key, start, length)
        self.asked["requests"] += 1
        self.asked["bytes"] += len(data)
        return data

    def get(self, key: str) -> bytes:
        raise AssertionError(f"{key} was fetched whole")


@pytest.fixture
def bucket(tmp_path: Path) -> Counting:
    return Counting(tmp_path)


def look(bucket: LocalStorage, *, limits: ImageLimits = LIMITS, **options: Any) -> Any:
    return look_at(bucket, KEY, name=KEY, limits=limits, **options)


def check_equal(bucket: LocalStorage) -> RegionImage:
    """Compare with what `io.read` makes of the whole file; return what was looked at."""
    whole = io.read(bucket.root / KEY, name=KEY)
    image: RegionImage | None = look(bucket)
    assert image is not None
    assert image.mpp == whole.mpp
    with open_regions(image, bucket) as reader:
        for channel in range(image.channels):
            region = reader.read(ROWS, COLUMNS, channel=channel)
            expected = whole.channel(channel).data[ROWS, COLUMNS]
            assert region.dtype == expected.dtype
            np.testing.assert_array_equal(region, expected)
        with pytest.raises(MissingChannel):
            reader.read(ROWS, COLUMNS, channel=image.channels)
    np.testing.assert_array_equal(read_whole(image, bucket).data, whole.to(image.axes).data)
    return image


def write(bucket: LocalStorage, pixels: NDArray[Any], **options: Any) -> None:
    tifffile.imwrite(bucket.root / KEY, pixels, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_kind_in_every_layout(bucket: Counting, kind: str, layout: str) -> None:
    shape, options = KINDS[kind]
    if kind == "imagej" and layout == "tiles":
        pytest.skip("ImageJ writes no tiles")
    for number, packing in enumerate(PACKED.values()):
        if kind == "imagej" and packing:
            continue
        dtype = ("uint8", "uint16")[number % 2]
        order = "<>"[number // 2 % 2] if kind != "imagej" else ">"
        big = {"bigtiff": number % 3 == 0} if kind != "imagej" else {}
        given = {**LAYOUTS[layout], **packing, **options, **big}
        write(bucket, noise(*shape, dtype=dtype), byteorder=order, **given)
        check_equal(bucket)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_jpeg(bucket: Counting, layout: str) -> None:
    for kind in ("grey", "colour", "planes of colour"):
        shape, options = KINDS[kind]
        write(
            bucket, noise(*shape, dtype="uint8"), compression="jpeg", **LAYOUTS[layout], **options
        )
        check_equal(bucket)


@pytest.mark.parametrize("dtype", ["bool", "int8", "int16", "uint32", "float16", "float32", "f8"])
def test_kinds_of_pixels(bucket: Counting, dtype: str) -> None:
    for layout in LAYOUTS.values():
        for packing in ({}, {"compression": "zlib"}):
            write(bucket, noise(150, 103).astype(dtype), **layout, **packing)
            check_equal(bucket)


def test_smaller_levels_are_no_planes(bucket: Counting) -> None:
    pixels = noise(2, 256, 300)
    tiles = {"tile": (64, 64), "compression": "zlib", "photometric": "minisblack"}
    with tifffile.TiffWriter(bucket.root / KEY, bigtiff=True, ome=True) as file:
        size = {"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}
        file.write(pixels, subifds=2, metadata={"axes": "CYX", **size}, **tiles)
        file.write(pixels[:, ::2, ::2], subfiletype=1, **tiles)
        file.write(pixels[:, ::4, ::4], subfiletype=1, **tiles)
    image = check_equal(bucket)
    assert image == RegionImage(
        KEY, KEY, "CYX", (2, 256, 300), "uint16", 0.25, (64, 64), image.letters
    )


@pytest.mark.parametrize(
    ("axes", "shape", "found"), [("ZYX", (3, 90, 80), None), ("TCYX", (2, 2, 90, 80), None)]
)
def test_stacks_and_movies_are_read_whole(
    bucket: Counting, axes: str, shape: tuple[int, ...], found: None
) -> None:
    write(bucket, noise(*shape), ome=True, metadata={"axes": axes}, photometric="minisblack")
    assert look(bucket) is found


def test_what_the_person_says_of_the_axes_counts(bucket: Counting) -> None:
    write(bucket, noise(3, 150, 103), ome=True, metadata={"axes": "ZYX"}, photometric="minisblack")
    image = look(bucket, axes="CYX", mpp=0.5)
    assert (image.axes, image.shape, image.mpp) == ("CYX", (3, 150, 103), 0.5)
    np.testing.assert_array_equal(read_whole(image, bucket).data, noise(3, 150, 103))
    assert look(bucket, axes="TYX") is None


def test_others_are_read_whole(bucket: Counting) -> None:
    write(bucket, np.zeros((9000, 8000), np.uint16), compression="zlib", rowsperstrip=9000)
    assert look(bucket, limits=ImageLimits(max_pixels=2**30)) is None  # a strip of 144 MB
    (bucket.root / KEY).write_bytes(b"\x89PNG\r\n\x1a\n and so on")
    assert look(bucket) is None


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Any, Any, Any]]]:
    """Open readers of the same pixels in several layouts."""
    root = tmp_path_factory.mktemp("many")
    pixels, opened = noise(2, 150, 203), []
    for number, options in enumerate(({"tile": (32, 48)}, {"rowsperstrip": 7}, {})):
        key = f"{number}.tif"
        packing = {"compression": "zlib"} if options else {}
        given = {"metadata": {"axes": "CYX"}, "photometric": "minisblack"}
        tifffile.imwrite(root / key, pixels, **options, **packing, **given)
        image = look_at(LocalStorage(root), key, name=key, limits=ImageLimits())
        assert image is not None
        manager = open_regions(image, LocalStorage(root))
        opened.append((manager, manager.__enter__(), pixels))
    yield opened
    for manager, _, _ in opened:
        manager.__exit__(None, None, None)


@given(data=st.data())
def test_any_region_is_that_of_the_whole(many: list[tuple[Any, Any, Any]], data: Any) -> None:
    _, reader, pixels = data.draw(st.sampled_from(many))
    top, bottom = sorted(data.draw(st.tuples(st.integers(0, 150), st.integers(0, 150))))
    left, right = sorted(data.draw(st.tuples(st.integers(0, 203), st.integers(0, 203))))
    channel = data.draw(st.integers(0, 1))
    region = reader.read(slice(top, bottom), slice(left, right), channel=channel)
    np.testing.assert_array_equal(region, pixels[channel, top:bottom, left:right])


def test_regions_are_within_the_image(many: list[tuple[Any, Any, Any]]) -> None:
    for _, reader, _ in many:
        for rows in (slice(-1, 5), slice(140, 151), slice(9, 5)):
            with pytest.raises(IndexError):
                reader.read(rows, slice(0, 5))
        with pytest.raises(ValueError, match="step"):
            reader.read(slice(0, 6, 2), slice(0, 5))


def test_memory_and_requests_follow_the_region(bucket: Counting) -> None:
    side, tile = 2**15, 512  # 2 GiB of pixels
    black = zlib.compress(bytes(2 * tile * tile))
    tiles = (black for _ in range((side // tile) ** 2))
    options = {"shape": (side, side), "dtype": "uint16", "tile": (tile, tile), "bigtiff": True}
    write(bucket, tiles, compression="zlib", **options)
    limits = ImageLimits(max_pixels=2**36)
    bucket.asked.clear()
    tracemalloc.start()
    try:
        image = look(bucket, limits=limits)
        assert bucket.asked["requests"] <= 10
        with open_regions(image, bucket) as reader:
            bucket.asked.clear()
            region = reader.read(slice(4096, 6144), slice(8192, 10240))
            asked = bucket.asked.copy()
            for left in range(0, 2**14, 2048):  # 64 MiB
                reader.read(slice(0, 2048), slice(left, left + 2048))
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert region.shape == (2048, 2048)
    # 16 tiles in 4 rows; those of a row lie side by side, and the rows not far from each other.
    assert asked["requests"] <= 4
    assert asked["bytes"] < 2**18
    # Two regions, 32 MiB of decoded tiles at most, four more at work, and lists of 4096 tiles.
    assert peak < 2 * region.nbytes + 2**25 + 2**23


def test_a_part_of_each_row_is_fetched_where_rows_are_long(bucket: Counting) -> None:
    tall, wide = 64, 2**17
    write(bucket, noise(tall, wide))
    with open_regions(look(bucket), bucket) as reader:
        bucket.asked.clear()
        region = reader.read(slice(0, tall), slice(1000, 1512))
    np.testing.assert_array_equal(region, noise(tall, wide)[:, 1000:1512])
    assert bucket.asked == {"requests": tall, "bytes": tall * 1024}


def test_chunks_at_a_border_are_fetched_once(bucket: Counting) -> None:
    options = {"metadata": {"axes": "CYX"}, "photometric": "minisblack", "compression": "zlib"}
    write(bucket, noise(3, 256, 256), tile=(64, 64), **options)
    with open_regions(look(bucket), bucket) as reader:
        reader.read(slice(0, 100), slice(0, 256))
        bucket.asked.clear()
        reader.read(slice(90, 128), slice(0, 256))
        assert not bucket.asked
        reader.read(slice(90, 128), slice(0, 256), channel=1)
        assert bucket.asked["requests"] == 1


def damaged(bucket: LocalStorage, *, tag: int, value: int, at: int = 0) -> None:
    """Change one value of one tag of the first directory."""
    with tifffile.TiffFile(bucket.root / KEY) as file:
        found = file.pages.first.tags[tag]
        values = list(found.value) if isinstance(found.value, tuple) else [found.value]
    values[at] = value
    with tifffile.TiffFile(bucket.root / KEY, mode="r+") as file:
        file.pages.first.tags[tag].overwrite(values if len(values) > 1 else values[0])


@pytest.mark.parametrize(
    ("tag", "value", "fact"),
    [
        (256, 2**13, "pieces are there"),
        (324, 2**31, "pieces are there"),
        (325, 0, "pieces are there"),
    ],
    ids=["width", "offset", "count"],
)
def test_refuses_headers_that_are_traps(bucket: Counting, tag: int, value: int, fact: str) -> None:
    write(bucket, noise(128, 128), tile=(64, 64), compression="zlib")
    damaged(bucket, tag=tag, value=value)
    with pytest.raises(UnreadableImage, match=fact):
        look(bucket)


def test_tiles_larger_than_the_image_are_left_to_who_reads_it_whole(bucket: Counting) -> None:
    write(bucket, noise(128, 128), tile=(64, 64), compression="zlib")
    damaged(bucket, tag=322, value=2**28)
    assert look(bucket) is None
    with pytest.raises(UnreadableImage, match="larger than the image"):
        io.read(bucket.root / KEY, name=KEY)


def test_is_held_to_the_limits(bucket: Counting) -> None:
    write(bucket, noise(128, 128), tile=(64, 64))
    with pytest.raises(ImageTooLarge, match="KIOSK_MAX_LARGE_PIXELS"):
        look(bucket, limits=ImageLimits(2**14 - 1, pixels_setting="KIOSK_MAX_LARGE_PIXELS"))
    assert look(bucket, limits=ImageLimits(2**14)) is not None


def test_damage_is_one_sentence_when_it_is_read(bucket: Counting) -> None:
    write(bucket, noise(128, 128), tile=(64, 64), compression="zlib")
    image = look(bucket)
    content = bytearray((bucket.root / KEY).read_bytes())
    with tifffile.TiffFile(bucket.root / KEY) as file:
        start = file.pages.first.dataoffsets[3]  # type: ignore[union-attr]
    content[start : start + 50] = b"?" * 50
    (bucket.root / KEY).write_bytes(content)
    with open_regions(image, bucket) as reader:
        reader.read(slice(0, 64), slice(0, 128))
        with pytest.raises(UnreadableImage, match="damaged or cut short"):
            reader.read(slice(64, 128), slice(64, 128))


def test_a_tile_that_claims_to_be_larger_is_refused(bucket: Counting) -> None:
    write(bucket, noise(128, 128, dtype="uint8"), tile=(64, 64), compression="jpeg")
    image = look(bucket)
    import imagecodecs

    bomb = imagecodecs.jpeg8_encode(np.zeros((4096, 4096), np.uint8), level=1)
    content = (bucket.root / KEY).read_bytes()
    (bucket.root / KEY).write_bytes(content + bomb)
    damaged(bucket, tag=324, value=len(content))
    damaged(bucket, tag=325, value=8000)
    with open_regions(image, bucket) as reader, pytest.raises(UnreadableImage, match="claims"):
        reader.read(slice(0, 64), slice(0, 64))


def test_tells_when_the_image_was_replaced(bucket: Counting) -> None:
    write(bucket, noise(128, 128), tile=(64, 64))
    image = look(bucket)
    for pixels in (noise(128, 64), noise(128, 128).astype("uint32")):
        write(bucket, pixels, tile=(64, 64))
        with pytest.raises(UnreadableImage, match="replaced"), open_regions(image, bucket):
            pass


def test_a_worker_that_waits_holds_no_readers() -> None:
    code = "import sys, kiosk_tasks.stages; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in run.stdout.split() if name.startswith("kiosk_tasks.imaging.regions")}
    assert loaded <= {f"kiosk_tasks.imaging.regions{part}" for part in ("", ".looking", ".values")}


@pytest.mark.parametrize("name", [*TRAPS, *BOMBS])
def test_traps_hold_for_regions_too(bucket: Counting, name: str) -> None:
    content = {**TRAPS, **BOMBS}[name]()
    (bucket.root / KEY).write_bytes(content)
    said = "cells.tif "
    try:
        image = look(bucket)
        if image is not None:
            assert image.size[0] * image.size[1] < 10_000
            read_whole(image, bucket)
    except (ImageTooLarge, UnreadableImage) as exc:
        said = str(exc)
    assert said.startswith("cells.tif ")
    assert len(said.splitlines()) == 1
    assert bucket.asked["requests"] <= 10
