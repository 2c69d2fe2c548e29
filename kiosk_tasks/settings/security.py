"""Who may reach the broker and Flower, and how they are known."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Self
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import Field, FilePath, SecretStr, field_validator, model_validator

from kiosk_tasks.redaction import SecretUrl
from kiosk_tasks.settings.names import names
from kiosk_tasks.settings.places import Places

__all__ = ["Security", "host_of", "is_loopback"]


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a listener at that address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _has_its_parts(url: SplitResult) -> bool:
    """Tell whether a password with special characters has not torn the URL apart."""
    try:
        _ = url.port
    except ValueError:
        return False
    return not ("@" in url.path + url.query + url.fragment or url.fragment)


def host_of(url: str) -> str:
    """Return the host of a server's URL; a socket's is this machine."""
    return urlsplit(url).hostname or "localhost"


class Security(Places):
    """Certificates and logins."""

    broker_ca: FilePath | None = Field(
        None,
        validation_alias=names("BROKER_CA"),
        description="PEM file of the authorities that may sign the certificate of a rediss:// "
        "server; default: the system's.",
    )
    broker_certificate: FilePath | None = Field(
        None,
        validation_alias=names("BROKER_CERTIFICATE"),
        description="PEM file of our own certificate, where the rediss:// server asks for one.",
    )
    broker_key: FilePath | None = Field(
        None,
        validation_alias=names("BROKER_KEY"),
        description="PEM file of the key to that certificate.",
    )
    flower_auth: SecretStr | None = Field(
        None,
        validation_alias=names("FLOWER_AUTH"),
        description="user:password of Flower; default: made at each start, for loopback only.",
    )
    flower_address: str = Field(
        "127.0.0.1",
        validation_alias=names("FLOWER_ADDRESS"),
        description="Address that Flower listens on; beyond loopback it needs KIOSK_FLOWER_AUTH.",
    )

    @field_validator("flower_auth")
    @classmethod
    def _user_and_password(cls, login: SecretStr | None) -> SecretStr | None:
        if login is not None:
            user, _, password = login.get_secret_value().partition(":")
            if not user or not password:
                raise ValueError("must be user:password")
        return login

    @field_validator("broker_url", "ledger_url")
    @classmethod
    def _no_way_around_the_check(cls, url: SecretUrl) -> SecretUrl:
        parts = urlsplit(url)
        if url and parts.scheme not in ("redis", "rediss"):
            raise ValueError("must be redis://… or, with TLS, rediss://…")
        if not _has_its_parts(parts):
            raise ValueError(
                "must be like redis://user:password@host:6379/0, with the characters @ : / # ? % "
                "of the password written as %40 and so on"
            )
        if any(name.startswith("ssl") for name, _ in parse_qsl(parts.query)):
            raise ValueError(
                "must not set ssl options: a rediss:// server's certificate is always checked, "
                "against KIOSK_BROKER_CA where that is set"
            )
        return url

    @model_validator(mode="after")
    def _encrypted_if_told_so(self) -> Self:
        if bool(self.broker_certificate) != bool(self.broker_key):
            raise ValueError("KIOSK_BROKER_CERTIFICATE and KIOSK_BROKER_KEY go together")
        for name, url in (
            ("KIOSK_BROKER_URL", self.broker_url),
            ("KIOSK_LEDGER_URL", self.ledger_url),
        ):
            if self.broker_ca and url.startswith("redis://") and not is_loopback(host_of(url)):
                raise ValueError(
                    f"{name} is redis://, which is not encrypted, though KIOSK_BROKER_CA is set; "
                    "write rediss://"
                )
        return self

    def tls(self, url: str) -> dict[str, str]:
        """Return redis-py's options for TLS to this server; none if its URL is not rediss://.

        The certificate must be valid and name the host. kombu and Celery take the same options.
        """
        if not url.startswith("rediss://"):
            return {}
        files = {
            "ssl_ca_certs": self.broker_ca,
            "ssl_certfile": self.broker_certificate,
            "ssl_keyfile": self.broker_key,
        }
        given = {name: str(path) for name, path in files.items() if path}
        return {"ssl_cert_reqs": "required", **given}
