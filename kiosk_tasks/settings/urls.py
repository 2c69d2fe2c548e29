"""Addresses of Redis and Valkey servers: one server, or the sentinels that know which it is."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qsl, urlsplit

__all__ = [
    "check_url",
    "database_of",
    "host_of",
    "is_loopback",
    "same_login",
    "through_sentinels",
    "urls_of",
]

SENTINEL = "sentinel"
_FORM = (
    "must be like redis://user:password@host:6379/0, with the characters @ : / # ? % ; "
    "of the password written as %40 and so on"
)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a listener at that address."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def host_of(url: str) -> str:
    """Return the host of a server's URL, a socket's is this machine; of several, one elsewhere."""
    hosts = [part.hostname or "localhost" for part in map(urlsplit, urls_of(url))]
    return next((host for host in hosts if not is_loopback(host)), hosts[0])


def through_sentinels(url: str) -> bool:
    """Tell whether the URL names sentinels instead of a server."""
    return url.startswith(f"{SENTINEL}://")


def urls_of(url: str) -> list[str]:
    """Return the URLs of the sentinels that one setting names, or the one that it is."""
    return url.split(";") if through_sentinels(url) else [url]


def database_of(url: str) -> int:
    """Return the number of the server's database; of several sentinels, what the first says."""
    return int(urlsplit(urls_of(url)[0]).path.strip("/") or 0)


def same_login(url: str) -> str:
    """Return sentinels' URLs, each with the login and the database of the first.

    They are those of the server behind, and Celery takes another of the URLs when one fails.
    """
    first, *others = map(urlsplit, urls_of(url))
    login = _login(first)
    parts = [
        part._replace(
            netloc=f"{login}@{_place(part)}" if login else _place(part),
            path=part.path if part.path.strip("/") else first.path,
        )
        for part in (first, *others)
    ]
    return ";".join(part.geturl() for part in parts)


def check_url(url: str) -> None:
    """Raise ValueError unless the URL has the form that it needs, with no way around TLS."""
    parts = [urlsplit(one) for one in urls_of(url)]
    if parts[0].scheme not in ("redis", "rediss", SENTINEL):
        raise ValueError(
            "must be redis://…, with TLS rediss://…, or sentinel://host:26379/0;sentinel://…"
        )
    if not all(map(_has_its_parts, parts)):
        raise ValueError(_FORM)
    if any(name.startswith("ssl") for part in parts for name, _ in parse_qsl(part.query)):
        raise ValueError(
            "must not set ssl options: the certificate of a server that is reached with TLS is "
            "always checked, against KIOSK_BROKER_CA where that is set"
        )
    if parts[0].scheme != SENTINEL:
        return
    if any(part.scheme != SENTINEL or not part.hostname for part in parts):
        raise ValueError("must name sentinels only: sentinel://host:26379/0;sentinel://host2:26379")
    for part in parts[1:]:
        if _login(part) not in ("", _login(parts[0])) or part.path not in ("", "/", parts[0].path):
            raise ValueError("must give all sentinels one login and database, or the first only")


def _login(part: SplitResult) -> str:
    return part.netloc.rpartition("@")[0]


def _place(part: SplitResult) -> str:
    return part.netloc.rpartition("@")[2]


def _has_its_parts(url: SplitResult) -> bool:
    """Tell whether a password with special characters has not torn the URL apart."""
    try:
        _ = url.port
    except ValueError:
        return False
    return not ("@" in url.path + url.query + url.fragment or url.fragment)
