"""Who is let in, and who is not; without a server, so that each rule can be seen alone."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest

from kiosk_tasks.errors import KioskError
from kiosk_tasks.settings import InvalidSetting, Settings
from kiosk_tasks.web.access import Gate, Rate
from kiosk_tasks.web.errors import CrossSite, NotLoggedIn, StrangeHost, TooManyRequests

TOKENS = "alice:a-token,bob:b:token"
HERE = "127.0.0.1:8000"


def gate(monkeypatch: pytest.MonkeyPatch, **settings: str) -> Gate:
    for name, value in settings.items():
        monkeypatch.setenv(f"KIOSK_{name}", value)
    return Gate(lambda *_: None, settings=Settings.load())  # type: ignore[arg-type, return-value]


def ask(
    one: Gate,
    method: str = "GET",
    path: str = "/jobs",
    headers: Mapping[str, str] | None = None,
    client: str = "10.0.0.1",
) -> str:
    given = {"host": HERE, **(headers or {})}
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in given.items()],
        "client": (client, 1),
    }
    return one._admit(scope)


def refused(error: type[KioskError], one: Gate, *args: Any, **options: Any) -> str:
    with pytest.raises(error) as caught:
        ask(one, *args, **options)
    return str(caught.value)


def basic(login: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(login.encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_tokens_say_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    one = gate(monkeypatch, API_TOKENS=TOKENS)
    assert ask(one, headers=bearer("a-token")) == "alice"
    assert ask(one, headers={"authorization": "bearer b:token"}) == "bob"
    assert ask(one, headers=basic("alice:a-token")) == "alice"
    assert ask(one, headers=basic("bob:b:token")) == "bob"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(""),
        bearer("a-toke"),
        bearer("a-token2"),
        bearer("alice:a-token"),
        bearer("é"),
        basic("bob:a-token"),
        basic("alice:"),
        basic("alice"),
        {"authorization": "Basic ???"},
        {"authorization": "Basic " + base64.b64encode(b"\xff\xfe:x").decode()},
        {"authorization": "Digest a-token"},
        {"authorization": "a-token"},
    ],
    ids=str,
)
def test_anything_else_is_nobody(monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]) -> None:
    one = gate(monkeypatch, API_TOKENS=TOKENS)
    assert "token" in refused(NotLoggedIn, one, headers=headers)


def test_health_needs_no_token_and_signed_links_are_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = gate(monkeypatch, API_TOKENS=TOKENS)
    for path in ("/healthz", "/readyz", "/files/output/1/a.zip"):
        assert ask(one, path=path) == ""
    for path in ("/", "/metrics", "/files", "/healthz/x", "/page/x.js", "/api/health-check"):
        refused(NotLoggedIn, one, path=path)
    refused(NotLoggedIn, one, "POST", "/healthz")
    refused(NotLoggedIn, one, "POST", "/files/x")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:80", "[::1]:8000", "127.0.0.9:1"])
def test_names_of_this_machine(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    assert ask(gate(monkeypatch), headers={"host": host}) == ""


@pytest.mark.parametrize(
    "host",
    ["", "evil.org", "127.0.0.1.evil.org", "localhost.evil.org:8000", "192.168.1.5", "[x", "a@b"],
)
def test_other_names_may_be_another_sites(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    one = gate(monkeypatch)
    assert "KIOSK_PUBLIC_URL" in refused(StrangeHost, one, headers={"host": host})
    assert ask(one, path="/healthz", headers={"host": host}) == ""


@pytest.mark.parametrize("host", ["[x", "a:b:c]", ":80"])
def test_a_name_that_is_none_is_refused_with_a_token_too(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    one = gate(monkeypatch, API_TOKENS=TOKENS)
    refused(StrangeHost, one, headers={"host": host, **bearer("a-token")})
    assert ask(one, headers={"host": "kiosk.org:80", **bearer("a-token")}) == "alice"


def test_the_public_name_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    one = gate(monkeypatch, PUBLIC_URL="https://kiosk.org/")
    assert ask(one, headers={"host": "kiosk.org"}) == ""
    assert ask(one, "POST", headers={"origin": "https://kiosk.org"}) == ""
    refused(StrangeHost, one, headers={"host": "evil.org"})


def test_an_open_service_is_found_by_its_address_but_by_no_strange_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = gate(monkeypatch, WEB_OPEN="true")
    assert ask(one, headers={"host": "192.168.1.5:8000"}) == ""
    refused(StrangeHost, one, headers={"host": "evil.org"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "none"},
        {"origin": f"http://{HERE}"},
        {"origin": f"http://{HERE.upper()}", "sec-fetch-site": "same-origin"},
        {"origin": "https://friend.org", "sec-fetch-site": "cross-site"},
    ],
    ids=str,
)
def test_pages_that_may_ask_for_changes(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    one = gate(monkeypatch, CORS_ORIGINS="https://friend.org")
    assert ask(one, "POST", headers=headers) == ""


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.org"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "", "host": HERE},
        {"origin": "http://[x"},
        {"origin": "https://friend.org.evil.org"},
    ],
    ids=str,
)
def test_pages_that_may_not(
    monkeypatch: pytest.MonkeyPatch, method: str, headers: dict[str, str]
) -> None:
    one = gate(monkeypatch, CORS_ORIGINS="https://friend.org")
    refused(CrossSite, one, method, headers=headers)
    assert ask(one, "GET", headers=headers) == ""


def test_so_many_a_minute_for_each() -> None:
    now = 0.0
    rate = Rate(3, clock=lambda: now)
    for _ in range(3):
        rate.take("alice")
    with pytest.raises(TooManyRequests, match="3 requests a minute"):
        rate.take("alice")
    rate.take("bob")
    now = 20.0  # a third of a minute: one more
    rate.take("alice")
    with pytest.raises(TooManyRequests):
        rate.take("alice")


def test_rates_are_kept_of_so_many_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kiosk_tasks.web.access._MOST_KNOWN", 5)
    rate = Rate(1, clock=lambda: 0.0)
    for number in range(50):
        rate.take(str(number))
    assert len(rate._left) == 5


def test_only_changes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    one = gate(monkeypatch, WEB_RATE="2")
    for _ in range(9):
        ask(one)
        ask(one, "POST", "/api/status")
        ask(one, "POST", "/api/redis/")
    ask(one, "POST", "/jobs/predict")
    ask(one, "DELETE", "/jobs/x")
    refused(TooManyRequests, one, "POST", "/jobs/predict")
    assert ask(one, "POST", "/jobs/predict", client="10.0.0.2") == ""


def test_looks_into_files_are_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    one = gate(monkeypatch, WEB_RATE="2")
    for _ in range(2):
        ask(one, "POST", "/inspect")
    refused(TooManyRequests, one, "POST", "/inspect")
    for _ in range(2):
        ask(one, "POST", "/jobs/predict")
    refused(TooManyRequests, one, "POST", "/jobs/predict")


def test_no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    one = gate(monkeypatch, WEB_RATE="0")
    for _ in range(2000):
        ask(one, "POST")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_TOKENS", "alice"),
        ("API_TOKENS", "alice:"),
        ("API_TOKENS", ":secret"),
        ("API_TOKENS", "alice:one,alice:two"),
        ("API_TOKENS", "alice:same-one,bob:same-one"),
        ("PUBLIC_URL", "kiosk.org"),
        ("PUBLIC_URL", "ftp://kiosk.org"),
        ("PUBLIC_URL", "https://kiosk.org/?x=1"),
    ],
)
def test_settings_without_meaning_are_told_without_their_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"KIOSK_{name}", value)
    with pytest.raises(InvalidSetting, match=f"KIOSK_{name}") as caught:
        Settings.load()
    assert value not in str(caught.value)
