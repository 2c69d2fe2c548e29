"""Links into the bucket, by way of the web service: they need no token, until they expire."""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import quote, urlencode

__all__ = ["Signer"]


class Signer:
    """Signs keys of the bucket, and checks what it has signed."""

    def __init__(self, secret: str, *, seconds: int) -> None:
        """secret: who knows it can sign. seconds: how long a link can be used."""
        self._secret = secret.encode()
        self._seconds = seconds

    def path(self, key: str) -> str:
        """Return the path of a link to an object, with its query."""
        expires = int(time.time()) + self._seconds
        query = urlencode({"expires": expires, "signature": self._signature(key, expires)})
        return f"/files/{quote(key)}?{query}"

    def plain_path(self, key: str) -> str:
        """Return the same without a query: it ends in the object's name, and is short.

        The old Python client names its copy after all that follows the last slash. A link with a
        query, above all one that a cloud bucket signs, is too long a name for a file.
        """
        expires = int(time.time()) + self._seconds
        return f"/api/files/{expires}/{self._signature(key, expires)}/{quote(key)}"

    def allows(self, key: str, expires: int, signature: str) -> bool:
        """Tell whether a link was signed here and has not expired."""
        right = hmac.compare_digest(
            self._signature(key, expires).encode(), signature.encode("utf-8", "surrogatepass")
        )
        return right and time.time() < expires

    def _signature(self, key: str, expires: int) -> str:
        text = f"kiosk-file\n{expires}\n{key}".encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()
