"""A disk that forgets: what the local store's calls leave behind when the power goes.

`CrashDisk` does every call for real, and keeps beside it what would surely be on stable storage: the
contents of files that were synced, and the names in folders that were synced.  It cuts the power before
call number *cut_at*.  `left_behind` then makes the folder that the next start would find; what was not
synced may be lost or kept there, each as *keep* decides.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from restead.drivers.blobs.calls import Calls
from restead.ports import Buffer

Inode = tuple[int, int]
_FOLDER = None


class PowerCut(BaseException):
    """The power is gone; no handler may swallow it."""


class CrashDisk(Calls):
    def __init__(self, root: Path, *, cut_at: int = 0) -> None:
        super().__init__()
        self.root = root  # an existing folder, whose own name is durable
        self.count = 0
        self._cut_at = cut_at
        self._open: list[int] = []  # keeps inode numbers from being used again
        self._synced_bytes: dict[Inode, bytes] = {}
        self._synced_names: dict[Path, Inode | None] = {}

    def _tick(self) -> None:
        self.count += 1
        if self.count == self._cut_at:
            raise PowerCut

    def blank(self, folder: Path) -> int:
        self._tick()
        fd = super().blank(folder)
        self._open.append(os.dup(fd))
        return fd

    def write(self, fd: int, parts: Sequence[Buffer]) -> None:
        whole = b"".join(parts)
        self._tick()
        super().write(fd, [whole[: len(whole) // 2]])
        self._tick()
        super().write(fd, [whole[len(whole) // 2 :]])

    def copy(self, source: int, target: int, size: int) -> None:
        self._tick()
        super().copy(source, target, size)

    def fsync(self, fd: int) -> None:
        self._tick()
        self._open.append(os.dup(fd))
        self._synced_bytes[_inode(os.fstat(fd))] = os.pread(fd, os.fstat(fd).st_size, 0)

    def link(self, fd: int, path: Path) -> None:
        self._tick()
        super().link(fd, path)

    def unlink(self, path: Path) -> None:
        self._tick()
        super().unlink(path)

    def mkdir(self, path: Path) -> None:
        self._tick()
        super().mkdir(path)

    def fsync_folder(self, path: Path) -> None:
        self._tick()
        if path != self.root and self.root not in path.parents:
            return
        for name in [name for name in self._synced_names if name.parent == path]:
            del self._synced_names[name]
        self._synced_names.update({Path(entry.path): _identity(entry) for entry in os.scandir(path)})

    def left_behind(self, folder: Path, keep: Callable[[Path], bool]) -> None:
        """Fill *folder* with what is there after the power cut; *keep* tells which unsynced names and bytes survive."""
        standing = {path: _identity_of(path) for path in self.root.rglob("*")}
        for path in sorted({*standing, *self._synced_names}):
            side = standing if keep(path) else self._synced_names
            place = folder / path.relative_to(self.root)
            if path not in side or not place.parent.is_dir():
                continue
            identity = side[path]
            if identity is _FOLDER:
                place.mkdir()
            else:
                place.write_bytes(self._bytes(path, identity, keep))

    def _bytes(self, path: Path, inode: Inode, keep: Callable[[Path], bool]) -> bytes:
        synced = self._synced_bytes.get(inode, b"")
        return path.read_bytes() if keep(path / "bytes") and path.is_file() else synced

    def close_all(self) -> None:
        for fd in self._open:
            os.close(fd)
        self._open.clear()


def _inode(found: os.stat_result) -> Inode:
    return found.st_dev, found.st_ino


def _identity(entry: "os.DirEntry[str]") -> Inode | None:
    return _FOLDER if entry.is_dir() else _inode(entry.stat())


def _identity_of(path: Path) -> Inode | None:
    return _FOLDER if path.is_dir() else _inode(path.stat())
