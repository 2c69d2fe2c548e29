"""Both clients over real HTTP: the same plans, carried out in two ways."""

from __future__ import annotations

import asyncio
import inspect
import io
import json
import pickle
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kiosk_tasks.client import (
    AsyncClient,
    Client,
    JobFailed,
    KioskClientError,
    NotFound,
    ServerUnavailable,
    Unauthorized,
)
from kiosk_tasks.client.address import find_address
from kiosk_tasks.client.errors import CannotSend
from kiosk_tasks.client.reading import read_table
from tests.unit.client.network import event, job


class _Handler(BaseHTTPRequestHandler):
    """Answers as the server's `script` says; keeps what was asked."""

    server: Any

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.server.asked.append(
            (self.command, self.path, dict(self.headers), self.rfile.read(length))
        )
        status, body = self.server.script(self.command, self.path)
        if status is None:  # the connection breaks
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815  # the names that http.server calls

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Site:
    """A small HTTP server."""

    def __init__(self) -> None:
        self.http: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.http.asked = []
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def serve(self, script: Callable[[str, str], tuple[int | None, bytes]]) -> None:
        self.http.script = script

    @property
    def asked(self) -> list[tuple[str, str, dict[str, str], bytes]]:
        found: list[tuple[str, str, dict[str, str], bytes]] = self.http.asked
        return found


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield site
    site.http.shutdown()
    thread.join()
    site.http.server_close()


@pytest.fixture(params=[Client, AsyncClient])
def ask(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make a client and do something with it; what must be awaited is awaited."""
    runner = asyncio.Runner()
    clients: list[Any] = []

    def do(action: Callable[[Any], Any], *arguments: Any, **options: Any) -> Any:
        client = request.param(*arguments, **options)
        clients.append(client)

        async def awaited() -> Any:
            value = action(client)
            while inspect.isawaitable(value):
                value = await value
            return value

        return action(client) if request.param is Client else runner.run(awaited())

    yield do
    for client in clients:
        closed = client.close()
        if inspect.isawaitable(closed):
            runner.run(closed)  # type: ignore[arg-type]
    runner.close()


def told(**more: Any) -> bytes:
    return json.dumps(job(**more)).encode()


def test_a_file_is_sent_again_when_the_connection_breaks(
    site: Site, ask: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "x.tif").write_bytes(b"II*pixels")
    answers = iter([(None, b""), (503, b"{}"), (202, told(status="new"))])
    site.serve(lambda *_: next(answers))
    found = ask(lambda c: c.segment(tmp_path / "x.tif", mpp=0.5), site.url, "tok")
    assert (found.id, found.status, repr(found)) == (
        "j1",
        "new",
        f"{type(found).__name__}(j1, predict of 'x.tif': new, 0 %)",
    )
    assert len(site.asked) == 3
    assert len({headers["Idempotency-Key"] for _, _, headers, _ in site.asked}) == 1
    for _, path, headers, body in site.asked:
        assert path == "/jobs/predict"
        assert headers["Authorization"] == "Bearer tok"
        assert b"II*pixels" in body
        assert b'filename="x.tif"' in body
        assert b'name="mpp"' in body


def with_a_table(_method: str, path: str) -> tuple[int, bytes]:
    """Answer as a server does whose jobs are done and have left a table."""
    if path.endswith("/files"):
        return 200, json.dumps({"files": [{"name": "x_cells.csv", "bytes": 1}]}).encode()
    if path.endswith("/result"):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("x_cells.csv", "label\n1\n")
        return 200, archive.getvalue()
    return (200, b"label\n1\n") if path.endswith(".csv") else (200, told(status="done"))


class Watched:
    """An array that notes which thread takes its pixels."""

    def __init__(self, threads: set[int]) -> None:
        self.threads = threads

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        self.threads.add(threading.get_ident())
        return np.ones((4, 4), np.uint8)


def test_an_event_loop_reads_writes_and_packs_nothing_itself(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()

    class File(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            threads.add(threading.get_ident())
            return super().read(size)

        def write(self, data: Any) -> int:
            threads.add(threading.get_ident())
            return super().write(data)

    def noting(text: bytes) -> Any:
        threads.add(threading.get_ident())
        return read_table(text)

    (tmp_path / "x.tif").write_bytes(b"II*pixels")
    site.serve(with_a_table)
    monkeypatch.setattr("kiosk_tasks.client.contents.read_table", noting)

    async def all_of_it() -> list[Any]:
        async with AsyncClient(site.url) as client:
            with monkeypatch.context() as disk:
                disk.setattr(Path, "open", lambda path, mode: File(path, mode))
                sent = await client.segment(tmp_path / "x.tif")
                result = await sent.result()
                await result.save(tmp_path)
            await client.segment(Watched(threads))
            found = [await result.cells()]
            return found + [one async for one in client.map([Watched(threads)], out=tmp_path)]

    cells, mapped = asyncio.run(all_of_it())
    assert cells == [{"label": 1}]
    assert mapped.files == (tmp_path / "x_cells.csv",)
    assert b"II*pixels" in site.asked[0][3]
    assert threads
    assert threading.get_ident() not in threads


def test_events_are_read_and_a_failure_is_raised_with_its_reason(
    site: Site, ask: Callable[..., Any]
) -> None:
    lines = [*event(job("predicting")), *event(job("failed", reason="too dark."))]
    stream = "\n".join(lines).encode() + b"\n"
    site.serve(lambda _m, path: (200, stream if path.endswith("/events") else told(status="new")))

    def wait(client: Any) -> Any:
        found = client.job("j1")
        return found.wait() if isinstance(client, Client) else _wait(found)

    async def _wait(found: Any) -> Any:
        return await (await found).wait()

    ended = ask(wait, site.url)
    assert (ended.status, ended.reason, ended.ended, ended.done) == (
        "failed",
        "too dark.",
        True,
        False,
    )
    if inspect.iscoroutinefunction(ended.result):
        with pytest.raises(JobFailed, match="too dark"):
            asyncio.run(ended.result())
    else:
        with pytest.raises(JobFailed, match="too dark"):
            ended.result()


def test_errors_name_no_secret(site: Site, ask: Callable[..., Any]) -> None:
    site.serve(lambda *_: (401, b'{"message": "no.", "error": "NotLoggedIn"}'))
    address = site.url.replace("//", "//alice:s3cret@")
    with pytest.raises(Unauthorized) as caught:
        ask(lambda c: c.jobs(), address)
    assert "s3cret" not in str(caught.value)
    assert site.url in str(caught.value)
    assert site.asked[0][2]["Authorization"].startswith("Basic ")
    with pytest.raises(ServerUnavailable) as gone:
        ask(lambda c: c.models(), "http://u:s3cret@127.0.0.1:9", retries=0)
    assert "s3cret" not in str(gone.value)
    assert "no Kiosk answers at http://127.0.0.1:9" in str(gone.value)


def test_a_prefix_of_a_proxy_is_kept(site: Site, ask: Callable[..., Any]) -> None:
    site.serve(lambda *_: (404, b'{"message": "no job."}'))
    with pytest.raises(NotFound):
        ask(lambda c: c.job("j1"), f"{site.url}/kiosk/")
    assert site.asked[0][1] == "/kiosk/jobs/j1"


def test_where_the_server_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KIOSK_HOME", str(tmp_path))
    with pytest.raises(ServerUnavailable, match="kiosk up"):
        find_address()
    (tmp_path / "stack.env").write_text("KIOSK_BROKER=x\nKIOSK_URL=http://127.0.0.1:8123\n")
    assert find_address().url == "http://127.0.0.1:8123"
    monkeypatch.setenv("KIOSK_URL", "kiosk.lab:8000/")
    monkeypatch.setenv("KIOSK_TOKEN", "tok")
    address = find_address(user="bob")
    assert (address.url, address.token, address.user) == ("http://kiosk.lab:8000", "tok", "bob")
    assert "tok" not in repr(address)
    address = find_address("http://bob:his@kiosk.lab")
    assert (address.token, address.user) == ("his", "bob")
    with pytest.raises(CannotSend, match="must look like"):
        find_address("ftp://x")


def test_both_clients_can_the_same() -> None:
    for one, other in ((Client, AsyncClient),):
        public = {n for n in vars(one) if not n.startswith("_")}
        assert public == {n for n in vars(other) if not n.startswith("_")}
        for name in public - {"close"}:
            ours, theirs = (inspect.signature(getattr(kind, name)) for kind in (one, other))
            assert ours.parameters.keys() == theirs.parameters.keys(), name


HEAVY = (
    *("celery", "kombu", "redis", "boto3", "google", "grpc", "fastapi", "starlette", "skimage"),
    *("scipy", "numpy", "tifffile", "pydantic", "pandas", "IPython", "napari"),
)


def test_the_import_is_light() -> None:
    program = (
        "import sys, time, json; before = time.process_time(); import kiosk_tasks.client; "
        "print(json.dumps([time.process_time() - before, sorted(sys.modules)]))"
    )
    runs = [
        json.loads(subprocess.check_output([sys.executable, "-c", program], text=True))
        for _ in range(3)
    ]
    loaded = {name.partition(".")[0] for name in runs[0][1]}
    assert not loaded & set(HEAVY)
    assert not [name for name in runs[0][1] if name.startswith("kiosk_tasks.settings")]
    assert min(seconds for seconds, _ in runs) < 0.5


def test_every_error_of_the_client_is_told_by_its_module() -> None:
    from kiosk_tasks.client import errors

    drawn = str(errors.__doc__)
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert issubclass(kind, KioskClientError)
        assert name in drawn
        assert kind.__doc__
        again = pickle.loads(pickle.dumps(kind("a sentence.")))  # noqa: S301
        assert (type(again), str(again)) == (kind, "a sentence.")
