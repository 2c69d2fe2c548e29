"""Names of files, and forms in whatever pieces they arrive."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from fastapi import Request
from hypothesis import given, settings
from hypothesis import strategies as st

from kiosk_tasks.errors import FileTooLarge, KioskError, UnreadableImage
from kiosk_tasks.storage import check_key
from kiosk_tasks.storage.memory import MemoryStorage
from kiosk_tasks.web.errors import InvalidRequest
from kiosk_tasks.web.uploads import Form, Uploads, safe_name, shown_name

BOUNDARY = "x-boundary"


def part(name: str, content: bytes, *, file_name: str | None = None) -> bytes:
    where = f'name="{name}"' + (f'; filename="{file_name}"' if file_name is not None else "")
    head = f"--{BOUNDARY}\r\nContent-Disposition: form-data; {where}\r\n\r\n"
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def receive(
    body: bytes, *, cuts: list[int] | None = None, max_bytes: int = 10**9, kind: str | None = None
) -> tuple[Form | KioskError, MemoryStorage]:
    """Send a form in pieces; return what came of it, and the bucket."""
    storage = MemoryStorage()
    ends = sorted({*(cut % (len(body) + 1) for cut in cuts or []), len(body)})
    pieces = [body[a:b] for a, b in zip([0, *ends], ends, strict=False)]

    async def request() -> Any:
        left = iter(pieces)

        async def next_message() -> dict[str, Any]:
            piece = next(left, None)
            return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

        header = kind or f"multipart/form-data; boundary={BOUNDARY}"
        scope = {"type": "http", "headers": [(b"content-type", header.encode())]}
        uploads = Uploads(storage, max_bytes=max_bytes)
        try:
            return await uploads.receive(Request(scope, next_message), folder="uploads/1")
        except KioskError as exc:
            return exc

    return anyio.run(request), storage


@settings(max_examples=60, deadline=None)
@given(content=st.binary(min_size=1, max_size=300), cuts=st.lists(st.integers(0, 2000)))
def test_a_form_is_the_same_in_whatever_pieces(content: bytes, cuts: list[int]) -> None:
    before, after = part("mpp", b"0.5"), part("axes", b"YX")
    body = before + part("file", content, file_name="a b.tif") + after + END
    form, storage = receive(body, cuts=cuts)
    fields = {"mpp": "0.5", "axes": "YX"}
    assert form == Form(fields, "uploads/1/a_b.tif", "a b.tif", size=len(content))
    assert storage.objects == {"uploads/1/a_b.tif": content}


def test_a_file_of_many_megabytes() -> None:
    content = bytes(range(256)) * (5 * 2**12)
    body = part("file", content, file_name="x.tif") + END
    form, storage = receive(body, cuts=list(range(0, len(body), 65_536)))
    assert isinstance(form, Form)
    assert storage.objects["uploads/1/x.tif"] == content


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 10_000))
def test_a_form_that_ends_anywhere_leaves_nothing(cut: int) -> None:
    body = part("file", b"x" * 300, file_name="x.tif") + part("mpp", b"1") + END
    error, storage = receive(body[: cut % (len(body) - 4)])
    assert isinstance(error, InvalidRequest | UnreadableImage)
    assert storage.objects == {}


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        (part("file", b"", file_name="x.tif"), UnreadableImage, "x.tif is empty"),
        (part("file", b"12345678", file_name="x.tif"), FileTooLarge, "more than 7 bytes"),
        (part("image", b"1", file_name="x.tif"), InvalidRequest, "part 'file'"),
        (2 * part("file", b"1", file_name="x.tif"), InvalidRequest, "one file"),
        (2 * part("mpp", b"1"), InvalidRequest, "'mpp' once too often"),
        (part("mpp", b"1" * 70_000), InvalidRequest, "'mpp' is too long"),
        (part("mpp", b"\xff"), InvalidRequest, "not UTF-8"),
        (b"".join(part(f"f{n}", b"") for n in range(101)), InvalidRequest, "too often"),
        (f"--{BOUNDARY}\r\nX: y\r\n\r\n1\r\n".encode(), InvalidRequest, "not complete"),
        (f"--{BOUNDARY}\r\n{'X: y' * 9000}\r\n\r\n1\r\n".encode(), InvalidRequest, "not complete"),
        (b"nonsense\r\n", InvalidRequest, "not complete"),
    ],
    ids=["empty", "large", "name", "two", "twice", "long", "bytes", "many", "none", "header", "no"],
)
def test_forms_that_are_refused(body: bytes, error: type[KioskError], says: str) -> None:
    caught, storage = receive(body + END, max_bytes=7)
    assert isinstance(caught, error), caught
    assert says in str(caught)
    assert storage.objects == {}


def test_what_follows_a_file_may_make_it_go_again() -> None:
    body = part("file", b"1", file_name="x.tif") + part("mpp", b"\xff") + END
    caught, storage = receive(body)
    assert isinstance(caught, InvalidRequest)
    assert storage.objects == {}


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=", "x"])
def test_a_form_without_a_boundary(kind: str) -> None:
    caught, _ = receive(END, kind=kind)
    assert isinstance(caught, InvalidRequest)


def test_a_bucket_that_fails_is_the_buckets_error() -> None:
    class Full(MemoryStorage):
        def write(self, key: str, chunks: Any) -> None:  # noqa: ARG002
            raise FileTooLarge(f"no space for {key}")

    async def request() -> None:
        body = part("file", b"1", file_name="x.tif") + END

        async def message() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        header = f"multipart/form-data; boundary={BOUNDARY}".encode()
        scope = {"type": "http", "headers": [(b"content-type", header)]}
        with pytest.raises(FileTooLarge, match="no space"):
            await Uploads(Full(), max_bytes=9).receive(Request(scope, message), folder="u")

    anyio.run(request)


@pytest.mark.parametrize(
    ("name", "shown", "safe"),
    [
        ("nuclei.tif", "nuclei.tif", "nuclei.tif"),
        ("my image.ome.tif", "my image.ome.tif", "my_image.ome.tif"),
        ("../../etc/passwd", "passwd", "passwd"),
        ("C:\\data\\x.tif", "x.tif", "x.tif"),
        ("a/..", "..", "file"),
        (".hidden", ".hidden", "hidden"),
        ("", "file", "file"),
        ("a\r\nSet-Cookie: b.tif", "a  Set-Cookie: b.tif", "a_Set-Cookie_b.tif"),
        ("Zellen größe µm.tif", "Zellen größe µm.tif", "Zellen_größe_µm.tif"),
        ("<script>.png", "<script>.png", "_script_.png"),
        ("a.zip", "a.zip", "a.zip"),
        ("x" * 300 + ".tif", "x" * 251 + ".tif", "x" * 116 + ".tif"),
    ],
)
def test_names(name: str, shown: str, safe: str) -> None:
    assert shown_name(name) == shown
    assert safe_name(name) == safe


@given(st.text())
def test_any_name_makes_a_key(name: str) -> None:
    safe = safe_name(name)
    assert check_key(f"uploads/1/{safe}")
    assert "/" not in safe
    assert safe.isprintable()
