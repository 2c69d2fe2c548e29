"""What the network and Google do to requests: tried again by the SDK, or told in our words."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest
from google.auth import compute_engine
from google.auth.exceptions import TransportError

from kiosk_tasks.errors import (
    InvalidKey,
    KioskError,
    MissingObject,
    StorageDenied,
    StorageFull,
    StorageUnavailable,
)
from kiosk_tasks.storage.gcs import GCSStorage
from kiosk_tasks.storage.gcs_links import Links
from kiosk_tasks.wiring import adapters
from tests.gcs_server import gcs_bucket_url, gcs_server, service_account
from tests.http_faults import Answer, Cut, CutAnswer, Fault, FaultyProxy, Hold, LoseAnswer, Request

leaves_answers_unread = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
"""The SDK does so before it asks for a download again; the sockets close when they are freed."""

PART = 2**20
LARGE = bytes(range(256)) * (2 * PART // 256) + b"end"
SECRET = "a-secret-of-no-worth"  # noqa: S105


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with gcs_server(tmp_path_factory.mktemp("gcs") / "log") as url:
        yield url


@pytest.fixture(scope="module")
def account(gcs: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return service_account(tmp_path_factory.mktemp("account"), gcs)


@pytest.fixture
def proxy(gcs: str) -> Iterator[FaultyProxy]:
    with FaultyProxy(gcs) as proxy:
        yield proxy


Make = Callable[..., GCSStorage]


@pytest.fixture
def make(gcs: str, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Give a maker of buckets behind the proxy; the SDK does not wait before it asks again."""
    clock = SimpleNamespace(sleep=lambda _seconds: None, monotonic=time.monotonic)
    monkeypatch.setattr("google.api_core.retry.retry_unary.time", clock)

    def bucket(**options: Any) -> GCSStorage:
        given: dict[str, Any] = {"part_bytes": PART, **options}
        return GCSStorage.from_url(gcs_bucket_url(gcs, monkeypatch, via=proxy.url, **given))

    yield bucket
    gc.collect()  # here, where the filter holds


def answer(status: int, message: str = "") -> Answer:
    said = {"error": {"code": status, "message": f"{message} {SECRET}"}}
    return Answer(status, json.dumps(said).encode())


def once(fault: Fault, when: Callable[[Request], bool]) -> Callable[[Request], Fault | None]:
    """Let the fault befall the first request of that kind."""
    left = [fault]
    return lambda request: left.pop() if when(request) and left else None


def is_write(request: Request) -> bool:
    return request.method == "POST"


def is_part(request: Request) -> bool:
    return request.headers.get("content-range", "").startswith(f"bytes {PART}-")


def is_completion(request: Request) -> bool:
    return request.headers.get("content-range", "").endswith(f"/{len(LARGE)}")


def is_get(request: Request) -> bool:
    return request.method == "GET" and "alt=media" in request.path


def everything(bucket: GCSStorage, folder: Path) -> None:
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
    assert list(bucket.list()) == []


SOMETIMES = [
    answer(503),
    answer(500),
    Answer(502),
    answer(429, "rateLimitExceeded"),
    Cut(),
    Cut(after_bytes=100),
    LoseAnswer(),
]


@leaves_answers_unread
@pytest.mark.parametrize("fault", SOMETIMES, ids=repr)
def test_every_third_request_fails(
    make: Make, proxy: FaultyProxy, tmp_path: Path, fault: Fault
) -> None:
    bucket = make()
    proxy.plan = lambda request: fault if request.number % 3 == 0 else None
    everything(bucket, tmp_path)
    assert len(proxy.requests) > 20


def test_no_request_sets_an_access_rule_or_asks_what_the_role_does_not_allow(
    make: Make, proxy: FaultyProxy, tmp_path: Path
) -> None:
    bucket = make()
    bucket.put("known", b"")
    assert not bucket.exists("unknown")  # looks once whether there is a bucket
    bucket.delete("known")
    proxy.requests.clear()
    everything(bucket, tmp_path)
    for request in proxy.requests:
        assert "acl" not in request.path.lower().replace("projection=noacl", "")
        assert "/o" in urlsplit(request.path).path


ALWAYS = [*SOMETIMES[:6], CutAnswer(1)]


@leaves_answers_unread
@pytest.mark.parametrize("fault", ALWAYS, ids=repr)
def test_what_does_not_pass_is_told(
    make: Make, proxy: FaultyProxy, tmp_path: Path, fault: Fault
) -> None:
    bucket = make(retry_s=0.05)
    bucket.put("a/key", b"old and longer")
    source = tmp_path / "source"
    source.write_bytes(LARGE)
    calls: list[Callable[[], object]] = [
        lambda: bucket.get("a/key"),
        lambda: bucket.download("a/key", tmp_path / "target"),
        lambda: bucket.read_range("a/key", 0, 10),
        lambda: list(bucket.open("a/key")),
        lambda: bucket.exists("a/key"),
        lambda: list(bucket.list("a/")),
    ]
    if not isinstance(fault, CutAnswer):
        calls += [
            lambda: bucket.put("a/key", b"x"),
            lambda: bucket.put_new("a/key", b"x"),
            lambda: bucket.upload("a/key", source),
            lambda: bucket.write("a/key", [LARGE]),
            lambda: bucket.delete("a/key"),
            lambda: bucket.delete_all("a/"),
        ]
    proxy.plan = lambda _: fault
    for call in calls:
        before = len(proxy.requests)
        with pytest.raises(StorageUnavailable, match=bucket.bucket) as caught:
            call()
        assert SECRET not in str(caught.value)
        assert len(proxy.requests) > before
    proxy.plan = lambda _: None
    assert bucket.get("a/key") == b"old and longer"
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("when", [is_part, is_completion])
@pytest.mark.parametrize("fault", [Cut(1000), answer(503), answer(403)], ids=repr)
def test_upload_that_breaks_in_the_middle_leaves_nothing(
    make: Make, proxy: FaultyProxy, fault: Fault, when: Callable[[Request], bool]
) -> None:
    bucket = make(retry_s=0.05)
    proxy.plan = lambda request: fault if when(request) else None
    with pytest.raises((StorageUnavailable, StorageDenied)):
        bucket.put("key", LARGE)
    proxy.plan = lambda _: None
    assert [request.method for request in proxy.requests][-1] == "DELETE"  # it was cancelled
    assert not bucket.exists("key")
    assert bucket.put_new("key", LARGE)
    assert bucket.get("key") == LARGE


@pytest.mark.parametrize("status", [404, 410])
def test_upload_that_google_has_forgotten_is_worth_another_try(
    make: Make, proxy: FaultyProxy, status: int
) -> None:
    bucket = make(retry_s=0.05)
    proxy.plan = lambda request: answer(status) if is_part(request) else None
    calls: list[Callable[[], object]] = [
        lambda: bucket.put("key", LARGE),
        lambda: bucket.put_new("key", LARGE),
        lambda: bucket.write("key", [LARGE]),
    ]
    for call in calls:
        with pytest.raises(StorageUnavailable, match="key"):
            call()
    assert not bucket.exists("key")


def test_upload_that_cannot_be_cancelled_is_not_ended_either(
    make: Make, proxy: FaultyProxy
) -> None:
    bucket = make(retry_s=0.05)

    def chunks() -> Iterator[bytes]:
        yield LARGE
        proxy.plan = lambda _: Cut()
        raise KeyError("the source breaks off")

    with pytest.raises(KeyError, match="breaks off"):
        bucket.write("key", chunks())
    assert proxy.requests[-1].method == "DELETE"
    proxy.plan = lambda _: None
    gc.collect()  # Python closes a stream that it frees; the SDK would end the upload then
    assert proxy.requests[-1].method == "DELETE"
    assert not bucket.exists("key")


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


@leaves_answers_unread
def test_download_that_breaks(make: Make, proxy: FaultyProxy, tmp_path: Path) -> None:
    bucket = make()
    bucket.put("key", LARGE)
    target = tmp_path / "target"
    proxy.plan = once(CutAnswer(1000), is_get)
    bucket.download("key", target)
    assert target.read_bytes() == LARGE
    hasty = GCSStorage(bucket.bucket, "", replace(bucket.options, retry_s=0.05))
    proxy.plan = lambda request: Cut() if is_get(request) else None
    with pytest.raises(StorageUnavailable, match="key"):
        hasty.download("key", tmp_path / "other")
    with pytest.raises(StorageUnavailable, match="key"):
        hasty.get("key")
    assert list(tmp_path.iterdir()) == [target]


def test_object_that_is_replaced_during_the_download(
    make: Make, proxy: FaultyProxy, tmp_path: Path
) -> None:
    bucket, target = make(), tmp_path / "target"
    bucket.put("key", LARGE)
    twin = GCSStorage(bucket.bucket, "", bucket.options)
    replaced = [False]

    def replace(request: Request) -> None:
        if is_get(request) and not replaced[0]:
            replaced[0] = True
            twin.put("key", LARGE[::-1])

    proxy.plan = replace
    with pytest.raises(StorageUnavailable, match="replaced"):
        bucket.download("key", target)
    assert not target.exists()
    bucket.download("key", target)
    assert target.read_bytes() == LARGE[::-1]


def test_damaged_bytes_are_not_kept(make: Make, proxy: FaultyProxy, tmp_path: Path) -> None:
    bucket, target = make(), tmp_path / "target"
    bucket.put("key", LARGE)
    proxy.plan = once(Answer(206, bytes(PART)), is_get)
    with pytest.raises(StorageUnavailable, match="damaged"):
        bucket.download("key", target)
    assert not target.exists()


def test_silent_server_is_not_waited_for(make: Make, proxy: FaultyProxy) -> None:
    bucket = make(retry_s=0.05, read_timeout_s=0.2)
    hold = Hold()
    proxy.plan = lambda _: hold
    with pytest.raises(StorageUnavailable, match="Timeout"):
        bucket.put_new("key", b"x")
    proxy.plan = lambda _: None
    assert not bucket.exists("key")
    hold.release.set()


def test_nobody_listens(make: Make, proxy: FaultyProxy) -> None:
    bucket = make(retry_s=0.05)
    proxy.__exit__()
    with pytest.raises(StorageUnavailable, match="ConnectionError"):
        bucket.get("key")


SAID = [
    (403, "x does not have storage.objects.get access.", StorageDenied, "storage.objects.get is"),
    (401, "Invalid Credentials", StorageDenied, "credentials"),
    (400, "Invalid argument", StorageDenied, "status 400"),
    (400, "The specified object name is not valid.", InvalidKey, "no name"),
    (501, "Not implemented", StorageDenied, "501"),
    (507, "Insufficient Storage", StorageFull, "Free some space"),
    (408, "Request Timeout", StorageUnavailable, "408"),
]


@pytest.mark.parametrize(("status", "message", "ours", "hint"), SAID)
def test_what_google_says_in_our_words(
    make: Make,
    proxy: FaultyProxy,
    status: int,
    message: str,
    ours: type[KioskError],
    hint: str,
) -> None:
    bucket = make(retry_s=0.01)
    proxy.plan = lambda _: answer(status, message)
    calls: list[Callable[[], object]] = [
        lambda: bucket.put_new("a/key", b"x"),
        lambda: bucket.put("a/key", LARGE),
        lambda: bucket.exists("a/key"),
        lambda: list(bucket.list("a/key")),
    ]
    for call in calls:
        with pytest.raises(ours, match=hint) as caught:
            call()
        assert bucket.bucket in str(caught.value) or "a/key" in str(caught.value)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("forbidden", [False, True])
def test_bucket_that_is_not_there(
    make: Make, proxy: FaultyProxy, tmp_path: Path, forbidden: bool
) -> None:
    there = make()
    bucket = GCSStorage("no-such-bucket", "", there.options)
    if forbidden:  # then nobody can tell
        proxy.plan = lambda r: Answer(403) if "/o" not in urlsplit(r.path).path else None
        assert not bucket.exists("key")
        return
    calls: list[Callable[[], object]] = [
        lambda: bucket.exists("key"),
        lambda: bucket.get("key"),
        lambda: bucket.download("key", tmp_path / "target"),
        lambda: bucket.put("key", b"x"),
        lambda: bucket.put_new("key", LARGE),
        lambda: bucket.delete("key"),
        lambda: list(bucket.list()),
    ]
    for call in calls:
        with pytest.raises(StorageDenied, match="no bucket 'no-such-bucket'"):
            call()
    with pytest.raises(MissingObject):
        there.get("key")


def test_no_credentials(make: Make) -> None:
    bucket = make(anonymous="false")
    with pytest.raises(StorageDenied, match="GOOGLE_APPLICATION_CREDENTIALS"):
        bucket.get("key")
    with pytest.raises(StorageDenied, match="GOOGLE_APPLICATION_CREDENTIALS"):
        bucket.url("key")


def test_credentials_that_are_no_longer_accepted(
    make: Make, proxy: FaultyProxy, tmp_path: Path
) -> None:
    bucket = make(credentials=service_account(tmp_path, proxy.url), anonymous="false")
    body = json.dumps({"error": "invalid_grant", "error_description": SECRET}).encode()
    proxy.plan = lambda request: Answer(400, body) if request.path == "/token" else None
    with pytest.raises(StorageDenied, match="not accepted") as caught:
        bucket.get("key")
    assert SECRET not in str(caught.value)
    assert "PRIVATE" not in str(caught.value)


def test_name_that_is_too_long(make: Make) -> None:
    bucket = make(prefix="p" * 100)
    key = "/".join("k" * 190 for _ in range(5))
    for call in (bucket.get, bucket.url, lambda key: bucket.put(key, b"")):
        with pytest.raises(InvalidKey, match="1024"):
            call(key)


def test_full_disk_at_download(make: Make) -> None:
    bucket = make()
    bucket.put("key", b"x" * 100_000)
    with pytest.raises(StorageFull, match="disk is full"):
        bucket.download("key", Full("/dev/full"))


class Full(type(Path())):  # type: ignore[misc]
    """Linux's file on which there is never space, and which this test must not remove."""

    def unlink(self, missing_ok: bool = False) -> None:
        pass


def test_link_is_signed_for_the_address_that_users_see(make: Make, gcs: str, account: Path) -> None:
    bucket = make(credentials=account, public_endpoint=gcs, url_lifetime_s=600)
    bucket.put("a/result µ.zip", b"zip")
    link = bucket.url("a/result µ.zip")
    assert link.startswith(gcs)
    asked = parse_qs(urlsplit(link).query)
    assert asked["X-Goog-Expires"] == ["600"]
    assert asked["X-Goog-Algorithm"] == ["GOOG4-RSA-SHA256"]
    assert asked["X-Goog-Credential"][0].startswith("kiosk@none.iam.gserviceaccount.com/")
    with urlopen(link) as got:  # noqa: S310  # http only
        assert got.read() == b"zip"
        assert got.headers["Content-Type"] == "application/zip"
    default = GCSStorage.from_url("gs://bucket").url("key")
    assert default.startswith("https://storage.googleapis.com/bucket/key?")
    assert parse_qs(urlsplit(default).query)["X-Goog-Expires"] == ["86400"]


def test_link_of_an_account_without_a_key_is_signed_by_google(
    make: Make, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = make(credentials=account)
    asked: list[tuple[str, str]] = []

    def sign(_text: str, token: str, email: str, *_: object) -> str:
        asked.append((token, email))
        return "c2lnbmVk"  # what IAM's signBlob answers, base64 of "signed"

    def refresh(credentials: Any, _request: object) -> None:
        credentials.token = "a-token"  # noqa: S105
        credentials._service_account_email = "worker@none.iam.gserviceaccount.com"

    monkeypatch.setattr("google.cloud.storage._signing._sign_message", sign)
    monkeypatch.setattr(compute_engine.Credentials, "refresh", refresh)
    bucket._reach.client._credentials = compute_engine.Credentials()
    asked_for = parse_qs(urlsplit(bucket.url("key")).query)
    assert asked == [("a-token", "worker@none.iam.gserviceaccount.com")]
    assert asked_for["X-Goog-Signature"] == [b"signed".hex()]


def test_emulator_of_the_environment(make: Make, gcs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = make()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs)
    bare = GCSStorage.from_url(f"gs://{bucket.bucket}")
    bare.put("a key", b"x")
    assert bucket.get("a key") == b"x"
    assert bare.url("a key") == f"{gcs}/{bucket.bucket}/a%20key"


def test_account_that_may_not_sign_learns_what_it_lacks(
    make: Make, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = make(credentials=account)
    said = ['{"error": {"code": 403, "status": "PERMISSION_DENIED"}}', '{"error": {"code": 503}}']

    def refuse(*_: object) -> str:
        raise TransportError(f"Error calling the IAM signBytes API: {said.pop(0)}")

    monkeypatch.setattr("google.cloud.storage._signing._sign_message", refuse)
    bucket._reach.client._credentials = SimpleNamespace(
        valid=True, service_account_email="worker@none", token=SECRET
    )
    with pytest.raises(StorageDenied, match="Token Creator") as caught:
        bucket.url("key")
    assert "worker@none" in str(caught.value)
    assert SECRET not in str(caught.value)
    with pytest.raises(StorageUnavailable):
        bucket.url("key")


def test_link_is_signed_once_while_most_of_its_life_is_left() -> None:
    links, made = Links(), count()

    def get(what: str, lifetime_s: float) -> str:
        return links.get((what,), lifetime_s, lambda: f"link {next(made)}")

    assert get("a", 3600) == get("a", 3600) == "link 0"
    assert get("b", 3600) == "link 1"
    assert get("a", 0) == "link 2"
    assert get("a", 3600) == "link 2"


def test_user_without_an_account_gets_no_signed_link(make: Make, account: Path) -> None:
    bucket = make(credentials=account)

    bucket._reach.client._credentials = SimpleNamespace(valid=True)
    with pytest.raises(StorageDenied, match="sign_links=false"):
        bucket.url("key")
    plain = make(credentials=account, sign_links="false", public_endpoint="https://files.example")
    assert plain.url("a b") == f"https://files.example/{plain.bucket}/a%20b"


def test_memory_stays_bounded(gcs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = GCSStorage.from_url(gcs_bucket_url(gcs, monkeypatch, part_bytes=PART))
    bucket.put("other", b"")  # what is loaded once is loaded now
    size = 48 * PART
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
    bucket._reach.blob("a/").upload_from_string(b"")
    bucket.put("a/key", b"")
    assert list(bucket.list()) == ["a/key"]
    assert bucket.delete_all("a/") == 2
    assert list(bucket.list()) == []


def test_more_objects_than_one_page(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kiosk_tasks.storage.gcs._PAGE", 2)
    bucket = make()
    keys = [f"many/{number}" for number in range(5)]
    for key in keys:
        bucket.put(key, b"")
    bucket.put("one", b"")
    assert list(bucket.list("many/")) == keys
    assert bucket.delete_all("many/") == 5
    assert list(bucket.list()) == ["one"]


def test_client_is_made_anew_after_a_fork(gcs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
import os, sys
from kiosk_tasks.storage import from_url
bucket = from_url(sys.argv[1])
bucket.put("key", b"content")
mine = bucket._reach.client
if os.fork() == 0:
    os._exit(0 if bucket._reach.client is not mine and bucket.get("key") == b"content" else 3)
child = os.waitstatus_to_exitcode(os.wait()[1])
assert bucket._reach.client is mine and bucket.get("key") == b"content"
sys.exit(child)
"""
    url = gcs_bucket_url(gcs, monkeypatch)
    subprocess.run([sys.executable, "-c", code, url], check=True, env=dict(os.environ))


def test_the_sdk_is_loaded_for_google_only() -> None:
    code = (
        "import sys, kiosk_tasks.wiring; from kiosk_tasks.storage import from_url;"
        "from_url('memory://x'); from_url('s3://bucket'); "
        "assert 'google.cloud.storage' not in sys.modules;"
        "from_url('gs://bucket'); assert 'google.cloud.storage' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_settings_lead_to_bucket_and_workspace(gcs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIOSK_BUCKET", gcs_bucket_url(gcs, monkeypatch, prefix="kiosk"))
    outside = adapters()
    key = outside.workspace.put("job", "predict", (1, "two"))
    assert outside.workspace.get(key) == (1, "two")
    assert list(outside.storage.list()) == ["workspace/job/predict.artifact"]
    outside.workspace.clear("job")
    assert list(outside.storage.list()) == []


def test_many_threads_each_keep_their_connection(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = make()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda number: bucket.put(f"key {number}", b"x"), range(40)))
    assert len(list(bucket.list())) == 40
    assert "pool is full" not in caplog.text
