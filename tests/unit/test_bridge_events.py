"""What the bridge reads out of a frontend's hash: the input's key, the job type, its parameters."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kiosk_tasks.bridge.events import is_text, job_id_of, job_of, queue_names, queue_of
from kiosk_tasks.bridge.input_keys import bucket_key
from kiosk_tasks.errors import InvalidKey, InvalidParameter, UnknownJobType
from kiosk_tasks.storage import check_key

BUCKET = "s3://images"
KEY = "segmentation:cells.tif:00000000-0000-4000-8000-000000000000"
HASH = {
    "status": "new",
    "original_name": "cells.tif",
    "input_file_name": "uploads/cells.tif",
    "model_name": "",
    "model_version": "",
    "preprocess_function": "",
    "postprocess_function": "deep_watershed",
    "cuts": "0",
    "label": "",
    "scale": "",
    "channels": "0,,",
    "dimension_order": "",
    "url": "https://example.org/images/uploads/cells.tif",
    "identity_upload": "frontend-1",
    "created_at": "2020-01-01T00:00:00.000Z",
}


def job(key: str = KEY, **changed: str) -> Any:
    return job_of(key, {**HASH, **changed}, bucket_url=BUCKET)


def test_hash_becomes_a_job() -> None:
    made = job(model_name="NuclearSegmentation", model_version="3", dimension_order="CXY")
    assert made.type_name == "predict"
    assert made.id == job_id_of(KEY)
    assert made.source.name == "cells.tif"
    assert made.source.input_file_name == "uploads/cells.tif"
    assert made.params.model_dump(exclude_defaults=True) == {
        "model_name": "NuclearSegmentation",
        "model_version": 3,
        "axes": "CYX",
        "postprocess": "deep_watershed",
        "channels": "0,,",
    }


def test_parameters_are_passed_on_by_name() -> None:
    made = job(min_size="7", channel="2", something="else", channels="", postprocess_function="")
    assert made.params.model_dump(exclude_defaults=True) == {"min_size": 7, "channel": 2}


@pytest.mark.parametrize(
    ("fields", "params"),
    [
        ({"label": "1", "channels": ""}, {"label": 1}),
        ({"label": "", "channels": ",0"}, {"channels": ",0"}),
        ({"scale": "0.5", "channels": ",,"}, {"scale": 0.5}),
        ({"preprocess_function": "none", "channels": ""}, {"preprocess": "none"}),
        ({"postprocess_function": "retinanet-semantic"}, {"postprocess": "retinanet-semantic"}),
        ({"model_name": "Mine", "model_version": "2"}, {"model_name": "Mine", "model_version": 2}),
    ],
)
def test_what_older_clients_say_of_the_cells(
    fields: dict[str, str], params: dict[str, Any]
) -> None:
    bare = {"postprocess_function": "", "channels": ""}
    assert job(**{**bare, **fields}).params.model_dump(exclude_defaults=True) == params


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"label": "7"}, "'label' is '7'"),
        ({"scale": "20"}, "'scale' is '20'"),
        ({"channels": "a,b"}, "channels is 'a,b'"),
        ({"postprocess_function": "magic"}, "'postprocess' is 'magic'"),
    ],
)
def test_what_older_clients_may_not_say(fields: dict[str, str], sentence: str) -> None:
    with pytest.raises(InvalidParameter, match=sentence):
        job(**fields)


@pytest.mark.parametrize(
    ("dimension_order", "axes"),
    [("", None), ("XY", "YX"), ("YX", "YX"), ("XYB", "YXB"), ("bxyc", "BYXC"), ("CXYB", "CYXB")],
)
def test_the_first_of_x_and_y_means_the_rows(dimension_order: str, axes: str | None) -> None:
    assert job(dimension_order=dimension_order).params.axes == axes


@pytest.mark.parametrize("queue", ["track", "caliban", "spot"])
@pytest.mark.parametrize(
    ("channels", "given", "channel"),
    [("1,,", "", 1), (",2", "", 2), ("0", "", 0), ("", "", None), (",,", "", None), ("1", "3", 3)],
)
def test_a_job_type_of_one_channel_gets_the_first(
    queue: str, channels: str, given: str, channel: int | None
) -> None:
    made = job(f"{queue}:a.tif:1", original_name="a.tif", channels=channels, channel=given)
    assert made.params.channel == channel


def test_id_follows_from_the_key_alone() -> None:
    assert job_id_of(KEY) == job_id_of(KEY) == job(status="started").id
    assert len({job_id_of(KEY), job_id_of(KEY[:-1] + "1")}) == 2


def test_every_name_of_a_job_type_is_a_queue() -> None:
    assert {"predict", "image", "segmentation", "segmentation-zip"} <= set(queue_names())
    assert queue_of("segmentation-zip:a:b.zip:1") == "segmentation-zip"


@pytest.mark.parametrize(
    ("key", "name", "type_name"),
    [
        ("predict-zip:a.zip:1", "a.zip", "predict-zip"),
        ("segmentation-zip:a:1", "a", "predict-zip"),  # the queue says what it is
        ("image:a.zip:1", "a.ZIP", "predict-zip"),
        ("image:a.tif:1", "a.tif", "predict"),
    ],
)
def test_archives_are_jobs_of_their_own(key: str, name: str, type_name: str) -> None:
    asked = job_of(key, {**HASH, "original_name": name}, bucket_url=BUCKET)
    assert (asked.type_name, asked.source.name, asked.id) == (type_name, name, job_id_of(key))


@pytest.mark.parametrize(
    ("key", "fields", "error", "sentence"),
    [
        (KEY, {}, InvalidParameter, "hash is gone"),
        (KEY, {"status": "new"}, InvalidParameter, "no 'input_file_name'"),
        (KEY, {"input_file_name": "a.tif"}, InvalidParameter, "no 'status'"),
        (KEY, {**HASH, "model_version": "x"}, InvalidParameter, "'model_version' is 'x'"),
        (KEY, {**HASH, "dimension_order": "X-Y"}, InvalidParameter, "'axes'"),
        (KEY, {**HASH, "input_file_name": "../x"}, InvalidKey, "'..'"),
        (KEY, {**HASH, "original_name": "\udcff.tif"}, InvalidParameter, "not UTF-8"),
        ("nothing:a.tif:1", HASH, UnknownJobType, "no job type"),
    ],
)
def test_what_cannot_be_done(
    key: str, fields: dict[str, str], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        job_of(key, fields, bucket_url=BUCKET)


def test_text() -> None:
    assert is_text("µ", "細胞", "🔬")
    assert not is_text("a", b"\xff".decode(errors="surrogateescape"))


SHAPES = {
    "key": "{key}",
    "s3": "s3://images/{key}",
    "gs": "gs://images/{key}",
    "path": "https://s3.example.org:9000/images/{quoted}",
    "plain http": "http://storage.example.org/images/{quoted}",
    "signed": "https://s3.example.org/images/{quoted}?X-Signature=a/../b#top",
    "virtual host": "https://images.s3.example.org/{quoted}",
    "google": "https://storage.googleapis.com/images/{quoted}",
    "google, signed in": "https://storage.cloud.google.com/images/{quoted}?authuser=0",
    "google, virtual host": "https://images.storage.googleapis.com/{quoted}",
    "google, media": "https://storage.googleapis.com/download/storage/v1/b/images/o/{quoted}?alt=media",
    "google, media of old": "https://www.googleapis.com/storage/v1/b/images/o/{quoted}?alt=media",
    "ours": f"http://127.0.0.1:8000/api/files/1800000000/{'0' * 64}/{{quoted}}",
    "joined": "uploads/../http:/s3.example.org/images/{quoted}",
    "joined, both slashes": "uploads/../https://s3.example.org/images/{quoted}",
}


def _safe(key: str) -> bool:
    try:
        return bool(check_key(key))
    except InvalidKey:
        return False


part = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
keys = st.lists(part, min_size=1, max_size=3).map(lambda parts: "/".join(["uploads", *parts]))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@given(key=keys.filter(_safe))
def test_every_shape_gives_the_key(shape: str, key: str) -> None:
    assert bucket_key(shape.format(key=key, quoted=quote(key)), BUCKET) == key


_PIECES = r".. . / // \ %2e%2e %2F %5c images other uploads a.png s3: gs:// http:/ HTTPS:// ? # :"
pieces = st.sampled_from([*_PIECES.split(), "\0", " ", "uploads/../", "images.host"])
buckets = st.sampled_from([BUCKET, "s3://images/site/one", "gs://images/", "file:///srv/images"])


@given(given=st.lists(pieces, max_size=9).map("".join) | st.text(), bucket=buckets)
def test_nothing_leaves_the_bucket(given: str, bucket: str) -> None:
    try:
        key = bucket_key(given, bucket)
    except InvalidKey:
        return
    assert check_key(key) == key
    assert ".." not in key.split("/")
    assert not key.startswith("/")


@pytest.mark.parametrize(
    "given",
    [
        "s3://other/uploads/x.png",
        "https://s3.example.org/other/uploads/x.png",
        "https://other.s3.example.org/uploads/x.png",
        "uploads/../http:/s3.example.org/other/uploads/x.png",
        "https://storage.googleapis.com/download/storage/v1/b/other/o/uploads%2Fx.png",
        "https://storage.googleapis.com/storage/v1/b/images/o/..%2Fx.png",
        "s3://images/../other/x.png",
        "https://s3.example.org/images/%2e%2e/other/x.png",
        "s3://images/",
        "/etc/passwd",
        "file:///etc/passwd",
        "",
    ],
)
def test_another_bucket_or_none_is_refused(given: str) -> None:
    with pytest.raises(InvalidKey):
        bucket_key(given, BUCKET)


def test_bucket_with_a_folder_of_its_own() -> None:
    assert bucket_key("s3://images/site/uploads/x.png", "s3://images/site/") == "uploads/x.png"
    assert bucket_key("uploads/x.png", "s3://images/site") == "uploads/x.png"
    for url in ("s3://images/site?endpoint=http://minio:9000/x", "gs://images/a%20b/?anonymous=1"):
        folder = "site" if "site" in url else "a b"
        assert bucket_key(f"s3://images/{folder}/uploads/x.png", url) == "uploads/x.png"
    assert bucket_key("gs://images/x.png", "gs://images?endpoint=http://fake/") == "x.png"
    with pytest.raises(InvalidKey, match="outside of 'site/'"):
        bucket_key("s3://images/uploads/x.png", "s3://images/site")
