"""Who may reach the broker and Flower, and how they are known."""

from __future__ import annotations

from typing import Self, TypedDict

from pydantic import Field, FilePath, SecretStr, field_validator, model_validator

from kiosk_tasks.redaction import SecretUrl
from kiosk_tasks.settings.names import names
from kiosk_tasks.settings.places import Places
from kiosk_tasks.settings.urls import (
    check_url,
    host_of,
    is_loopback,
    same_login,
    through_sentinels,
)

__all__ = ["Security", "WayTo"]


class WayTo(TypedDict):
    """How a server is reached, beside its URL; as `redis_client` takes it.

    tls: redis-py's options, none without TLS.
    sentinel: name of the primary, and the sentinels' password where they have one; none for a
        server that is reached directly.
    """

    tls: dict[str, str]
    sentinel: dict[str, str]


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
    sentinel_master: str = Field(
        "mymaster",
        min_length=1,
        validation_alias=names("SENTINEL_MASTER"),
        description="Name under which the sentinels of a sentinel:// URL know the server.",
    )
    sentinel_password: SecretStr | None = Field(
        None,
        validation_alias=names("SENTINEL_PASSWORD"),
        description="Password of the sentinels themselves; that of the server is in the URL.",
    )
    sentinel_tls: bool = Field(
        False,
        validation_alias=names("SENTINEL_TLS"),
        description="Reach sentinels and the server that they name with TLS.",
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
        if not url:
            return url
        check_url(url)
        return SecretUrl(same_login(url)) if through_sentinels(url) else url

    @model_validator(mode="after")
    def _encrypted_if_told_so(self) -> Self:
        if bool(self.broker_certificate) != bool(self.broker_key):
            raise ValueError("KIOSK_BROKER_CERTIFICATE and KIOSK_BROKER_KEY go together")
        for name, url in (
            ("KIOSK_BROKER_URL", self.broker_url),
            ("KIOSK_LEDGER_URL", self.ledger_url),
        ):
            if self.broker_ca and url and not self.tls(url) and not is_loopback(host_of(url)):
                scheme = url.partition(":")[0]
                cure = "set KIOSK_SENTINEL_TLS" if through_sentinels(url) else "write rediss://"
                raise ValueError(
                    f"{name} is {scheme}://, which is not encrypted, though KIOSK_BROKER_CA is "
                    f"set; {cure}"
                )
        return self

    def tls(self, url: str) -> dict[str, str]:
        """Return redis-py's options for TLS to this server; none if it is reached without.

        The certificate must be valid and name the host. kombu and Celery take the same options.
        """
        if not (url.startswith("rediss://") or (through_sentinels(url) and self.sentinel_tls)):
            return {}
        files = {
            "ssl_ca_certs": self.broker_ca,
            "ssl_certfile": self.broker_certificate,
            "ssl_keyfile": self.broker_key,
        }
        given = {name: str(path) for name, path in files.items() if path}
        return {"ssl_cert_reqs": "required", **given}

    def way_to(self, url: str) -> WayTo:
        """Return what `redis_client` must know beside this URL."""
        if not through_sentinels(url):
            return {"tls": self.tls(url), "sentinel": {}}
        password = self.sentinel_password
        known = {"password": password.get_secret_value()} if password else {}
        return {"tls": self.tls(url), "sentinel": {"master": self.sentinel_master, **known}}
