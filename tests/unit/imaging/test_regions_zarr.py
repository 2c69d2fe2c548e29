"""OME-Zarr is read region by region as zarr-python reads it whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest
import zarr
from numcodecs import LZ4, LZMA, Blosc, GZip, Zlib, Zstd
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    GzipCodec,
    ShardingCodec,
    TransposeCodec,
    ZstdCodec,
)

from kiosk_tasks.errors import ImageTooLarge, InvalidAxes, MissingObject, UnreadableImage
from kiosk_tasks.imaging.limits import ArchiveLimits, ImageLimits
from kiosk_tasks.imaging.regions import RegionImage, look_at, open_regions, read_whole, zarr_files
from kiosk_tasks.imaging.regions.zarr_codecs import Codec, unpack
from kiosk_tasks.storage.local import LocalStorage
from tests.ome_zarr import noise, write_ome_zarr, zip_folder

KEY = "tissue.ome.zarr"
PLANE = noise(70, 90)

V2: dict[str, dict[str, Any]] = {
    "blosc": {"compressors": Blosc("lz4", shuffle=1)},
    "blosc-zstd-bits": {"compressors": Blosc("zstd", shuffle=2)},
    "gzip": {"compressors": GZip()},
    "lz4": {"compressors": LZ4()},
    "lzma": {"compressors": LZMA(preset=0)},
    "none": {"compressors": None},
    "zlib": {"compressors": Zlib()},
    "zstd": {"compressors": Zstd()},
    "dots": {"chunk_key_encoding": {"name": "v2", "separator": "."}},
    "slashes": {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
    "columns-first": {"order": "F", "chunks": (16, 32)},
    "whole": {"chunks": (70, 90)},
    "larger-chunks": {"chunks": (128, 128)},
}
V3: dict[str, dict[str, Any]] = {
    "blosc": {"compressors": BloscCodec(cname="lz4")},
    "gzip": {"compressors": GzipCodec()},
    "none": {"compressors": None},
    "zstd": {"compressors": ZstdCodec()},
    "checked": {"compressors": (ZstdCodec(), Crc32cCodec())},
    "big-endian": {"serializer": BytesCodec(endian="big")},
    "permuted": {"filters": TransposeCodec(order=(1, 0)), "chunks": (16, 32)},
    "dots": {"chunk_key_encoding": {"name": "default", "separator": "."}},
    "v2-names": {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
    "shards": {"chunks": (16, 16), "shards": (64, 32), "compressors": ZstdCodec()},
    "one-shard": {"chunks": (16, 16), "shards": (80, 96), "compressors": None},
    "index-first": {
        "chunks": (64, 64),
        "serializer": ShardingCodec(chunk_shape=(16, 32), index_location="start"),
        "compressors": None,
    },
}


@pytest.fixture
def bucket(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path)


def look(bucket: LocalStorage, key: str = KEY, **options: Any) -> RegionImage:
    image = look_at(bucket, key, name=key, limits=options.pop("limits", ImageLimits()), **options)
    assert image is not None
    return image


def write(bucket: LocalStorage, *args: Any, **options: Any) -> Path:
    return write_ome_zarr(bucket.root / KEY, *args, **options)


def check_equal(bucket: LocalStorage, expected: Any, key: str = KEY, **options: Any) -> RegionImage:
    image = look(bucket, key, **options)
    whole = read_whole(image, bucket)
    assert whole.data.dtype == expected.dtype
    np.testing.assert_array_equal(whole.data, expected)
    rows, columns = slice(13, 41), slice(30, 67)
    with open_regions(image, bucket) as reader:
        for channel in range(image.channels):
            plane = expected[channel] if image.channels > 1 else expected
            region = reader.read(rows, columns, channel=channel)
            np.testing.assert_array_equal(region, plane[rows, columns])
    return image


@pytest.mark.parametrize("options", V2.values(), ids=V2)
def test_reads_format_2_as_zarr_does(bucket: LocalStorage, options: dict[str, Any]) -> None:
    folder = write(bucket, PLANE, "yx", **options)
    image = check_equal(bucket, np.asarray(zarr.open_array(folder / "0")[:]))
    assert (image.axes, image.shape, image.mpp) == ("YX", (70, 90), 0.5)


@pytest.mark.parametrize("options", V3.values(), ids=V3)
def test_reads_format_3_as_zarr_does(bucket: LocalStorage, options: dict[str, Any]) -> None:
    folder = write(bucket, PLANE, "yx", version="0.5", **options)
    check_equal(bucket, np.asarray(zarr.open_array(folder / "0")[:]))


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", ">u2", ">f4", "f8", "uint64"])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_reads_every_kind_of_pixel(bucket: LocalStorage, dtype: str, version: str) -> None:
    if version == "0.5" and dtype.startswith(">"):
        pytest.skip("byte order is a codec there")
    write(bucket, noise(50, 70, dtype=dtype), "yx", version=version, levels=1)
    check_equal(bucket, noise(50, 70, dtype=dtype).astype(np.dtype(dtype).newbyteorder("=")))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("chunks", [(1, 1, 1, 32, 32), (1, 2, 1, 50, 90), (1, 3, 1, 16, 32)])
def test_channels_may_share_a_chunk(
    bucket: LocalStorage, version: str, chunks: tuple[int, ...]
) -> None:
    pixels = noise(1, 3, 1, 70, 90)
    write(bucket, pixels, "tczyx", version=version, chunks=chunks)
    image = check_equal(bucket, pixels[0, :, 0])
    assert (image.axes, image.shape, image.chunk) == ("CYX", (3, 70, 90), chunks[-2:])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("within", ["", "tissue.ome.zarr/"])
def test_reads_a_zip_file_of_it(
    bucket: LocalStorage, version: str, packed: bool, within: str
) -> None:
    folder = write(bucket, PLANE, "yx", version=version)
    for key in ("tissue.ome.zarr.zip", "TISSUE.OZX"):
        zip_folder(folder, bucket.root / key, packed=packed, within=within)
        check_equal(bucket, PLANE, key)


def test_reads_shards_within_a_zip_file(
    bucket: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(bucket, PLANE, "yx", version="0.5", chunks=(16, 16), shards=(48, 32))
    zip_folder(folder, bucket.root / "tissue.ozx")
    check_equal(bucket, PLANE, "tissue.ozx")
    image = look(bucket, "tissue.ozx")
    read_range, lengths = bucket.read_range, []

    def counted(key: str, start: int, length: int) -> bytes:
        lengths.append(length)
        return read_range(key, start, length)

    monkeypatch.setattr(bucket, "read_range", counted)
    with open_regions(image, bucket) as reader:
        lengths.clear()
        reader.read(slice(None), slice(None))
    assert lengths.count(30) == 6  # the header of each of the 2 × 3 shards, not of its 6 chunks
    zip_folder(folder, bucket.root / "tissue.ozx", packed=True)
    with pytest.raises(UnreadableImage, match="zip -0"):
        check_equal(bucket, PLANE, "tissue.ozx")


def test_refuses_a_zip_file_of_too_many_files(
    bucket: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    zip_folder(write(bucket, PLANE, "yx"), bucket.root / "tissue.ozx")
    monkeypatch.setattr(zarr_files, "_ZIP", ArchiveLimits(max_members=7))
    with pytest.raises(UnreadableImage, match="more than 7 files, which larger chunks"):
        look(bucket, "tissue.ozx")


@pytest.mark.parametrize("options", [{}, {"shards": (64, 64)}], ids=["chunks", "shards"])
def test_chunks_that_are_not_there_are_the_fill_value(
    bucket: LocalStorage, options: dict[str, Any]
) -> None:
    shown = np.full((128, 128), 9, np.uint16)
    shown[32:64, 64:96] = 3
    write(bucket, shown, "yx", version="0.5", fill_value=9, **options)
    assert len([path for path in (bucket.root / KEY / "0" / "c").rglob("*") if path.is_file()]) == 1
    check_equal(bucket, shown)


def test_facts_travel_as_json(bucket: LocalStorage) -> None:
    write(bucket, noise(2, 40, 50), "cyx", mpp=0.25)
    facts = json.loads(json.dumps(asdict(look(bucket))))
    again = RegionImage(**{k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()})
    assert again == look(bucket)
    assert read_whole(again, bucket).mpp == 0.25


@pytest.mark.parametrize(("unit", "mpp"), [("nanometer", 0.0005), (None, None), ("parsec", None)])
def test_pixel_size_needs_a_unit(bucket: LocalStorage, unit: str | None, mpp: float) -> None:
    folder = write(bucket, PLANE, "yx")
    edit(folder / ".zattrs", lambda found: found["multiscales"][0]["axes"][1].update(unit=unit))
    assert look(bucket).mpp == mpp
    assert look(bucket, mpp=0.3).mpp == 0.3


def test_both_scales_count(bucket: LocalStorage) -> None:
    folder = write(bucket, PLANE, "yx", mpp=0.5)
    twice = {"coordinateTransformations": [{"type": "scale", "scale": [2.0, 2.0]}]}
    edit(folder / ".zattrs", lambda found: found["multiscales"][0].update(twice))
    assert look(bucket).mpp == 1.0


def test_the_first_image_of_a_converted_file(bucket: LocalStorage) -> None:
    write_ome_zarr(bucket.root / KEY / "0", PLANE, "yx")
    (bucket.root / KEY / ".zattrs").write_text('{"bioformats2raw.layout": 3}')
    check_equal(bucket, PLANE)


@pytest.mark.parametrize(("axes", "shape"), [("zyx", (4, 40, 50)), ("tcyx", (2, 2, 40, 50))])
def test_stacks_and_movies_are_told_apart(
    bucket: LocalStorage, axes: str, shape: tuple[int, ...]
) -> None:
    write(bucket, noise(*shape), axes, levels=1)
    with pytest.raises(InvalidAxes, match="one plane with its channels"):
        look(bucket)


def test_a_person_may_name_the_axes(bucket: LocalStorage) -> None:
    write(bucket, noise(3, 40, 50), "zyx", levels=1)
    image = look(bucket, axes="CYX")
    assert (image.axes, image.shape) == ("CYX", (3, 40, 50))
    with pytest.raises(InvalidAxes):
        look(bucket, axes="CCX")


def test_is_held_to_the_limits(bucket: LocalStorage) -> None:
    write(bucket, noise(3, 40, 50), "cyx")
    with pytest.raises(ImageTooLarge, match=r"40 × 50 px.*KIOSK_MAX_LARGE_PIXELS"):
        look(
            bucket,
            limits=ImageLimits(max_pixels=1999, pixels_setting="KIOSK_MAX_LARGE_PIXELS"),
        )
    with pytest.raises(ImageTooLarge, match="3 planes"):
        look(bucket, limits=ImageLimits(max_frames=2))


def edit(path: Path, change: Any) -> None:
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def _path(found: dict[str, Any], path: Any) -> None:
    found["multiscales"][0]["datasets"][0]["path"] = path


IMAGE_TRAPS: dict[str, tuple[Any, str]] = {
    "no image": (lambda found: found.pop("multiscales"), "lists no image"),
    "plate": (lambda found: found.update(plate={}), "plate of many images"),
    "empty list": (lambda found: found.update(multiscales=[]), "no sound entry"),
    "no list": (lambda found: found.update(multiscales="much"), "no sound entry"),
    "path up": (lambda found: _path(found, "../../other.zarr/0"), "the path"),
    "whole path": (lambda found: _path(found, "/etc"), "the path"),
    "empty path": (lambda found: _path(found, ""), "the path"),
    "long path": (lambda found: _path(found, "a" * 300), "the path"),
    "path of no letters": (lambda found: _path(found, "a\0b"), "the path"),
    "path of numbers": (lambda found: _path(found, 0), "the path"),
    "other array": (lambda found: _path(found, "7"), "no array 7"),
    "axes": (lambda found: found["multiscales"][0].update(axes=[]), "0 axes for 2"),
    "axes of numbers": (lambda found: found["multiscales"][0].update(axes=7), "not sound"),
}
ARRAY_TRAPS: dict[str, tuple[dict[str, Any], str]] = {
    "huge shape": ({"shape": [2**60, 2**60]}, "its lengths"),
    "negative": ({"shape": [-1, 90]}, "its lengths"),
    "fractions": ({"shape": [1.5, 90]}, "its lengths"),
    "true": ({"shape": [True, 90]}, "its lengths"),
    "no lengths": ({"shape": None}, "its lengths"),
    "no chunk": ({"chunks": [0, 32]}, "its lengths"),
    "chunk bomb": ({"chunks": [2**20, 2**20]}, "smaller chunks"),
    "dimensions": ({"chunks": [32]}, "dimensions"),
    "objects": ({"dtype": "|O"}, "of the type"),
    "records": ({"dtype": [["a", "<u2"]]}, "of the type"),
    "complex": ({"dtype": "<c8"}, "of the type"),
    "text": ({"dtype": "<U9"}, "of the type"),
    "filters": ({"filters": [{"id": "pickle"}]}, "filters"),
    "codec": ({"compressor": {"id": "pickle"}}, "packed with pickle"),
    "no codec": ({"compressor": "zstd"}, "compressor"),
    "fill": ({"fill_value": {"a": 1}}, "its fill value"),
    "fill of many": ({"fill_value": [1, 2]}, "its fill value"),
    "fill of no bytes": ({"fill_value": "0x"}, "its fill value"),
    "endless fill": ({"fill_value": "1" * 10_000}, "its fill value is '1{40}'"),
    "separator": ({"dimension_separator": "/../"}, "unknown way"),
}


@pytest.mark.parametrize(("change", "fact"), IMAGE_TRAPS.values(), ids=IMAGE_TRAPS)
def test_refuses_metadata_that_is_not_sound(bucket: LocalStorage, change: Any, fact: str) -> None:
    folder = write(bucket, PLANE, "yx")
    edit(folder / ".zattrs", change)
    with pytest.raises(UnreadableImage, match=fact):
        look(bucket)


@pytest.mark.parametrize(("changes", "fact"), ARRAY_TRAPS.values(), ids=ARRAY_TRAPS)
def test_refuses_arrays_that_are_traps(
    bucket: LocalStorage, changes: dict[str, Any], fact: str
) -> None:
    folder = write(bucket, PLANE, "yx")
    edit(folder / "0" / ".zarray", lambda found: found.update(changes))
    with pytest.raises(UnreadableImage, match=fact):
        look(bucket)


def test_refuses_too_many_chunks(bucket: LocalStorage) -> None:
    folder = write(bucket, PLANE, "yx")
    edit(folder / "0" / ".zarray", lambda found: found.update(shape=[5000, 5000], chunks=[1, 1]))
    with pytest.raises(UnreadableImage, match="too many"):
        look(bucket)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("{", "not JSON"),
        ("[]", "no JSON object"),
        ("[" * 100_000, "not JSON"),
        (" " * (2**22 + 1), "more than"),
    ],
    ids=["cut", "list", "nested", "long"],
)
def test_refuses_metadata_that_is_no_json(bucket: LocalStorage, text: str, fact: str) -> None:
    folder = write(bucket, PLANE, "yx")
    (folder / ".zattrs").write_text(text)
    with pytest.raises(UnreadableImage, match=fact):
        look(bucket)


def test_says_what_a_folder_lacks(bucket: LocalStorage) -> None:
    with pytest.raises((UnreadableImage, MissingObject), match=r"neither zarr\.json nor \.zattrs"):
        look(bucket)


@pytest.mark.parametrize(
    "options",
    [
        {"compressors": Blosc("lz4")},
        {"compressors": Zstd()},
        {"compressors": Zlib()},
        {"compressors": LZ4()},
        {"compressors": None},
        {"version": "0.5", "shards": (64, 64)},
    ],
    ids=["blosc", "zstd", "zlib", "lz4", "plain", "shards"],
)
@pytest.mark.parametrize("damage", ["cut", "other", "bomb", "empty"])
def test_damaged_chunks_are_one_sentence(
    bucket: LocalStorage, options: dict[str, Any], damage: str
) -> None:
    folder = write(bucket, PLANE, "yx", levels=1, **options)
    chunk = next(path for path in sorted((folder / "0").rglob("0*")) if path.is_file())
    content = chunk.read_bytes()
    if damage == "bomb" and "shards" in options:
        pytest.skip("a shard may have anything between its chunks and its index")
    chunk.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "other": bytes(reversed(content))[:-1],
            "bomb": content * 1000,
            "empty": b"",
        }[damage]
    )
    image = look(bucket)
    with pytest.raises(UnreadableImage, match="damaged or cut short") as refused:
        read_whole(image, bucket)
    assert len(str(refused.value).splitlines()) == 1


def test_a_chunk_never_unpacks_to_more_than_it_holds(bucket: LocalStorage) -> None:
    folder = write(bucket, PLANE, "yx", levels=1, compressors=Zlib())
    chunk = folder / "0" / "0.0"
    assert chunk.exists()
    chunk.write_bytes(Zlib().encode(bytes(2**16)))
    with pytest.raises(UnreadableImage, match="2049 bytes, where 2048"):
        read_whole(look(bucket), bucket)


@pytest.mark.parametrize(("codec", "at"), [(Blosc("lz4"), 4), (LZ4(), 0)], ids=["blosc", "lz4"])
def test_what_a_chunk_claims_is_checked_first(bucket: LocalStorage, codec: Any, at: int) -> None:
    folder = write(bucket, PLANE, "yx", levels=1, compressors=codec)
    chunk = folder / "0" / "0.0"
    content = bytearray(chunk.read_bytes())
    content[at : at + 4] = (2**30).to_bytes(4, "little")
    chunk.write_bytes(content)
    with pytest.raises(UnreadableImage, match="claims 1073741824 bytes, where 2048"):
        read_whole(look(bucket), bucket)


def test_blosc_never_reads_past_a_chunk(bucket: LocalStorage) -> None:
    folder = write(bucket, PLANE, "yx", levels=1, compressors=Blosc("lz4"))
    chunk = folder / "0" / "0.0"
    content = bytearray(chunk.read_bytes())
    content[12:16] = (2**30).to_bytes(4, "little")  # what it says it has
    chunk.write_bytes(content)
    with pytest.raises(UnreadableImage, match="where its header says 1073741824"):
        read_whole(look(bucket), bucket)


def test_a_chunk_that_is_kept_keeps_nothing_else() -> None:
    many = bytes(range(100))
    with_checksum = many + google_crc32c.value(many).to_bytes(4, "little")
    for codecs, fetched in (((), many), ((Codec("crc32c", "v3"),), with_checksum)):
        kept = unpack(memoryview(fetched), codecs, len(many))
        assert type(kept) is bytes  # a view would keep all that was fetched at once
        assert kept == many


def test_checksums_of_a_zip_file_count(bucket: LocalStorage) -> None:
    folder = write(bucket, PLANE, "yx", compressors=None)
    path = zip_folder(folder, bucket.root / "tissue.ozx")
    content = bytearray(path.read_bytes())
    content[content.index(PLANE[0, :32].tobytes()) + 9] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match="a member of the zip file is damaged"):
        read_whole(look(bucket, "tissue.ozx"), bucket)


def test_tells_when_the_image_was_replaced(bucket: LocalStorage) -> None:
    folder = write(bucket, PLANE, "yx")
    image = look(bucket)
    for changes in ({"shape": [20, 90]}, {"shape": [70, 90], "dtype": "|u1"}):
        edit(folder / "0" / ".zarray", lambda found, changes=changes: found.update(changes))
        with pytest.raises(UnreadableImage, match="replaced"), open_regions(image, bucket):
            pass
