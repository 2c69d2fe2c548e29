"""What the network and S3 do to requests: tried again by the SDK, or told in our words."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest

from kiosk_tasks.errors import (
    InvalidKey,
    KioskError,
    MissingObject,
    StorageDenied,
    StorageFull,
    StorageUnavailable,
)
from kiosk_tasks.storage.s3 import S3Storage
from kiosk_tasks.wiring import adapters
from tests.http_faults import Answer, Cut, CutAnswer, Fault, FaultyProxy, Hold, LoseAnswer, Request
from tests.s3_server import bucket_url, s3_server

leaves_answers_unread = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
"""The SDK does so with those that break off; their sockets close when they are freed."""

PART = 5 * 2**20
LARGE = bytes(range(256)) * (2 * PART // 256) + b"end"
SECRET = "a-secret-of-no-worth"  # noqa: S105


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as url:
        yield url


@pytest.fixture
def proxy(s3: str) -> Iterator[FaultyProxy]:
    with FaultyProxy(s3) as proxy:
        yield proxy


Make = Callable[..., S3Storage]


@pytest.fixture
def make(s3: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Give a maker of buckets behind the proxy; the SDK does not wait before it asks again."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _seconds: None))

    def bucket(**options: Any) -> S3Storage:
        given: dict[str, Any] = {"part_bytes": PART, "attempts": 3, **options}
        return S3Storage.from_url(bucket_url(s3, monkeypatch, via=proxy.url, **given))

    yield bucket
    gc.collect()  # here, where the filter holds


def answer(status: int, code: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>"
    return Answer(status, body.encode())


def once(fault: Fault, when: Callable[[Request], bool]) -> Callable[[Request], Fault | None]:
    """Let the fault befall the first request of that kind."""
    left = [fault]
    return lambda request: left.pop() if when(request) and left else None


def is_write(request: Request) -> bool:
    return request.method == "PUT"


def is_part(request: Request) -> bool:
    return "partNumber=2" in request.path


def is_completion(request: Request) -> bool:
    return request.method == "POST" and "uploadId=" in request.path


def is_get(request: Request) -> bool:
    return request.method == "GET"


def everything(bucket: S3Storage, folder: Path) -> None:
    """Use every method."""
    source, target = folder / "source", folder / "target"
    source.write_bytes(LARGE)
    bucket.put("a/small", b"small")
    assert bucket.put_new("a/new", b"new")
    assert not bucket.put_new("a/new", b"newer")
    bucket.upload("a/large", source)
    assert not bucket.upload_new("a/large", source)
    bucket.download("a/large", target)
    assert target.read_bytes() == LARGE
    bucket.write("a/streamed", iter([LARGE, LARGE]))
    assert b"".join(bucket.open("a/streamed")) == LARGE * 2
    assert bucket.read_range("a/large", PART - 2, 5) == LARGE[PART - 2 : PART + 3]
    assert bucket.get("a/small") == b"small"
    assert bucket.get("a/new") == b"new"
    assert bucket.exists("a/large")
    assert not bucket.exists("a/gone")
    assert list(bucket.list("a/")) == ["a/large", "a/new", "a/small", "a/streamed"]
    bucket.delete("a/small")
    assert bucket.delete_all("a/") == 3
    assert bucket.remove_partials(-60) in range(3)  # those of which nobody heard that they began
    assert bucket.remove_partials(-60) == 0
    assert list(bucket.list()) == []


SOMETIMES = [
    answer(503, "SlowDown"),
    answer(500, "InternalError"),
    Answer(503),
    Cut(),
    Cut(after_bytes=100),
    LoseAnswer(),
]


@pytest.mark.parametrize("fault", SOMETIMES, ids=repr)
def test_every_third_request_fails(
    make: Make, proxy: FaultyProxy, tmp_path: Path, fault: Fault
) -> None:
    bucket = make(attempts=5)
    proxy.plan = lambda request: fault if request.number % 3 == 0 else None
    everything(bucket, tmp_path)
    assert len(proxy.requests) > 20


def test_no_request_sets_an_access_rule_or_shows_the_secret(
    make: Make, proxy: FaultyProxy, tmp_path: Path
) -> None:
    everything(make(), tmp_path)
    for request in proxy.requests:
        assert "acl" not in request.path
        assert not [name for name in request.headers if "acl" in name or "grant" in name]
        assert SECRET not in repr(request)


ALWAYS = [*SOMETIMES[:5], answer(429, "TooManyRequests")]


@pytest.mark.parametrize("fault", ALWAYS, ids=repr)
def test_what_does_not_pass_is_told(
    make: Make, proxy: FaultyProxy, tmp_path: Path, fault: Fault
) -> None:
    bucket = make(attempts=2)
    source = tmp_path / "source"
    source.write_bytes(LARGE)
    calls: list[Callable[[], object]] = [
        lambda: bucket.put("a/key", b"x"),
        lambda: bucket.put_new("a/key", b"x"),
        lambda: bucket.upload("a/key", source),
        lambda: bucket.write("a/key", [LARGE]),
        lambda: bucket.get("a/key"),
        lambda: bucket.open("a/key"),
        lambda: bucket.read_range("a/key", 0, 1),
        lambda: bucket.download("a/key", tmp_path / "target"),
        lambda: bucket.exists("a/key"),
        lambda: bucket.delete("a/key"),
        lambda: bucket.delete_all("a/"),
        lambda: list(bucket.list("a/")),
        lambda: bucket.remove_partials(0),
    ]
    for call in calls:
        proxy.plan = lambda _: fault
        before = len(proxy.requests)
        with pytest.raises(StorageUnavailable, match=bucket.bucket) as caught:
            call()
        assert SECRET not in str(caught.value)
        assert caught.value.retry
        assert len(proxy.requests) == before + 2
    proxy.plan = lambda _: None
    assert list(bucket.list()) == []


@pytest.mark.parametrize("when", [is_part, is_completion])
@pytest.mark.parametrize("fault", [Cut(1000), answer(503, "SlowDown"), answer(403, "AccessDenied")])
def test_upload_that_breaks_in_the_middle_leaves_nothing(
    make: Make, proxy: FaultyProxy, fault: Fault, when: Callable[[Request], bool]
) -> None:
    bucket = make()
    writes: list[Callable[[], object]] = [
        lambda: bucket.put("key", LARGE),
        lambda: bucket.write("key", [LARGE]),
    ]
    for write in writes:
        proxy.plan = lambda request: fault if when(request) else None
        with pytest.raises((StorageUnavailable, StorageDenied)):
            write()
        proxy.plan = lambda _: None
        assert not bucket.exists("key")
        assert bucket.remove_partials(-60) == 0  # it was aborted
    assert bucket.put_new("key", LARGE)
    assert bucket.get("key") == LARGE


def test_upload_that_cannot_be_aborted_is_removed_later(make: Make, proxy: FaultyProxy) -> None:
    bucket = make()
    proxy.plan = lambda r: Cut() if is_part(r) or r.method == "DELETE" else None
    with pytest.raises(StorageUnavailable):
        bucket.put("key", LARGE)
    proxy.plan = lambda _: None
    assert not bucket.exists("key")
    assert bucket.remove_partials(3600) == 0
    assert bucket.remove_partials(-60) == 1


@pytest.mark.parametrize(("data", "when"), [(b"small", is_write), (LARGE, is_completion)])
def test_writer_whose_answer_was_lost_knows_its_own_object(
    make: Make, proxy: FaultyProxy, data: bytes, when: Callable[[Request], bool]
) -> None:
    bucket = make()
    proxy.plan = once(LoseAnswer(), when)
    assert bucket.put_new("key", data)
    assert sum(map(when, proxy.requests)) == 2
    proxy.plan = once(LoseAnswer(), when)
    assert not bucket.put_new("key", data)
    assert bucket.get("key") == data


@pytest.mark.parametrize("streamed", [False, True])
def test_completion_that_was_forgotten_by_the_server(
    make: Make, proxy: FaultyProxy, streamed: bool
) -> None:
    """MinIO does not know an upload any more once it is complete."""
    bucket = make()

    def write(key: str) -> None:
        bucket.write(key, [LARGE]) if streamed else bucket.put(key, LARGE)

    faults: list[Fault] = [answer(404, "NoSuchUpload"), LoseAnswer()]
    proxy.plan = lambda r: faults.pop() if is_completion(r) and faults else None
    write("key")
    assert bucket.get("key") == LARGE
    proxy.plan = lambda r: answer(404, "NoSuchUpload") if is_completion(r) else None
    with pytest.raises(StorageUnavailable, match="NoSuchUpload"):
        write("other")
    assert not bucket.exists("other")


@pytest.mark.parametrize(("data", "when"), [(b"small", is_write), (LARGE, is_completion)])
def test_conflict_of_two_writers_is_settled_by_asking_again(
    make: Make, proxy: FaultyProxy, data: bytes, when: Callable[[Request], bool]
) -> None:
    bucket = make()
    conflict = answer(409, "ConditionalRequestConflict")
    proxy.plan = once(conflict, when)
    assert bucket.put_new("key", data)
    proxy.plan = once(conflict, when)
    assert not bucket.put_new("key", data)
    proxy.plan = lambda request: conflict if when(request) else None
    with pytest.raises(StorageUnavailable, match="ConditionalRequestConflict"):
        bucket.put_new("other", data)
    assert bucket.remove_partials(-60) == 0


@leaves_answers_unread
def test_download_that_breaks(make: Make, proxy: FaultyProxy, tmp_path: Path) -> None:
    bucket = make()
    bucket.put("key", LARGE)
    target = tmp_path / "target"
    proxy.plan = once(CutAnswer(1000), is_get)
    bucket.download("key", target)
    assert target.read_bytes() == LARGE
    proxy.plan = lambda request: CutAnswer(1000) if is_get(request) else None
    with pytest.raises(StorageUnavailable, match="key"):
        bucket.download("key", tmp_path / "other")
    with pytest.raises(StorageUnavailable, match="key"):
        bucket.get("key")
    assert list(tmp_path.iterdir()) == [target]


@leaves_answers_unread
def test_small_download_that_breaks(make: Make, proxy: FaultyProxy, tmp_path: Path) -> None:
    bucket = make()
    bucket.put("key", LARGE[:PART])
    target = tmp_path / "target"
    proxy.plan = once(CutAnswer(1000), is_get)
    bucket.download("key", target)
    assert target.read_bytes() == LARGE[:PART]
    proxy.plan = lambda request: CutAnswer(1000) if is_get(request) else None
    with pytest.raises(StorageUnavailable, match="key"):
        bucket.download("key", tmp_path / "other")
    assert list(tmp_path.iterdir()) == [target]


def test_small_objects_take_one_request_each_way(
    make: Make, proxy: FaultyProxy, tmp_path: Path
) -> None:
    """To a bucket far away each takes as long as all of the work on a small image."""
    bucket, source, target = make(), tmp_path / "source", tmp_path / "target"
    source.write_bytes(LARGE[:PART])
    proxy.requests.clear()
    assert bucket.upload_new("key", source)
    bucket.download("key", target)
    assert [request.method for request in proxy.requests] == ["PUT", "GET"]
    assert target.read_bytes() == LARGE[:PART]
    source.write_bytes(b"another")
    assert not bucket.upload_new("key", source)
    assert bucket.get("key") == LARGE[:PART]


def test_large_object_that_is_there_is_not_sent_again(
    make: Make, proxy: FaultyProxy, tmp_path: Path
) -> None:
    bucket, source = make(), tmp_path / "source"
    source.write_bytes(LARGE)
    assert bucket.upload_new("key", source)
    proxy.requests.clear()
    assert not bucket.upload_new("key", source)
    assert [request.method for request in proxy.requests] == ["HEAD"]


def test_streamed_write_is_ended_again_after_a_conflict(make: Make, proxy: FaultyProxy) -> None:
    bucket = make()
    proxy.plan = once(answer(409, "OperationAborted"), is_completion)
    bucket.write("key", [LARGE])
    assert bucket.get("key") == LARGE
    proxy.plan = lambda r: answer(409, "OperationAborted") if is_completion(r) else None
    with pytest.raises(StorageUnavailable, match="OperationAborted"):
        bucket.write("other", [LARGE])
    assert bucket.remove_partials(-60) == 0


@leaves_answers_unread
def test_piece_that_breaks_off_is_fetched_again(make: Make, proxy: FaultyProxy) -> None:
    bucket = make()
    bucket.put("key", LARGE)
    proxy.plan = once(CutAnswer(1000), is_get)
    assert b"".join(bucket.open("key")) == LARGE
    proxy.plan = once(CutAnswer(1), is_get)
    assert bucket.read_range("key", 1, 9) == LARGE[1:10]
    proxy.plan = lambda request: CutAnswer(1) if is_get(request) else None
    with pytest.raises(StorageUnavailable, match="key"):
        bucket.read_range("key", 1, 9)
    with pytest.raises(StorageUnavailable, match="key"):
        list(bucket.open("key"))


def test_object_that_is_replaced_during_the_download(
    make: Make, proxy: FaultyProxy, tmp_path: Path
) -> None:
    bucket, target = make(), tmp_path / "target"
    bucket.put("key", LARGE)
    twin = S3Storage(bucket.bucket, "", bucket.options)
    replaced = [False]

    def replace(request: Request) -> None:
        if is_get(request) and not replaced[0]:
            replaced[0] = True
            twin.put("key", LARGE[::-1])

    proxy.plan = replace
    try:
        bucket.download("key", target)
    except StorageUnavailable:
        bucket.download("key", target)
    assert target.read_bytes() == LARGE[::-1]


def test_silent_server_is_not_waited_for(make: Make, proxy: FaultyProxy) -> None:
    bucket = make(attempts=1, read_timeout_s=0.2)
    hold = Hold()
    proxy.plan = lambda _: hold
    with pytest.raises(StorageUnavailable, match="ReadTimeoutError"):
        bucket.put_new("key", b"x")
    proxy.plan = lambda _: None
    assert not bucket.exists("key")
    hold.release.set()


def test_nobody_listens(make: Make, proxy: FaultyProxy) -> None:
    bucket = make(attempts=2)
    proxy.__exit__()
    with pytest.raises(StorageUnavailable, match="EndpointConnectionError"):
        bucket.get("key")


SAID = [
    (403, "AccessDenied", StorageDenied, "credentials"),
    (403, "InvalidAccessKeyId", StorageDenied, "credentials"),
    (400, "ExpiredToken", StorageDenied, "credentials"),
    (404, "NoSuchBucket", StorageDenied, "no bucket"),
    (400, "AuthorizationHeaderMalformed", StorageDenied, "AWS_REGION"),
    (501, "NotImplemented", StorageDenied, "NotImplemented"),
    (507, "XMinioStorageFull", StorageFull, "Free some space"),
    (400, "KeyTooLongError", InvalidKey, "1024"),
    (400, "IncompleteBody", StorageUnavailable, "IncompleteBody"),
    (400, "RequestTimeout", StorageUnavailable, "RequestTimeout"),
]


@pytest.mark.parametrize(("status", "code", "ours", "hint"), SAID)
def test_what_s3_says_in_our_words(
    make: Make, proxy: FaultyProxy, status: int, code: str, ours: type[KioskError], hint: str
) -> None:
    bucket = make(attempts=1)
    proxy.plan = lambda _: answer(status, code)
    calls: list[Callable[[], object]] = [
        lambda: bucket.put_new("a/key", b"x"),
        lambda: bucket.put("a/key", LARGE),
        lambda: bucket.get("a/key"),
        lambda: list(bucket.list("a/key")),
    ]
    for call in calls:
        with pytest.raises(ours, match=hint) as caught:
            call()
        assert bucket.bucket in str(caught.value) or "a/key" in str(caught.value)
        assert SECRET not in str(caught.value)
        assert "AKID" not in str(caught.value)


def test_object_of_many_that_is_not_deleted(make: Make, proxy: FaultyProxy) -> None:
    bucket = make()
    bucket.put("a/key", b"x")
    body = b"<DeleteResult><Error><Key>a/key</Key><Code>AccessDenied</Code></Error></DeleteResult>"
    proxy.plan = lambda request: Answer(200, body) if request.method == "POST" else None
    with pytest.raises(StorageDenied, match="a/key"):
        bucket.delete_all("a/")


@pytest.mark.parametrize("forbidden", [False, True])
def test_bucket_that_is_not_there(
    make: Make, proxy: FaultyProxy, tmp_path: Path, forbidden: bool
) -> None:
    """S3 answers 404 without a word to HEAD, be it the object or the bucket that is missing."""
    there = make()
    bucket = S3Storage("no-such-bucket", "", there.options)
    if forbidden:  # then nobody can tell
        proxy.plan = lambda r: Answer(403) if r.path.rstrip("/") == "/no-such-bucket" else None
        assert not bucket.exists("key")
        return
    calls: list[Callable[[], object]] = [
        lambda: bucket.exists("key"),
        lambda: bucket.get("key"),
        lambda: bucket.download("key", tmp_path / "target"),
        lambda: bucket.put("key", b"x"),
        lambda: bucket.put_new("key", LARGE),
        lambda: list(bucket.list()),
    ]
    for call in calls:
        with pytest.raises(StorageDenied, match="no bucket 'no-such-bucket'"):
            call()
    with pytest.raises(MissingObject):
        there.get("key")


def test_no_credentials(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = make()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageDenied, match="AWS_ACCESS_KEY_ID"):
        bucket.get("key")
    with pytest.raises(StorageDenied, match="AWS_ACCESS_KEY_ID"):
        bucket.url("key")


@pytest.mark.parametrize("data", [b"x", LARGE])
def test_full_disk_at_download(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    bucket = make()
    bucket.put("key", data)

    class FullFile(io.FileIO):
        def write(self, _data: Any) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("s3transfer.utils.OSUtils.open", lambda _s, name, _m: FullFile(name, "w"))
    monkeypatch.setattr("pathlib.Path.open", lambda path, mode: FullFile(path, mode[0]))
    with pytest.raises(StorageFull, match="disk is full"):
        bucket.download("key", tmp_path / "target")
    assert list(tmp_path.glob("target*")) == []


def test_link_ends_and_is_signed_for_the_address_that_users_see(make: Make, s3: str) -> None:
    bucket = make(public_endpoint=s3, url_lifetime_s=600)
    bucket.put("a/result µ.zip", b"zip")
    link = bucket.url("a/result µ.zip")
    assert link.startswith(s3)
    asked = parse_qs(urlsplit(link).query)
    assert asked["X-Amz-Expires"] == ["600"]
    assert asked["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    with urlopen(link) as got:  # noqa: S310  # http only
        assert got.read() == b"zip"
        assert got.headers["Content-Type"] == "application/zip"
    assert parse_qs(urlsplit(make().url("key")).query)["X-Amz-Expires"] == ["86400"]


def test_endpoint_of_the_environment(
    make: Make, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = make()
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url.replace("127.0.0.1", "localhost"))
    bare = S3Storage.from_url(f"s3://{bucket.bucket}")
    bare.put("key", b"x")
    assert bucket.get("key") == b"x"


def test_memory_stays_bounded(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = S3Storage.from_url(bucket_url(s3, monkeypatch, part_bytes=PART))
    bucket.put("other", b"")  # what is loaded once is loaded now
    size = 16 * PART
    source, target = tmp_path / "source", tmp_path / "target"
    with source.open("wb") as file:
        file.truncate(size)
    tracemalloc.start()
    try:
        bucket.upload("key", source)
        up = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        bucket.download("key", target)
        down = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert target.stat().st_size == size
    assert up < 10 * PART
    assert down < 10 * PART


def test_folders_of_consoles_are_no_objects(make: Make) -> None:
    bucket = make()
    bucket._client.put_object(Bucket=bucket.bucket, Key="a/", Body=b"")
    bucket.put("a/key", b"")
    assert list(bucket.list()) == ["a/key"]
    assert bucket.delete_all("a/") == 2
    assert list(bucket.list()) == []


def two_a_page(params: dict[str, Any], **_: object) -> None:
    params["MaxKeys"] = 2


def test_more_objects_than_one_page(make: Make) -> None:
    bucket = make()
    bucket._client.meta.events.register("before-parameter-build.s3.ListObjectsV2", two_a_page)
    keys = [f"many/{number}" for number in range(5)]
    for key in keys:
        bucket.put(key, b"")
    bucket.put("one", b"")
    assert list(bucket.list("many/")) == keys
    assert bucket.delete_all("many/") == 5
    assert list(bucket.list()) == ["one"]


def test_client_is_made_anew_after_a_fork(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import os, sys
from kiosk_tasks.storage import from_url
bucket = from_url(sys.argv[1])
bucket.put("key", b"content")
mine = bucket._client
if os.fork() == 0:
    os._exit(0 if bucket._client is not mine and bucket.get("key") == b"content" else 3)
child = os.waitstatus_to_exitcode(os.wait()[1])
assert bucket._client is mine and bucket.get("key") == b"content"
sys.exit(child)
"""
    subprocess.run([sys.executable, "-c", code, bucket_url(s3, monkeypatch)], check=True)


def test_boto3_is_loaded_for_s3_only() -> None:
    code = (
        "import sys, kiosk_tasks.wiring; from kiosk_tasks.storage import from_url;"
        "from_url('memory://x'); from_url('file:///tmp/x'); assert 'boto3' not in sys.modules;"
        "from_url('s3://bucket'); assert 'boto3' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_settings_lead_to_bucket_and_workspace(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIOSK_BUCKET", bucket_url(s3, monkeypatch, prefix="kiosk"))
    outside = adapters()
    key = outside.workspace.put("job", "predict", (1, "two"))
    assert outside.workspace.get(key) == (1, "two")
    assert list(outside.storage.list()) == ["workspace/job/predict.artifact"]
    outside.workspace.clear("job")
    assert list(outside.storage.list()) == []
