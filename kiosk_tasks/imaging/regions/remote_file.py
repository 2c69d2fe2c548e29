"""An object of a bucket as a file that tifffile reads headers from."""

from __future__ import annotations

import io
from collections import OrderedDict
from typing import Any

from kiosk_tasks.imaging.regions.values import Files

__all__ = ["RemoteFile"]

_BLOCK_BYTES = 2**16
_BLOCKS = 128  # 8 MiB
_MOST_AHEAD = 64  # blocks: who goes on asking reads much


class RemoteFile(io.RawIOBase):
    """A file over range reads, in blocks that are kept.

    The more blocks were asked for already, the more are fetched at once.
    """

    def __init__(self, files: Files, key: str) -> None:
        """Raises MissingObject."""
        super().__init__()
        self._files = files
        self._key = key
        self._position = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._fetches = 0
        self.size_bytes = files.size(key)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; as files do, also past the end."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size_bytes}
        self._position = max(0, start[whence] + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, but for what is past the end."""
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self.size_bytes - self._position))
        if wanted > _MOST_AHEAD * _BLOCK_BYTES:  # a long list, or a text: read once
            data = self._files.read_range(self._key, self._position, wanted)
            view[: len(data)] = data
            self._position += len(data)
            return len(data)
        filled = 0
        while filled < wanted:
            number, within = divmod(self._position, _BLOCK_BYTES)
            part = self._block(number, wanted - filled + within)[within:][: wanted - filled]
            if not part:
                break
            view[filled : filled + len(part)] = part
            filled += len(part)
            self._position += len(part)
        return filled

    def _block(self, number: int, needed_bytes: int) -> bytes:
        if number not in self._blocks:
            self._fetches += 1
            ahead = min(_MOST_AHEAD, max(self._fetches // 4, -(-needed_bytes // _BLOCK_BYTES)))
            start, length = number * _BLOCK_BYTES, max(1, ahead) * _BLOCK_BYTES
            data = self._files.read_range(self._key, start, length)
            for at in range(0, len(data), _BLOCK_BYTES):
                self._blocks[number + at // _BLOCK_BYTES] = data[at : at + _BLOCK_BYTES]
            while len(self._blocks) > _BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.setdefault(number, b"")
        self._blocks.move_to_end(number)
        return self._blocks[number]
