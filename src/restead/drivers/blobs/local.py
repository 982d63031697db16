"""Objects as files in a folder: `packs/3f…` is the file `packs/=3f/3f…`.

A put is: a file nobody sees, its bytes, fsync, link (which fails if the name is taken), fsync of the
folder.  So the power may go at any of these steps: an object is there completely and for good, or it
is not there.  Folders are 0700, files 0400.

Parts of a path that begin with "=" are ours (no object's name can hold that character): fan-out
folders for names that are 64 hexadecimal digits, and `=tmp` for files under way.
"""

import errno
import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from restead.domain.errors import Damaged, NotFound, Unavailable
from restead.drivers.blobs.calls import Calls
from restead.drivers.blobs.names import checked
from restead.ports import Buffer

_OPEN_FILES = 64  # kept open for reading ranges
_HASH = re.compile(r"[0-9a-f]{64}")
_TMP = "=tmp"
# What link(2) says when a file cannot get a second name where we want it: other file system, not an O_TMPFILE.
_NO_LINK = (errno.EXDEV, errno.ENOENT, errno.EPERM, errno.EOPNOTSUPP)


class LocalBlobs:
    """A BlobStore in the folder *root*, which is made if it is missing.  Any number of processes may share it."""

    def __init__(self, root: Path, *, calls: Calls | None = None, reads_only: bool = False) -> None:
        """*reads_only*: nothing is ever put, and nothing is made in the folder, which may be one that nobody can."""
        self._root = root
        self._calls = calls or Calls()
        self._known: set[Path] = set()  # folders whose own name is durable
        self._files = _OpenFiles(self._calls)
        with _translated(f"folder {root}"):
            if reads_only:
                return
            self._ensure(root)
            self._ensure(root / _TMP)
            self._calls.sweep(root / _TMP)

    def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
        parts = [data] if isinstance(data, Buffer) else data
        size = sum(memoryview(part).nbytes for part in parts)
        with self._space_for(name, size):
            return self._put_blank(name, lambda fd: self._calls.write(fd, parts))

    def put_file(self, name: str, fd: int) -> bool:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError(f"what shall become {name} is no regular file")
        with self._space_for(name, found.st_size):
            # A file that has a name already could be changed under it: only a nameless one is taken as it is.
            if found.st_nlink == 0 and found.st_dev == (self._root / _TMP).stat().st_dev:
                try:
                    return self._adopt(name, fd)
                except OSError as error:
                    if error.errno not in _NO_LINK:
                        raise
            return self._put_blank(name, lambda blank: self._calls.copy(fd, blank, found.st_size))

    def _adopt(self, name: str, fd: int) -> bool:
        os.fchmod(fd, 0o400)
        self._calls.fsync(fd)
        return self._link(name, fd)

    def _put_blank(self, name: str, fill: Callable[[int], None]) -> bool:
        fd = self._calls.blank(self._root / _TMP)
        try:
            fill(fd)
            self._calls.fsync(fd)
            return self._link(name, fd)
        finally:
            self._calls.close(fd)

    def _link(self, name: str, fd: int) -> bool:
        path = self._path(name)
        self._ensure(path.parent)
        try:
            self._calls.link(fd, path)
        except FileExistsError:
            stored = False
        else:
            stored = True
        # Also when another put was first: our caller may build on its object, and the other may not have come here yet.
        self._calls.fsync_folder(path.parent)
        return stored

    def get(self, name: str) -> bytes:
        with _found(name), closing(self._files.open(self._path(name))) as file:
            data = bytearray(os.fstat(file.fd).st_size)
            self._fill(name, file, 0, memoryview(data))
        return bytes(data)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        data = bytearray(length)
        self.get_range_into(name, offset, memoryview(data))
        return bytes(data)

    def get_range_into(self, name: str, offset: int, buffer: memoryview) -> None:
        with _found(name):
            self._fill(name, self._files.kept(self._path(name)), offset, buffer)

    def _fill(self, name: str, file: "_OpenFile", offset: int, buffer: memoryview) -> None:
        count = self._calls.read_into(file.fd, offset, buffer)
        if count < len(buffer):
            raise Damaged(f"{name} holds {offset + count} bytes, {len(buffer)} from {offset} on were asked")

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        folder = prefix.rpartition("/")[0]
        with _translated(f"folder {self._root / folder}"):
            for path in _files_below(self._root / folder):
                name = self._name(path)
                size = _size(path) if name.startswith(prefix) else None
                if size is not None:
                    yield name, size

    def delete(self, name: str) -> None:
        path = self._path(name)
        self._files.forget(path)
        with _translated(name):
            try:
                self._calls.unlink(path)
            except FileNotFoundError:
                if not path.parent.is_dir():
                    return
            self._calls.fsync_folder(path.parent)

    def _path(self, name: str) -> Path:
        folder, _, last = checked(name).rpartition("/")
        return self._root / folder / f"={last[:2]}" / last if _HASH.fullmatch(last) else self._root / name

    def _name(self, path: Path) -> str:
        return "/".join(part for part in path.relative_to(self._root).parts if not part.startswith("="))

    def _ensure(self, folder: Path) -> None:
        """Make *folder*, durably.  One that another process made may not be durable yet: so its parent is synced."""
        if folder in self._known:
            return
        if folder != self._root:
            self._ensure(folder.parent)
        elif not folder.parent.is_dir():
            folder.parent.mkdir(0o700, parents=True)
        try:
            self._calls.mkdir(folder)
        except FileExistsError:
            pass
        self._calls.fsync_folder(folder.parent)
        self._known.add(folder)

    @contextmanager
    def _space_for(self, name: str, size: int) -> Iterator[None]:
        with _translated(name):
            try:
                yield
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                found = os.statvfs(self._root)
                free = found.f_bavail * found.f_frsize
                raise Unavailable(f"no space for {name}: {size} bytes wanted, {free} free in {self._root}") from error


class _OpenFile:
    """An open file, closed when the last one who reads from it lets it go."""

    __slots__ = ("_close", "fd")

    def __init__(self, fd: int, close: Callable[[int], None]) -> None:
        self.fd = fd
        self._close = close

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            self._close(fd)

    __del__ = close


class _OpenFiles:
    """The files read last, kept open.  One that is dropped here while a thread reads it stays open for that thread."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._kept: OrderedDict[Path, _OpenFile] = OrderedDict()
        self._lock = threading.Lock()

    def open(self, path: Path) -> _OpenFile:
        return _OpenFile(self._calls.open(path), self._calls.close)

    def kept(self, path: Path) -> _OpenFile:
        with self._lock:
            if file := self._kept.get(path):
                self._kept.move_to_end(path)
                return file
        file = self.open(path)
        with self._lock:
            self._kept[path] = file
            if len(self._kept) > _OPEN_FILES:
                self._kept.popitem(last=False)
        return file

    def forget(self, path: Path) -> None:
        with self._lock:
            self._kept.pop(path, None)


@contextmanager
def _found(name: str) -> Iterator[None]:
    """As `_translated`, for reading an object that may not be there."""
    with _translated(name):
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(f"the store holds no {name}", detail=str(error)) from error


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Raise what a file system says about object *name* as our own error."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{name} cannot be reached: {os.strerror(error.errno or 0)}", detail=str(error)) from error


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield files in *folder* and below, in no order; what vanishes meanwhile may be left out."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.name != _TMP:
                yield from _files_below(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def _size(path: Path) -> int | None:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return None
