"""Files on their way from a client to the bucket: never whole in memory, and never half there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import anyio
from anyio import CapacityLimiter, from_thread, to_thread
from fastapi import Request

from kiosk_tasks.errors import FileTooLarge, UnreadableImage
from kiosk_tasks.imaging.limits import spaced
from kiosk_tasks.ports import Storage
from kiosk_tasks.web.errors import InvalidRequest, TooManyRequests
from kiosk_tasks.web.multipart import FormReader

__all__ = ["Form", "Uploads", "discard_body", "safe_name", "shown_name"]

_LONGEST = 120
"""Bytes of a file's name in a key; file systems and keys take 200 between slashes."""
_LONGEST_SHOWN = 255
_PIECE = 2**20
_MOST_FIELDS = 100
_LONGEST_FIELD = 2**16
_MOST_AT_ONCE = 64
_MOST_SMALL_AT_ONCE = 8
_MOST_WAITING = 1000


@dataclass(frozen=True)
class Form:
    """What came: fields, and the file, which lies in the bucket already.

    key, name: of the file; empty if there was none.
    """

    fields: dict[str, str]
    key: str = ""
    name: str = ""
    size: int = 0


class Uploads:
    """Takes files; each over a megabyte needs a thread of its own while it arrives."""

    def __init__(self, storage: Storage, *, max_bytes: int) -> None:
        """max_bytes: of one file."""
        self._storage = storage
        self._max_bytes = max_bytes
        self._threads = CapacityLimiter(_MOST_AT_ONCE)
        self._writers = CapacityLimiter(_MOST_SMALL_AT_ONCE)

    async def receive(self, request: Request, *, folder: str) -> Form:
        """Read a form with one part `file` at most, and put that into a folder of the bucket.

        Where this raises there is no object: FileTooLarge, InvalidRequest, UnreadableImage for an
        empty file, TooManyRequests, and what the bucket and the connection raise.
        """
        if self._threads.statistics().tasks_waiting >= _MOST_WAITING:
            raise TooManyRequests("too many files arrive at once; send this one again in a moment.")
        reader, fields, key, name, size = FormReader(request), dict[str, str](), "", "", 0
        try:
            while (part := await reader.next_part()) is not None:
                if part.file_name is None:
                    if part.name in fields or len(fields) >= _MOST_FIELDS:
                        raise InvalidRequest(
                            f"the form has the field {part.name!r} once too often."
                        )
                    fields[part.name] = await _field(reader, part.name)
                elif part.name != "file" or key:
                    raise InvalidRequest("send one file, as the form's part 'file'.")
                else:
                    name = shown_name(part.file_name)
                    place = f"{folder}/{safe_name(part.file_name)}"
                    size = await self._store(reader, place, name)
                    key = place
        except BaseException:
            if key:
                await self.remove(key)
            raise
        return Form(fields, key, name, size)

    async def remove(self, key: str) -> None:
        """Remove what was received, even if the request is over."""
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self._storage.delete, key)

    async def _store(self, reader: FormReader, key: str, name: str) -> int:
        """Write the part that is being read; return how many bytes it has."""
        size = 0

        async def piece() -> bytes:
            """Return about a megabyte, nothing at the end."""
            nonlocal size
            pieces, length = [], 0
            while length < _PIECE and (data := await reader.next_piece()) is not None:
                pieces.append(data)
                length += len(data)
                size += len(data)
                if size > self._max_bytes:
                    raise FileTooLarge(
                        f"{name} has more than {spaced(self._max_bytes)} bytes, which is what this "
                        "service takes. Split the image or set KIOSK_MAX_FILE_BYTES."
                    )
            if not size:
                raise UnreadableImage(f"{name} is empty.")
            return b"".join(pieces)

        data = await piece()
        if len(data) < _PIECE:  # all of it: no thread need wait for the client
            await to_thread.run_sync(self._storage.write, key, [data], limiter=self._writers)
            return size

        def pieces() -> Iterator[bytes]:
            more = data
            while more:
                yield more
                more = b"" if len(more) < _PIECE else from_thread.run(piece)

        await to_thread.run_sync(self._storage.write, key, pieces(), limiter=self._threads)
        return size


async def discard_body(request: Request, *, max_bytes: int) -> None:
    """Read the rest of a request, so that its client can read the answer."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > max_bytes:
            return


async def _field(reader: FormReader, name: str) -> str:
    value = b""
    while (data := await reader.next_piece()) is not None:
        value += data
        if len(value) > _LONGEST_FIELD:
            raise InvalidRequest(f"the field {name[:50]!r} is too long.")
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        raise InvalidRequest(f"the field {name[:50]!r} is not UTF-8.") from exc


def shown_name(name: str) -> str:
    """Return a client's file name as people see it: without folders and control characters."""
    last = unicodedata.normalize("NFC", name.replace("\\", "/")).rpartition("/")[2]
    plain = "".join(" " if unicodedata.category(letter)[0] == "C" else letter for letter in last)
    return plain.strip()[-_LONGEST_SHOWN:] or "file"


def safe_name(name: str) -> str:
    """Return a client's file name as the last part of a key: nothing that could be misread."""
    plain = re.sub(r"[^\w.+-]+", "_", shown_name(name)).lstrip(".") or "file"
    stem, dot, end = plain.rpartition(".")
    tail = f".{end}" if dot and stem and len(end.encode()) <= 10 else ""
    head = plain.removesuffix(tail)
    kept = head.encode()[: _LONGEST - len(tail.encode())].decode(errors="ignore")
    return f"{kept}{tail}"
