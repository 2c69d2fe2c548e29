"""Parts of a file over HTTP: ranges, what a client has already, names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from kiosk_tasks.web.media_types import media_type
from kiosk_tasks.web.ranges import Content, send
from tests.served import served

PLACE: dict[str, FastAPI] = {}
DATA = bytes(range(256)) * 10


Client = Callable[..., httpx.Client]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that sends what the test before has put into its state."""
    app = FastAPI()

    @app.get("/")
    def answer(request: Request) -> Response:
        return send(app.state.content, request)

    with served(app) as url:
        PLACE[url] = app
        yield url


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """Return a maker of clients of a file, of which the test says how it differs."""
    with httpx.Client(base_url=url, trust_env=False) as http:

        def of(**changed: Any) -> httpx.Client:
            content = Content(
                **{
                    "name": "n.tif",
                    "size": len(DATA),
                    "media_type": "image/tiff",
                    "tag": "7-a",
                    "read": lambda start, stop: iter([DATA[start:stop]]),
                    **changed,
                }
            )
            PLACE[url].state.content = content
            return http

        yield of


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=2000-", 2000, 2560),
        ("bytes=-10", 2550, 2560),
        ("bytes=-9999", 0, 2560),
        ("bytes=2559-99999", 2559, 2560),
    ],
)
def test_a_range_is_answered_with_its_bytes(
    client: Client, asked: str, start: int, stop: int
) -> None:
    answer = client().get("/", headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == DATA[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/2560"
    assert answer.headers["content-length"] == str(stop - start)


@pytest.mark.parametrize("asked", ["", "bytes=1-2,5-6", "bytes=9-5", "bytes=-", "lines=1-2", "x"])
def test_what_is_no_single_range_is_answered_with_the_whole(client: Client, asked: str) -> None:
    answer = client().get("/", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("asked", ["bytes=2560-", "bytes=9999-10000", "bytes=-0"])
def test_a_range_behind_the_end_is_refused(client: Client, asked: str) -> None:
    answer = client().get("/", headers={"Range": asked})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == "bytes */2560"
    assert "2560 bytes" in answer.json()["message"]


def test_a_client_that_has_the_bytes_gets_none(client: Client) -> None:
    http = client(read=None)  # it must not be read
    for tag in ('"7-a"', 'W/"7-a"', '"x", "7-a"', "*"):
        answer = http.get("/", headers={"If-None-Match": tag})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == '"7-a"'


def test_a_part_of_other_bytes_is_not_mixed_with_what_the_client_has(client: Client) -> None:
    headers = {"Range": "bytes=5-9", "If-Range": '"other"'}
    assert client().get("/", headers=headers).status_code == 200
    assert client().get("/", headers={**headers, "If-Range": '"7-a"'}).status_code == 206


def test_an_empty_file_is_sent(client: Client) -> None:
    answer = client(size=0, read=lambda *_: iter(())).get("/")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("name", ['a"b.tif', "zellkern ä.tif", "a\r\nX: y.tif", "100%;x.tif"])
def test_no_name_breaks_the_header(client: Client, name: str) -> None:
    said = client(name=name).get("/").headers["content-disposition"]
    plain = said.partition('filename="')[2].partition('"')[0]
    assert not set(plain) & set('"\\%;\r\n')
    assert "filename*=UTF-8''" in said
    assert "\n" not in said


def test_nothing_that_is_sent_runs_in_a_browser(client: Client) -> None:
    headers = client().get("/").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]
    assert headers["content-disposition"].startswith("attachment")
    assert client(inline=True).get("/").headers["content-disposition"].startswith("inline")
    for name in ("a.html", "a.svg", "a.js", "a.xml", "a.xhtml", "a", "a.trk", "a.PDF"):
        assert media_type(name) == "application/octet-stream"
    assert media_type("n_cells.CSV") == "text/csv; charset=utf-8"
    assert media_type("n_labels.ome.tif") == "image/tiff"
