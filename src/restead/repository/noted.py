"""What a session has noted of its unfinished work: partial manifests in the log, the newest only."""

from collections.abc import Callable
from threading import Lock

from restead.domain.errors import NotFound
from restead.domain.ids import ManifestId
from restead.repository.log import Delete, Log, Progress

Disk = Callable[[bytes], None]
"""Notes the name of a durable root of one disk."""


class Noted:
    """The progress entries of one session; its disks may be saved at the same time."""

    def __init__(self, session: int, log: Log) -> None:
        self._session = session
        self._log = log
        self._roots: dict[Disk, tuple[bytes, str]] = {}  # the newest of every disk, finished or not, with its label
        self._partial: list[ManifestId] = []
        self._lock = Lock()

    def disk(self, label: str) -> Disk:
        """Return what notes how far one more disk is."""

        def note(root: bytes) -> None:
            with self._lock:
                self._roots[note] = root, label
                roots = list(self._roots.values())
                number = self._log.append(Progress(self._session, roots))
                earlier, self._partial = self._partial, [ManifestId(f"{number}.{at}") for at in range(len(roots))]
                if earlier:
                    self._drop(earlier)

        return note

    def finished(self, disk: Disk, root: bytes, label: str) -> None:
        """Say that a whole disk is durable: whatever is noted from now on names it."""
        with self._lock:
            self._roots[disk] = root, label

    def _drop(self, earlier: list[ManifestId]) -> None:
        try:
            self._log.append(Delete(earlier))
        except NotFound:
            pass  # the session was ended, and somebody has dropped them
