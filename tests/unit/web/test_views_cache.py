"""What is kept: the last used, as much as fits, and nothing that is in use goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from kiosk_tasks.web.views_cache import FileCache, Lately


def test_what_was_not_used_for_longest_goes_first() -> None:
    kept = Lately[bytes](10, size=len)
    kept.put("a", b"1234")
    kept.put("b", b"1234")
    assert kept.get("a") == b"1234"
    assert kept.put("c", b"1234") == b"1234"
    assert [kept.get(key) for key in "abc"] == [b"1234", None, b"1234"]
    kept.put("d", bytes(99))  # too large for all others, but of use now
    assert [kept.get(key) for key in "acd"] == [None, None, bytes(99)]


class Source:
    """A bucket that counts."""

    def __init__(self, size: int) -> None:
        self.fetched, self.size = 0, size

    def __call__(self, target: Path) -> None:
        self.fetched += 1
        target.write_bytes(bytes(self.size))


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[FileCache]:
    made = FileCache(tmp_path / "scratch", max_bytes=100)
    yield made
    made.close()
    assert list((tmp_path / "scratch").iterdir()) == []


def use(cache: FileCache, key: str, source: Source) -> None:
    with cache.file(key, source) as path:
        assert path.stat().st_size == source.size


def test_files_are_fetched_once_while_they_fit(cache: FileCache) -> None:
    one, other, third = (Source(40) for _ in range(3))
    for _ in range(2):
        use(cache, "one", one)
        use(cache, "other", other)
    assert (one.fetched, other.fetched) == (1, 1)
    use(cache, "third", third)  # `one` goes
    use(cache, "other", other)
    use(cache, "one", one)
    assert (one.fetched, other.fetched, third.fetched) == (2, 1, 1)


def test_what_is_in_use_stays(cache: FileCache) -> None:
    one, large = Source(40), Source(90)
    with cache.file("one", one) as path:
        use(cache, "large", large)
        assert path.exists()
    use(cache, "one", one)
    assert one.fetched == 1


def test_a_fetch_that_failed_is_tried_again(cache: FileCache, tmp_path: Path) -> None:
    def broken(target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError("the line is cut")

    with pytest.raises(OSError, match="the line is cut"), cache.file("one", broken):
        pass
    assert not list((tmp_path / "scratch").rglob("file"))  # what nobody counts leaves the disk
    use(cache, "one", Source(5))


def test_several_wait_for_one_fetch(cache: FileCache) -> None:
    begun, go = Event(), Event()
    source = Source(5)

    def slow(target: Path) -> None:
        begun.set()
        assert go.wait(10)
        source(target)

    def read() -> None:
        with cache.file("one", slow) as path:
            assert path.stat().st_size == 5

    readers = [Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    assert begun.wait(10)
    go.set()
    for reader in readers:
        reader.join(10)
    assert source.fetched == 1
