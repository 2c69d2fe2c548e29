"""Signed links: good for one object, for a while."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from kiosk_tasks.signed_links import Signer
from kiosk_tasks.wiring import adapters

SIGNER = Signer("secret", seconds=60)


def taken_apart(link: str) -> tuple[str, int, str]:
    url = urlsplit(link)
    query = parse_qs(url.query)
    key = unquote(url.path.removeprefix("/files/"))
    return key, int(query["expires"][0]), query["signature"][0]


@pytest.mark.parametrize("key", ["output/1/a.zip", "output/1/größe & mehr?.zip", "a/b#c.zip"])
def test_a_link_is_what_was_signed(key: str) -> None:
    found, expires, signature = taken_apart(SIGNER.path(key))
    assert found == key
    assert SIGNER.allows(key, expires, signature)
    assert not SIGNER.allows(f"{key}x", expires, signature)
    assert not SIGNER.allows(key, expires + 1, signature)
    assert not SIGNER.allows(key, expires, signature[:-1])
    assert not SIGNER.allows(key, expires, "")
    assert not SIGNER.allows(key, expires, "ö")
    assert not Signer("other", seconds=60).allows(key, expires, signature)


def test_a_link_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    key, expires, signature = taken_apart(SIGNER.path("a"))
    monkeypatch.setattr("time.time", lambda: expires - 1)
    assert SIGNER.allows(key, expires, signature)
    monkeypatch.setattr("time.time", lambda: expires)
    assert not SIGNER.allows(key, expires, signature)


@pytest.mark.parametrize("bucket", ["file:///b", "s3://bucket", "gs://bucket"])
def test_workers_write_links_that_end_in_a_files_name(
    monkeypatch: pytest.MonkeyPatch, bucket: str
) -> None:
    """An old client names its copy so; it could not save one whose name is a signed link."""
    monkeypatch.setenv("KIOSK_BUCKET", bucket)
    monkeypatch.setenv("KIOSK_PUBLIC_URL", "https://k.org")
    monkeypatch.setenv("KIOSK_LINK_SECRET", "secret")
    link = adapters().link
    assert link is not None
    url = link("output/1/größe & mehr.zip")
    expires, signature, key = url.removeprefix("https://k.org/api/files/").split("/", 2)
    assert SIGNER.allows(unquote(key), int(expires), signature)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"PUBLIC_URL": "https://k.org"},
        {"LINK_SECRET": "s"},
        {"PUBLIC_URL": "http://127.0.0.1:1", "LINK_SECRET": "s", "BUCKET": "s3://bucket"},
    ],
    ids=["none", "no secret", "no url", "a cloud bucket's own reach further"],
)
def test_workers_write_none_where_nobody_could_read_them(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(f"KIOSK_{name}", value)
    assert adapters().link is None
