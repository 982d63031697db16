"""Where a disk that is read goes to: into packs, or, when it is only compared, nowhere but its pages to a file."""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Protocol

from restead.domain.errors import Unavailable
from restead.repository.chunk import Press
from restead.repository.crew import work_together
from restead.repository.known import Known
from restead.repository.pack import PackWriter, Shelf, unlinked_file
from restead.repository.seal import Kind

MOST_SEEN = 250_000  # names (of 64 GiB of new chunks) that a comparison remembers, not to count them twice


class Keeper(Protocol):
    """Takes what a disk consists of, from several threads."""

    def store(self, thread: int, kind: Kind, name: bytes, plain: bytes | memoryview) -> bool:
        """Make sure that a thing gets stored; tell whether it is new."""
        ...

    def finish(self) -> None:
        """Return when all of it is durable and in the index."""
        ...

    def close(self) -> None:
        """Forget what is not finished."""
        ...

    @property
    def stored(self) -> int:
        """Bytes put into the store."""
        ...


class Packing:
    """Everything new goes into packs, one under construction for each thread."""

    def __init__(self, shelf: Shelf, known: Known, scratch: Path, threads: int) -> None:
        self._known = known
        self._writers = [PackWriter(shelf, scratch, Press()) for _ in range(threads)]

    def store(self, thread: int, kind: Kind, name: bytes, plain: bytes | memoryview) -> bool:
        if not self._known.claim(name):
            return False
        writer = self._writers[thread]
        if writer.add(kind, name, plain):
            self._known.shelve(writer.finish())
        return True

    def finish(self) -> None:
        work_together(len(self._writers), iter(self._writers), self._finish)
        self._known.flush()

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    @property
    def stored(self) -> int:
        return sum(writer.stored for writer in self._writers)

    def _finish(self, _thread: int, writers: Iterator[PackWriter]) -> None:
        for writer in writers:
            self._known.shelve(writer.finish())


class Comparing:
    """Nothing is stored.  Pages are kept in a file without a name, so that the disk can be compared with others.

    A page is 32 KiB for 256 MiB of disk; what is in memory is its name and its place.
    """

    stored = 0

    def __init__(self, known: Known, scratch: Path) -> None:
        self._known = known
        self._fd = unlinked_file(scratch)
        self._end = 0
        self._pages: dict[bytes, tuple[int, int]] = {}  # name → offset and length in the file
        self._seen: set[bytes] = set()
        self._lock = Lock()

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def store(self, _thread: int, kind: Kind, name: bytes, plain: bytes | memoryview) -> bool:
        if kind is Kind.PAGE:
            self._keep(name, bytes(plain))
        return kind is Kind.CHUNK and self._is_new(name)

    def finish(self) -> None:
        """Nothing is to be made durable."""

    def close(self) -> None:
        self._seen = set()  # the pages are needed until the last who knows them forgets them

    def page(self, name: bytes) -> bytes | None:
        """Return the bytes of a page that was kept, None if it was not."""
        found = self._pages.get(name)
        return None if found is None else os.pread(self._fd, found[1], found[0])

    def _keep(self, name: bytes, page: bytes) -> None:
        with self._lock:
            if name in self._pages:
                return
            if (written := os.pwrite(self._fd, page, self._end)) != len(page):
                raise Unavailable(f"the scratch folder took {written} bytes of a page of {len(page)}")
            self._pages[name] = self._end, len(page)
            self._end += len(page)

    def _is_new(self, name: bytes) -> bool:
        with self._lock:
            if name in self._seen or self._known.has(name):
                return False
            if len(self._seen) < MOST_SEEN:
                self._seen.add(name)
        return True
