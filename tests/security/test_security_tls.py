"""A job over TLS; a certificate that nobody vouches for ends it with a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from kiosk_tasks.redis_clients import BrokerRefuses, mapped_broker_errors, redis_client
from tests.conftest import wait_for
from tests.security_site import (
    certificates,
    client,
    connect,
    kiosk,
    python,
    server,
    site_env,
    tls_proxy,
    worker,
)

PASSWORD = "tls-password-1234"  # noqa: S105


@dataclass(frozen=True)
class Site:
    """A broker behind TLS, and the authority that signed its certificate."""

    folder: Path
    plain: int
    encrypted: int
    authority: Path
    stranger: Path

    def env(self, **more: str) -> dict[str, str]:
        url = f"rediss://:{PASSWORD}@127.0.0.1:{self.encrypted}/0"
        return site_env(
            self.folder,
            url,
            **{
                "KIOSK_BROKER_CA": str(self.authority),
                "KIOSK_MODEL_WAIT": "0",
                **more,
            },
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("tls")
    authority, certificate, key = certificates(folder, "broker")
    stranger, _, _ = certificates(folder, "stranger")
    with ExitStack() as stack:
        plain = stack.enter_context(server(folder, f"requirepass {PASSWORD}"))
        proxy = tls_proxy(folder, plain, certificate=certificate, key=key)
        yield Site(folder, plain, stack.enter_context(proxy), authority, stranger)


def test_job_over_tls(site: Site) -> None:
    env = site.env(KIOSK_LEDGER_URL=f"rediss://:{PASSWORD}@127.0.0.1:{site.encrypted}/1")
    with worker(site.folder, env):
        assert client(env, folder=site.folder)["status"] == "done"
        script = "from kiosk_tasks import spy; spy.delay(input_file_name='x').get(timeout=30)"
        result = python(env, "-c", script, folder=site.folder)
    assert result.returncode == 0, result.stderr
    assert "insecure" not in (site.folder / "worker.log").read_text()
    with connect(site.plain, password=PASSWORD, db=1) as plain:
        assert plain.exists("kiosk:jobs")


@pytest.mark.parametrize("command", [["jobs"], ["doctor"]])
def test_unknown_authority_is_a_sentence(site: Site, command: list[str]) -> None:
    env = site.env(KIOSK_BROKER_CA=str(site.stranger))
    done = kiosk(env, *command, folder=site.folder)
    output = done.stdout + done.stderr
    assert done.returncode in (1, 3)
    assert "certificate cannot be trusted" in output
    assert "KIOSK_BROKER_CA" in output
    assert "Traceback" not in output
    assert PASSWORD not in output


def test_without_an_authority_the_systems_are_asked(site: Site) -> None:
    env = {k: v for k, v in site.env().items() if k != "KIOSK_BROKER_CA"}
    done = kiosk(env, "jobs", folder=site.folder)
    assert done.returncode == 3
    assert "certificate cannot be trusted" in done.stderr


def test_worker_refuses_an_unknown_authority(site: Site) -> None:
    log = site.folder / "worker.log"
    log.unlink(missing_ok=True)
    env = site.env(KIOSK_BROKER_CA=str(site.stranger))
    (site.folder / "worker.ready").unlink(missing_ok=True)
    with worker(site.folder, env, ready=False) as process:
        wait_for(
            lambda: process.poll() is not None or log.read_text().count("CERTIFICATE_VERIFY") > 1,
            limit_s=60,
            what="the worker says why it does not start",
        )
    assert not (site.folder / "worker.ready").exists()
    assert PASSWORD not in log.read_text()
    assert "Traceback" not in log.read_text()


def test_plain_url_to_an_encrypted_port_never_works(site: Site) -> None:
    url = f"redis://:{PASSWORD}@127.0.0.1:{site.encrypted}/0"
    done = kiosk(site_env(site.folder, url), "jobs", folder=site.folder)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_encrypted_url_to_a_plain_port_does_not_fall_back(site: Site) -> None:
    env = site.env(KIOSK_BROKER_URL=f"rediss://:{PASSWORD}@127.0.0.1:{site.plain}/0")
    done = kiosk(env, "jobs", folder=site.folder)
    assert done.returncode == 3
    assert "does not answer with TLS" in done.stderr
    assert "Traceback" not in done.stderr


def test_certificate_must_name_the_host(site: Site) -> None:
    tls = {"ssl_cert_reqs": "required", "ssl_ca_certs": str(site.authority)}
    url = f"rediss://:{PASSWORD}@localhost:{site.encrypted}/0"
    with (
        redis_client(url, tls=tls, retries=0) as connection,
        pytest.raises(BrokerRefuses, match="localhost"),
        mapped_broker_errors(),
    ):
        connection.ping()


def test_client_certificate(site: Site, tmp_path: Path) -> None:
    authority, certificate, key = certificates(tmp_path, "client")
    server_side = {"certificate": site.folder / "broker.pem", "key": site.folder / "broker.key"}
    with tls_proxy(tmp_path, site.plain, client_ca=authority, **server_side) as port:
        url = f"rediss://:{PASSWORD}@127.0.0.1:{port}/0"
        without = kiosk(site.env(KIOSK_BROKER_URL=url), "jobs", folder=site.folder)
        assert without.returncode == 3, without.stdout
        assert "Traceback" not in without.stderr
        mine = {"KIOSK_BROKER_CERTIFICATE": str(certificate), "KIOSK_BROKER_KEY": str(key)}
        env = site.env(KIOSK_BROKER_URL=url, **mine)
        assert kiosk(env, "jobs", folder=site.folder).returncode == 0
