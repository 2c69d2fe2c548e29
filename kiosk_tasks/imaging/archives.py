"""Files in a zip archive, one by one, whatever the archive was built to do.

Nothing is ever written under a name that an archive gives: members are handed out as bytes.
"""

from __future__ import annotations

import stat
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from kiosk_tasks.errors import ArchiveTooLarge, UnreadableArchive, UnusableMember
from kiosk_tasks.imaging._zip_directory import check_directory
from kiosk_tasks.imaging.limits import ArchiveLimits, spaced

__all__ = ["DEFAULT_ARCHIVE_LIMITS", "Member", "ZipArchive", "check_unpacked", "unsafe_name"]

DEFAULT_ARCHIVE_LIMITS = ArchiveLimits()

_CHUNK_BYTES = 2**20
_HARMLESS_BYTES = 2**24  # black frames pack 1000 : 1; no ratio makes this much a bomb
_LONGEST_NAME = 1024
_ENCRYPTED = 0x2041  # bits 0, 6 and 13
_DOES_NOT_OPEN = (BadZipFile, EOFError, NotImplementedError, OSError, ValueError, zlib.error)
_ARCHIVES = (b"PK\3\4", b"PK\5\6", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf", b"Rar!")


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    name: as the archive has it, with slashes; safe to show, and a relative path.
    size_bytes: unpacked, as the archive declares it.
    problem: why it cannot be had; every other method raises it.
    """

    name: str
    size_bytes: int
    problem: UnusableMember | None
    _archive: ZipArchive
    _entry: ZipInfo

    def chunks(self) -> Iterator[bytes]:
        """Yield its bytes, at most a megabyte at a time.

        Raises UnusableMember: refused, damaged, or another length than declared.
        """
        if self.problem is not None:
            raise self.problem
        yield from self._archive._chunks(self._entry)

    def read(self, *, max_bytes: int) -> bytes:
        """Return its bytes; raises UnusableMember as `chunks` does, and over `max_bytes`."""
        if self.problem is None and self.size_bytes > max_bytes:
            raise UnusableMember(
                f"{self.name} has {spaced(self.size_bytes)} bytes; {spaced(max_bytes)} are taken."
            )
        return b"".join(self.chunks())

    def copy(self, target: Path) -> None:
        """Write its bytes to a file, with bounded memory; raises as `chunks` does, and OSError."""
        with target.open("wb") as file:
            for chunk in self.chunks():
                file.write(chunk)


class ZipArchive(AbstractContextManager["ZipArchive"]):
    """The files of a zip archive; folders, dot-files and `__MACOSX` are left out.

    Raises UnreadableArchive and ArchiveTooLarge when it is opened, before anything is unpacked.
    A member that cannot be had says so itself, and the others are there nevertheless.
    """

    def __init__(
        self, path: Path, *, name: str, limits: ArchiveLimits = DEFAULT_ARCHIVE_LIMITS
    ) -> None:
        """name: what the person calls the archive; it is in every message."""
        self._name = name
        count = check_directory(path, name, limits)
        try:
            self._zip = ZipFile(path)
        except (*_DOES_NOT_OPEN, LookupError) as exc:
            raise UnreadableArchive(
                f"{name} is no sound zip file ({exc}); zip the files again."
            ) from exc
        try:
            self.members = self._listed(count, path.stat().st_size, limits)
        except BaseException:
            self._zip.close()
            raise

    def __exit__(self, *error: object) -> None:
        self._zip.close()

    def _listed(self, count: int, packed: int, limits: ArchiveLimits) -> tuple[Member, ...]:
        entries = self._zip.infolist()
        if len(entries) != count:
            raise UnreadableArchive(
                f"{self._name} is no sound zip file: its end says {count} entries, but "
                f"{len(entries)} are there; zip the files again."
            )
        unpacked = sum(entry.file_size for entry in entries)
        check_unpacked(self._name, unpacked, packed, limits)
        members, seen = [], set[str]()
        for entry in entries:
            name = _real_name(entry)
            if _is_left_out(name):
                continue
            fact = _refusal(entry, name, seen)
            seen.add(_folded(name))
            shown = name if name.isprintable() else ascii(name)[1:-1]
            problem = UnusableMember(f"{shown} in {self._name} {fact}") if fact else None
            members.append(Member(shown, entry.file_size, problem, self, entry))
        return tuple(members)

    def _chunks(self, entry: ZipInfo) -> Iterator[bytes]:
        left = entry.file_size
        start = True
        for chunk in self._unpacked(entry):
            left -= len(chunk)
            if start and (chunk.startswith(_ARCHIVES) or chunk[257:262] == b"ustar"):
                raise self._unusable(entry, "is an archive itself; send its files instead.")
            start = False
            if left < 0:
                break
            yield chunk
        if left:
            raise self._unusable(entry, "has another length than the archive says; zip it again.")

    def _unpacked(self, entry: ZipInfo) -> Iterator[bytes]:
        try:
            with self._zip.open(entry) as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    yield chunk
        except (*_DOES_NOT_OPEN, RuntimeError) as exc:
            raise self._unusable(entry, f"is damaged ({exc}); zip it again.") from exc

    def _unusable(self, entry: ZipInfo, fact: str) -> UnusableMember:
        return UnusableMember(f"{_real_name(entry)} in {self._name} {fact}")


def check_unpacked(name: str, unpacked: int, packed: int, limits: ArchiveLimits) -> None:
    """Raise ArchiveTooLarge for an archive that unpacks to so many bytes.

    packed: size of the archive, bytes.
    """
    if unpacked > limits.max_bytes:
        raise ArchiveTooLarge(
            f"{name} has more than {spaced(limits.max_bytes)} bytes once unpacked, which is what "
            "this queue takes. Split it or set KIOSK_MAX_ARCHIVE_BYTES."
        )
    if unpacked > max(_HARMLESS_BYTES, packed * limits.max_ratio):
        raise ArchiveTooLarge(
            f"{name} unpacks to more than {limits.max_ratio} times its {spaced(packed)} bytes, "
            "as zip bombs do. Send the files themselves, or set KIOSK_MAX_ARCHIVE_RATIO."
        )


def unsafe_name(name: str) -> str:
    """Return what is wrong with a member's name as the end of a sentence; "" if nothing is."""
    parts = name.split("/")
    if not name or parts[-1] == "." or len(name.encode(errors="replace")) > _LONGEST_NAME:
        return "has a name that is empty or too long; rename it."
    if "\\" in name or name.startswith("/") or name[1:2] == ":":
        return "has a name with a drive, a backslash or a slash in front; zip it on its own."
    if ".." in parts:
        return "has a name that leaves the archive; zip it on its own."
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        return "has a name with control characters; rename it."
    return ""


def _refusal(entry: ZipInfo, name: str, seen: set[str]) -> str:
    """Return why a member is refused, as the end of a sentence; "" if it is not."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if fact := unsafe_name(name):
        return fact
    if kind not in (0, stat.S_IFREG):
        return "is a link or a device, not a file; put the file in its place."
    if entry.flag_bits & _ENCRYPTED:
        return "is encrypted; zip it without a password."
    if entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return "is packed in a way this job does not read; zip it with Deflate."
    if _folded(name) in seen:
        return "is there twice; rename one of them."
    return ""


def _is_left_out(name: str) -> bool:
    hidden = (part[:1] == "." and part != "." and part[:2] != ".." for part in name.split("/"))
    return name.endswith("/") or name.startswith("__MACOSX/") or any(hidden)


def _real_name(entry: ZipInfo) -> str:
    """Return the whole name; macOS writes UTF-8 without saying so."""
    name = entry.orig_filename
    try:
        return name if entry.flag_bits & 0x800 else name.encode("cp437").decode()
    except UnicodeError:
        return name


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
