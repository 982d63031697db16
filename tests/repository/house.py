"""A repository to test with: an empty store, a key file, and as many openings of it as a test wants."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from restead.domain.ids import ManifestId, ProjectId
from restead.drivers.blobs.memory import MemoryBlobs
from restead.ports import BlobStore, BlockSource, BlockTarget
from restead.repository import Count, DiskDescription, KeyFile, Repository, Saved, Window

PROJECT = ProjectId("p1")
ABOUT = DiskDescription("data", datetime(2026, 11, 23, 14, 0, tzinfo=UTC), "offline", {"name": "web-1"})


class House:
    """A repository of *chunk_size*-byte chunks in *store*, with its caches in *folder*."""

    def __init__(
        self, folder: Path, *, store: BlobStore | None = None, chunk_size: int = 4096, threads: int = 2
    ) -> None:
        self.folder = folder
        self.store = store if store is not None else MemoryBlobs()
        self.key = KeyFile.create(folder / "key")
        self.window = Window(threads, threads)
        self._openings = 0
        Repository.create(self.store, self.key, chunk_size=chunk_size)
        self.repository = self.open()

    def open(self, *, store: BlobStore | None = None, fresh_cache: bool = True) -> Repository:
        """Open the repository once more, as another process would; with an empty cache unless told otherwise."""
        self._openings += fresh_cache
        cache = self.folder / f"cache-{self._openings}"
        return Repository.open(store or self.store, self.key, cache=cache, scratch=self.folder, window=self.window)

    def save(
        self, source: BlockSource, parent: ManifestId | None = None, *, repository: Repository | None = None
    ) -> ManifestId:
        """Back up one disk; return its manifest."""
        return self.saved(source, parent, repository=repository)[0]

    def saved(
        self, source: BlockSource, parent: ManifestId | None = None, *, repository: Repository | None = None
    ) -> tuple[ManifestId, Saved]:
        """Back up one disk; return its manifest and what saving it was like."""
        reads = [] if parent is None else [parent]
        with (repository or self.repository).session(PROJECT, label="backup", reads=reads) as session:
            saved = session.save(source, parent=parent, description=ABOUT)
            return session.commit([saved])[0], saved

    def restore(
        self, manifest: ManifestId, target: BlockTarget, *, repository: Repository | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> Count:  # fmt: skip
        """Restore one disk."""
        with (repository or self.repository).session(PROJECT, label="restore", reads=[manifest]) as session:
            return session.restore(manifest, target, check=check)
