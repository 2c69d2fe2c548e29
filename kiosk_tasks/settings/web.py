"""Where the web service listens, who may use it, and how much they may send."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator

from kiosk_tasks.settings.names import names

__all__ = ["Web"]


class Web(BaseModel):
    """The web service."""

    web_address: str = Field(
        "127.0.0.1",
        validation_alias=names("WEB_ADDRESS"),
        description="Address that the web service listens on; beyond loopback it needs "
        "KIOSK_API_TOKENS.",
    )
    web_port: int = Field(
        8000,
        ge=0,
        le=65535,
        validation_alias=names("WEB_PORT"),
        description="Its port; 0 takes a free one.",
    )
    api_tokens: SecretStr = Field(
        SecretStr(""),
        validation_alias=names("API_TOKENS"),
        description="Who may use the web service: user:token,user:token; empty: everyone who "
        "reaches it.",
    )
    web_open: bool = Field(
        False,
        validation_alias=names("WEB_OPEN"),
        description="Let everyone on the network use the web service, without tokens.",
    )
    web_rate: int = Field(
        1200,
        ge=0,
        validation_alias=names("WEB_RATE"),
        description=(
            "Requests that change something, per minute and user, and as many looks into files; "
            "0: no limit."
        ),
    )
    web_open_jobs: int = Field(
        10_000,
        ge=0,
        validation_alias=names("WEB_OPEN_JOBS"),
        description="Jobs of one user that have not ended; 0: as many as they like.",
    )
    cors_origins: str = Field(
        "",
        validation_alias=names("CORS_ORIGINS"),
        description="Other sites whose pages may use the web service, as https://a.org,https://b.org.",
    )
    public_url: str = Field(
        "",
        validation_alias=names("PUBLIC_URL"),
        description="Where browsers find the web service, as https://kiosk.example.org; default: "
        "as each request names it.",
    )
    link_secret: SecretStr = Field(
        SecretStr(""),
        validation_alias=names("LINK_SECRET"),
        description="Signs links to results by way of the web service; the same there and for "
        "workers; default: `kiosk up` makes one and keeps it, `kiosk web` makes one at each start.",
    )
    link_seconds: int = Field(
        86400,
        gt=0,
        le=7 * 86400,
        validation_alias=names("LINK_SECONDS"),
        description="How long links to results can be used, seconds.",
    )

    @field_validator("api_tokens")
    @classmethod
    def _users_and_tokens(cls, tokens: SecretStr) -> SecretStr:
        pairs = [one.partition(":") for one in _parts(tokens.get_secret_value())]
        if not all(user and token for user, _, token in pairs):
            raise ValueError("must be user:token,user:token")
        if len({user for user, _, _ in pairs}) < len(pairs):
            raise ValueError("names a user twice")
        if len({token for _, _, token in pairs}) < len(pairs):
            raise ValueError("gives two users the same token")
        return tokens

    @field_validator("public_url")
    @classmethod
    def _a_site(cls, url: str) -> str:
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query):
            raise ValueError("must be like https://kiosk.example.org")
        return url.rstrip("/")

    @property
    def users(self) -> dict[str, str]:
        """Users by their tokens."""
        pairs = (one.partition(":") for one in _parts(self.api_tokens.get_secret_value()))
        return {token: user for user, _, token in pairs}

    @property
    def origins(self) -> list[str]:
        """Sites whose pages may use the web service."""
        return [one.rstrip("/") for one in _parts(self.cors_origins)]


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
