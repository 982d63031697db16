"""What is needed to read and write one project's things, and how much of it is done at once."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from restead.repository.chunk import Names
from restead.repository.index import Index
from restead.repository.log import ManifestEntry
from restead.repository.lost import LostThings
from restead.repository.manifest import ROOT_LIMIT, Manifest, Root
from restead.repository.pack import PackReader, Shelf
from restead.repository.reader import PORTION, SPAN, Reader
from restead.repository.seal import Kind
from restead.repository.tree import PAGE_LIMIT, Tree


@dataclass(frozen=True, slots=True)
class Window:
    """How much is done at once: this bounds memory, whatever the size of disks and repository."""

    backup_threads: int = 3  # each: a 2 MiB unit, a sealed chunk, one pack under construction (on disk)
    restore_threads: int = 4  # each: two portions, a span of sealed bytes
    portion: int = PORTION  # bytes of a disk that one thread fetches, compares and rewrites at once
    span: int = SPAN  # bytes of a pack that are fetched at once, at most
    whole: int = 0  # the same where all of a disk or pack is read, in the order of the packs; 0: portion and span serve
    ahead: int = 0  # pages that are fetched before they are asked for, where each request takes long
    unmarked: int = 48 << 20  # bytes written to a target since its last mark: what a crash lets be written again

    @property
    def whole_threads(self) -> int:
        """How many threads read all of something: as much of a disk in all as `restore_threads` with portions."""
        fitting = self.restore_threads * self.portion // self.whole if self.whole else self.restore_threads
        return min(self.restore_threads, max(1, fitting))


class Room:
    """What is needed to read and write one project's things."""

    def __init__(
        self, shelf: Shelf, names: Names, index: Index, lost: LostThings, window: Window | None = None
    ) -> None:
        window = window or Window()
        self.shelf = shelf
        self.names = names
        self.index = index
        self.lost = lost
        self.reader = Reader(
            PackReader(shelf), index, names, lost, portion=window.portion, span=window.span, whole=window.whole
        )
        self._pools: dict[int, ThreadPoolExecutor] = {}  # by how nice their threads are
        self._ahead = window.ahead

    def check_keys(self) -> None:
        """Raise NotFound if the project was erased."""
        _ = self.shelf.keys.newest

    def root(self, name: bytes) -> Root:
        """Return a root object.  Raises Damaged."""
        return Root.decode(self.reader.thing(Kind.ROOT, name, ROOT_LIMIT), f"root {name.hex()}")

    def manifest(self, entry: ManifestEntry) -> Manifest:
        """Return a manifest with its root object.  Raises Damaged."""
        return Manifest(entry.id, entry.project, entry.label, entry.root, self.root(entry.root))

    def tree(self, root: Root, near: Callable[[bytes], bytes | None] | None = None) -> Tree:
        """Return the page tree of a disk; *near* has some of its pages."""
        def read(page: bytes) -> bytes:
            return (near(page) if near else None) or self.reader.thing(Kind.PAGE, page, PAGE_LIMIT)

        return Tree(root, read, self._pool(), self._ahead)

    def _pool(self) -> ThreadPoolExecutor | None:
        """Return threads that are as nice as the caller: those of who is nicer stay so, and would hold up others."""
        if not self._ahead:
            return None
        pool = ThreadPoolExecutor(self._ahead, thread_name_prefix="ahead")  # none of them has begun
        return self._pools.setdefault(os.getpriority(os.PRIO_PROCESS, 0), pool)
