"""Signed links to a bucket that has none of its own: the service passes the bytes on."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from kiosk_tasks.settings import Settings
from kiosk_tasks.signed_links import Signer
from kiosk_tasks.storage.memory import MemoryStorage
from kiosk_tasks.web.app import create_app
from tests.fakes import fake_adapters
from tests.served import served


@pytest.mark.parametrize("url", ["", "https://bucket.example.org/a.zip?signature=1"])
def test_bytes_or_a_redirect(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIOSK_BUCKET", "memory://x")
    monkeypatch.setenv("KIOSK_LINK_SECRET", "s")
    key = 'output/1/größe "x".zip'
    outside = fake_adapters(**{key: b"PK" * 500_000})
    if url:

        def own(_self: Any, _key: str, *, name: str) -> str:
            assert name == 'größe "x".zip'
            return url

        monkeypatch.setattr(MemoryStorage, "url", own)
    link = Signer("s", seconds=60).path(key)
    with served(create_app(Settings.load(), outside=outside)) as base:
        answer = httpx.get(base + link, trust_env=False)
        forged = httpx.get(base + link.replace("output/1", "output/2"), trust_env=False)
    assert forged.status_code == 403
    if url:
        assert (answer.status_code, answer.headers["Location"]) == (302, url)
        return
    assert answer.content == b"PK" * 500_000
    assert answer.headers["Content-Type"] == "application/zip"
    said = answer.headers["Content-Disposition"]
    assert said.startswith("attachment;")
    assert unquote(said).endswith('größe "x".zip')
