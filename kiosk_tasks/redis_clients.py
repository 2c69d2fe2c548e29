"""Every Redis client of ours is made here: timeouts, TLS, sentinels, retries; and errors.

Celery makes its own clients; `celeryconfig.py` gives it the same timeouts and TLS options.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelManagedConnection

from kiosk_tasks.errors import BrokerUnavailable, KioskError
from kiosk_tasks.redaction import without_password

__all__ = [
    "BrokerRefuses",
    "broker_error",
    "mapped_broker_errors",
    "redis_client",
    "sentinel_options",
]

TIMEOUT_S = 30.0
"""Longer than any command of ours blocks; redis-py's own default is 5 s."""
CONNECT_TIMEOUT_S = 5.0
HEALTH_CHECK_S = 25
RETRIES = 3
SENTINEL_PORT = 26379
_NO_WRITES = ("NOREPLICAS", "MISCONF", "MASTERDOWN", "BUSY ")
"""How a server answers that has too few replicas, no room on its disk, no primary, or a long script
to run; redis-py has no class for these."""


class BrokerRefuses(KioskError):
    """The broker answers, but not to us: login, permission or certificate; waiting is no help."""

    http_status = 503


def redis_client(
    url: str,
    *,
    tls: Mapping[str, str] | None = None,
    sentinel: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
    retries: int = RETRIES,
) -> redis.Redis:
    """Return a client that decodes its replies.

    tls, sentinel: as `Settings.way_to(url)` gives them: redis-py's options, and the name of the
        primary with the sentinels' password.
    timeout_s: seconds an answer may take.
    retries: how often a command is sent again after a lost connection.
    Raises BrokerRefuses if a rediss:// URL comes without them: nothing would be checked.
    """
    options: dict[str, Any] = {
        **(tls or {}),
        "decode_responses": True,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(timeout_s, CONNECT_TIMEOUT_S),
        "socket_keepalive": True,
        "health_check_interval": HEALTH_CHECK_S,
        "retry": Retry(ExponentialBackoff(cap=1.0, base=0.05), retries),
    }
    if url.startswith("rediss://") and options.get("ssl_cert_reqs") != "required":
        raise BrokerRefuses(f"{without_password(url)} is used without checking its certificate.")
    if url.startswith("sentinel://"):
        return _primary(url, options, tls or {}, sentinel or {})
    if tls:
        options["connection_class"] = _TlsConnection
    return redis.Redis.from_url(url, **options)


def sentinel_options(*, tls: Mapping[str, str], sentinel: Mapping[str, str]) -> dict[str, Any]:
    """Return Celery's transport options for sentinels, none for a server reached directly.

    A sentinel that does not answer is passed over soon: another one will.
    """
    if not sentinel:
        return {}
    own = {
        "password": sentinel.get("password"),
        "socket_timeout": CONNECT_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),  # redis-py's own: ten times, so a minute for a lost machine
        **({"ssl": True, **tls} if tls else {}),
    }
    return {"master_name": sentinel["master"], "sentinel_kwargs": own}


def _primary(
    url: str, options: Mapping[str, Any], tls: Mapping[str, str], sentinel: Mapping[str, str]
) -> redis.Redis:
    """Return a client of the server that the sentinels name, whichever it is when it connects."""
    parts = [urlsplit(one) for one in url.split(";")]
    login = {"username": parts[0].username, "password": parts[0].password}
    patience_s = options["socket_connect_timeout"]
    own = sentinel_options(tls=tls, sentinel=sentinel)["sentinel_kwargs"]
    quick = {"socket_timeout": patience_s, "socket_connect_timeout": patience_s}
    sentinels = Sentinel(  # type: ignore[no-untyped-call]
        [(part.hostname, part.port or SENTINEL_PORT) for part in parts],
        sentinel_kwargs={**own, **quick},
        db=int(parts[0].path.strip("/") or 0),
        **{name: unquote(value) for name, value in login.items() if value},
        **options,
    )
    kind = _SentinelTlsConnection if tls else SentinelManagedConnection
    primary: redis.Redis = sentinels.master_for(  # type: ignore[no-untyped-call]
        sentinel["master"], connection_class=kind
    )
    return primary


@contextmanager
def mapped_broker_errors() -> Iterator[None]:
    """Turn redis-py's errors into ours."""
    try:
        yield
    except redis.RedisError as exc:
        mapped = broker_error(exc)
        if mapped is None:
            raise
        raise mapped from exc


def broker_error(error: redis.RedisError) -> KioskError | None:
    """Return our error for one of redis-py's, or None for one that is a bug of ours."""
    text = str(error)
    if isinstance(error, MasterNotFoundError):
        return _no_primary(text)
    if isinstance(error, redis.AuthenticationError):
        return BrokerRefuses(
            "the broker does not know this user and password. Check KIOSK_BROKER_URL."
        )
    if isinstance(error, redis.exceptions.NoPermissionError):
        return BrokerRefuses(f"the broker forbids it: {text}. See docs/security.md, users.")
    if isinstance(error, redis.OutOfMemoryError):
        return BrokerUnavailable(
            "the broker's memory is full. Wait until jobs have ended, or give it more (maxmemory)."
        )
    if isinstance(error, _NoHandshake):
        return BrokerUnavailable(
            "the broker does not answer with TLS. Is rediss:// in KIOSK_BROKER_URL right?"
        )
    if text.startswith(_NO_WRITES):
        return BrokerUnavailable(
            f"the broker takes nothing now ({text.split()[0]}). Wait until it does; see its log."
        )
    if not isinstance(error, redis.ConnectionError | redis.TimeoutError | redis.ReadOnlyError):
        return None
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return BrokerRefuses(
            "the broker's certificate cannot be trusted "
            f"({_reason(text)}). Set KIOSK_BROKER_CA to the authority that signed it."
        )
    if "SSL" in text:
        return BrokerRefuses(
            f"the broker does not speak TLS with us ({_reason(text)}). "
            "Check KIOSK_BROKER_URL and KIOSK_BROKER_CERTIFICATE."
        )
    return BrokerUnavailable(
        "the broker does not answer. Start it (kiosk up) or set KIOSK_BROKER_URL."
    )


def _no_primary(text: str) -> KioskError:
    if "Authentication" in text or "NOAUTH" in text:
        return BrokerRefuses("a sentinel does not know this password. Set KIOSK_SENTINEL_PASSWORD.")
    return BrokerUnavailable(
        "the sentinels name no broker that answers: another one is about to take over, or "
        "KIOSK_BROKER_URL or KIOSK_SENTINEL_MASTER is wrong."
    )


class _NoHandshake(redis.RedisError):
    """Not a ConnectionError, so that redis-py does not try again at once: it took seconds."""


class _TlsConnection(redis.SSLConnection):
    """A connection whose TLS handshake has as long as connecting has, not as long as a command.

    A server without TLS takes the first message for the start of a command, and waits for the rest.
    """

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        sock.settimeout(self.socket_connect_timeout)
        try:
            encrypted: ssl.SSLSocket = super()._wrap_socket_with_ssl(sock)  # type: ignore[no-untyped-call]
        except TimeoutError as exc:
            raise _NoHandshake from exc
        encrypted.settimeout(self.socket_timeout)
        return encrypted


class _SentinelTlsConnection(SentinelManagedConnection, _TlsConnection):
    """The same to whichever server the sentinels name."""


def _reason(text: str) -> str:
    """Return OpenSSL's words from redis-py's "Error 1 connecting to …: [SSL: …] … (_ssl.c:1)."."""
    words = text.partition("] ")[2] or text
    return words.partition(" (_ssl")[0].rstrip(".")
