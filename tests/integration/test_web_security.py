"""The web service against people who mean it no good."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Broker, place_on, wait_for
from tests.web_process import WebProcess, web_process

TOKENS = {"API_TOKENS": "ann:token-of-ann,ben:token-of-ben", "WEB_RATE": "0"}
SIGNED = {"/files/{key}", "/api/files/{expires}/{signature}/{key}"}
OPEN_ROUTES = {"/healthz", "/readyz"}


@pytest.fixture(scope="module")
def place(valkey: str) -> Iterator[Broker]:
    with place_on(valkey) as broker:
        yield broker


@pytest.fixture(scope="module")
def web(place: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    """`kiosk web` that asks for tokens."""
    with web_process(place, tmp_path_factory.mktemp("web"), **TOKENS) as process:
        yield process


@pytest.fixture(scope="module")
def ann(web: WebProcess) -> Iterator[httpx.Client]:
    with web.client("token-of-ann") as client:
        yield client


@pytest.fixture(scope="module")
def nobody(web: WebProcess) -> Iterator[httpx.Client]:
    with web.client() as client:
        yield client


def file(name: str = "a.tif") -> dict[str, Any]:
    return {"file": (name, b"x" * 100)}


def routes(client: httpx.Client) -> list[tuple[str, str]]:
    """Every operation of the OpenAPI document, and the pages that are not in it."""
    found = [
        (method.upper(), path)
        for path, methods in client.get("/openapi.json").json()["paths"].items()
        for method in methods
    ]
    more = ("/", "/docs", "/openapi.json", "/page/x.js", "/page/", "/api/health-check/", "/none")
    return [*found, *(("GET", path) for path in more)]


def test_no_token_opens_no_route(ann: httpx.Client, nobody: httpx.Client) -> None:
    every = routes(ann)
    assert {"/jobs/{job_id}", "/metrics", "/inspect", "/job-types", "/api/predict"} <= {
        path for _, path in every
    }
    for method, path in every:
        if path in OPEN_ROUTES:
            continue
        where = re.sub(r"\{[^}]*\}", "1", path)
        for auth in ({}, {"Authorization": "Bearer token-of-anne"}):
            answer = nobody.request(method, where, headers=auth)
            if path in SIGNED:
                assert answer.json()["error"] == "LinkExpired", answer.text
                continue
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="kiosk", Bearer'
            assert answer.json()["error"] == "NotLoggedIn"


def test_basic_login_as_browsers_and_old_clients_do(web: WebProcess, nobody: httpx.Client) -> None:
    assert nobody.get("/jobs", auth=("ann", "token-of-ann")).status_code == 200
    assert nobody.get("/jobs", auth=("ben", "token-of-ann")).status_code == 401
    address = web.url.replace("//", "//ben:token-of-ben@")
    with httpx.Client(base_url=address, trust_env=False) as ben:
        assert ben.post("/jobs/predict", files=file()).json()["user"] == "ben"


def test_tokens_are_in_no_log(web: WebProcess, ann: httpx.Client) -> None:
    ann.get("/jobs")
    assert "token-of" not in web.log.read_text()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.org"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.org", "Sec-Fetch-Site": "same-origin"},
    ],
    ids=str,
)
def test_another_sites_page_changes_nothing(
    web: WebProcess, ann: httpx.Client, headers: dict[str, str]
) -> None:
    job = ann.post("/jobs/predict", files=file()).json()
    before = web.objects()
    calls = [
        ("POST", "/jobs/predict"),
        ("DELETE", job["urls"]["self"]),
        ("POST", "/inspect"),
        ("POST", f"{job['urls']['self']}/retry"),
        ("POST", "/api/upload"),
    ]
    for method, path in calls:
        files = file() if method == "POST" else None
        answer = ann.request(method, path, files=files, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (403, "CrossSite"), path
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert ann.get(job["urls"]["self"]).json()["status"] == "new"
    assert web.objects() == before


def test_no_other_site_may_read(ann: httpx.Client) -> None:
    for method in ("GET", "OPTIONS"):
        headers = {"Origin": "https://evil.org", "Access-Control-Request-Method": "GET"}
        answer = ann.request(method, "/jobs", headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_site_that_is_named_may(place: Broker, tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = {**TOKENS, "CORS_ORIGINS": "https://friend.org", "WEB_RATE": "3"}
    with web_process(place, tmp_path_factory.mktemp("cors"), **settings) as web:
        friend = {"Origin": "https://friend.org"}
        with web.client() as client:
            asks = {**friend, "Access-Control-Request-Method": "POST"}
            asks["Access-Control-Request-Headers"] = "authorization"
            preflight = client.options("/jobs/predict", headers=asks)
            assert preflight.status_code == 200
            assert preflight.headers["Access-Control-Allow-Origin"] == "https://friend.org"
            asks["Origin"] = "https://evil.org"
            assert client.options("/jobs/predict", headers=asks).status_code == 400
        with web.client("token-of-ann") as ann:
            sent = ann.post("/jobs/predict", files=file(), headers=friend)
            assert sent.status_code == 202
            assert sent.headers["Access-Control-Allow-Origin"] == "https://friend.org"
            evil = ann.post("/jobs/predict", files=file(), headers={"Origin": "https://evil.org"})
            assert evil.status_code == 403
            codes = [ann.post("/jobs/predict", files=file()).status_code for _ in range(4)]
            assert codes == [202, 202, 429, 429]
        with web.client("token-of-ben") as ben:
            assert ben.post("/jobs/predict", files=file()).status_code == 202


def test_a_name_that_is_not_ours(place: Broker, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without tokens, a site could give its own name to this machine's address."""
    with web_process(place, tmp_path_factory.mktemp("open")) as web, web.client() as client:
        for host in ("evil.org", f"evil.org:{web.port}", "127.0.0.1.evil.org", ""):
            answer = client.get("/jobs", headers={"Host": host})
            assert (answer.status_code, answer.json()["error"]) == (403, "StrangeHost")
        assert client.get("/jobs", headers={"Host": f"localhost:{web.port}"}).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/cron.d/x",
        "..\\..\\x.tif",
        "/etc/passwd",
        "a/../../b.tif",
        "..",
        ".",
        "\x00x",
        "x" * 3000 + ".tif",
        "a\nb.tif",
        "%2e%2e%2fx.tif",
        "~/.ssh/id",
        "con.tif",
        ".a.part",
        "ü💥.tif",
    ],
    ids=lambda name: repr(name[:30]),
)
def test_names_lead_nowhere_else(web: WebProcess, ann: httpx.Client, name: str) -> None:
    answer = ann.post("/jobs/predict", files=file(name))
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert re.fullmatch(r"uploads/[0-9a-f]{32}/[^/]+", job["input"])
    assert (web.bucket / job["input"]).read_bytes() == b"x" * 100
    assert job["name"].isprintable()
    inside = {path.resolve() for path in web.bucket.parent.rglob("*")}
    assert all(path.is_relative_to(web.bucket.parent.resolve()) for path in inside)


@pytest.mark.parametrize(
    "key",
    [
        "../home/stack.env",
        "..%2f..%2fetc/passwd",
        "%2e%2e/%2e%2e/etc/passwd",
        "/etc/passwd",
        "",
        "uploads",
        "uploads/",
        ".",
        "a%00b",
        "a%5c..%5cb",
        "file:///etc/passwd",
    ],
)
def test_keys_lead_nowhere_else(ann: httpx.Client, nobody: httpx.Client, key: str) -> None:
    for query in ("", "?expires=99999999999&signature=" + "0" * 64, "?expires=x", "?signature=%ff"):
        answer = nobody.get(f"/files/{key}{query}")
        assert answer.status_code in (400, 403, 404, 401), answer.text
        assert "root:" not in answer.text
    answer = ann.post("/jobs/predict", json={"input_file_name": key})
    assert answer.status_code in (400, 404, 422), answer.text


def test_a_signed_link_is_for_one_object_and_saved_not_shown(
    web: WebProcess, place: Broker, ann: httpx.Client, nobody: httpx.Client
) -> None:
    job = ann.post("/jobs/predict", files=file()).json()
    key = f"output/{job['id']}/evil.html"
    (web.bucket / key).parent.mkdir(parents=True)
    (web.bucket / key).write_bytes(b"<script>alert(1)</script>")
    done = {"status": "done", "output_file_name": key}
    place.client.hset(f"{place.prefix}job:{job['id']}", mapping=done)
    url = ann.get(job["urls"]["self"]).json()["output_url"]
    assert url.startswith(f"{web.url}/files/output/")
    answer = nobody.get(url)
    assert answer.content == b"<script>alert(1)</script>"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert nobody.get(url, headers={"Range": "bytes=1-6"}).content == b"script"
    assert nobody.get(url.replace("evil.html", "other.zip")).status_code == 403
    assert nobody.get(url.replace("expires=1", "expires=2")).status_code == 403
    (web.bucket / key).unlink()
    assert nobody.get(url).status_code == 404


def test_every_answer_is_taken_for_what_it_is(ann: httpx.Client, nobody: httpx.Client) -> None:
    for client, path in ((ann, "/jobs"), (ann, "/none"), (nobody, "/jobs"), (nobody, "/healthz")):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "server" not in headers


def test_no_answer_names_a_path_of_the_server(web: WebProcess, ann: httpx.Client) -> None:
    job = ann.post("/jobs/predict", files=file()).json()
    (web.bucket / job["input"]).unlink()
    (web.bucket / job["input"]).mkdir()  # what is no file where one should be
    texts = [
        ann.request(method, re.sub(r"\{[^}]*\}", job["id"], path)).text
        for method, path in routes(ann)
        if "events" not in path
    ]
    texts.append(ann.post("/jobs/predict", json={"input_file_name": job["input"]}).text)
    for text in texts:
        assert str(web.bucket.parent) not in text
        assert "Traceback" not in text
        assert "site-packages" not in text


# What is too much, and what is too slow


def raw(web: WebProcess, data: bytes, *, limit_s: float = 20) -> bytes:
    """Send bytes; return the answer's, or none if the connection is closed without one."""
    with socket.create_connection(("127.0.0.1", web.port), limit_s) as connection:
        try:
            connection.sendall(data)
            return connection.recv(65_536)
        except (ConnectionResetError, BrokenPipeError):
            return b""


HEAD = b"Host: 127.0.0.1\r\nAuthorization: Bearer token-of-ann\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"GET /jobs HTTP/1.1\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /jobs HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(20_000)) + b"\r\n",
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",  # a browser that tries TLS
        b"POST /jobs/predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /jobs/predict HTTP/1.1\r\n"
        + HEAD
        + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
    ids=["header", "path", "headers", "nonsense", "tls", "negative", "smuggled"],
)
def test_requests_that_are_none(web: WebProcess, ann: httpx.Client, data: bytes) -> None:
    answer = raw(web, data)
    assert answer == b"" or re.match(rb"HTTP/1.1 4\d\d ", answer), answer
    assert ann.get("/jobs").status_code == 200


def test_a_field_too_large(ann: httpx.Client) -> None:
    answer = ann.post("/jobs/predict", files=file(), data={"axes": "Y" * 100_000})
    assert answer.status_code == 400
    assert "too long" in answer.json()["message"]
    many = {f"f{number}": "1" for number in range(500)}
    assert ann.post("/jobs/predict", files=file(), data=many).status_code == 400
    deep = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
    assert ann.post("/jobs/predict", content=deep).status_code == 400
    long_name = {"input_file_name": "x" * 500_000}
    assert ann.post("/jobs/predict", json=long_name).status_code == 400


def test_who_says_nothing_is_cut_off(web: WebProcess, ann: httpx.Client) -> None:
    """Ten seconds for the headers, however slowly they trickle; others are served meanwhile."""
    began = time.monotonic()
    silent = [socket.create_connection(("127.0.0.1", web.port), 30) for _ in range(50)]
    slow = silent[0]
    slow.sendall(b"GET /jobs HTTP/1.1\r\nHost: ")
    assert ann.get("/jobs").status_code == 200
    time.sleep(3)  # it is still there
    slow.sendall(b"1")
    for connection in silent:
        connection.settimeout(20)
        assert connection.recv(10) == b""
        connection.close()
    assert 8 < time.monotonic() - began < 20


def test_a_body_that_stops_is_given_up(
    place: Broker, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a minute in the service; here the same code with less patience, over real HTTP."""
    from kiosk_tasks.settings import Settings
    from kiosk_tasks.web import patience
    from kiosk_tasks.web.app import create_app
    from tests.served import served

    bucket = tmp_path_factory.mktemp("slow") / "bucket"
    monkeypatch.setenv("KIOSK_BROKER_URL", place.url)
    monkeypatch.setenv("KIOSK_KEY_PREFIX", place.prefix)
    monkeypatch.setenv("KIOSK_BUCKET", bucket.as_uri())
    monkeypatch.setattr(patience.Patience.__init__, "__kwdefaults__", {"silence_s": 0.5})
    head = (
        b"POST /jobs/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    )
    with served(create_app(Settings.load())) as url:
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            connection.sendall(head + b"x" * 1_500_000)
            answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 408"), answer
    assert [path for path in bucket.rglob("*") if path.is_file()] == []


def test_it_stops_in_order_while_a_file_arrives(
    place: Broker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with web_process(place, tmp_path_factory.mktemp("stop")) as web:
        head = (
            b"POST /jobs/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000000\r\n"
            b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
            b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        )
        connection = socket.create_connection(("127.0.0.1", web.port), 20)
        connection.sendall(head + b"x" * 3_000_000)
        wait_for(web.objects, what="the file is being written")
        began = time.monotonic()
    assert time.monotonic() - began < 15
    connection.close()
    assert web.objects() == []
    assert "Traceback" not in web.log.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--address", "0.0.0.0", "--port", "0"], "KIOSK_API_TOKENS=user:token"),  # noqa: S104
        (["--port", "TAKEN"], "cannot be listened on"),
        (["--address", "192.0.2.1", "--port", "0"], "KIOSK_API_TOKENS"),
    ],
    ids=["open", "taken", "elsewhere"],
)
def test_it_does_not_start_where_it_should_not(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = str(other.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "kiosk_tasks", "web"]
            + [taken if word == "TAKEN" else word for word in arguments],
            env={**os.environ, "KIOSK_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 3
    assert says in done.stderr
    assert "Traceback" not in done.stderr
