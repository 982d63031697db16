"""The few file-system calls the local store makes, behind one seam.

Tests put a disk in its place that loses, at any of these calls, everything that was not synced.
"""

import errno
import fcntl
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from restead.ports import Buffer

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
_MOST_BUFFERS = 1000  # IOV_MAX is 1024 on Linux
_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)  # how file systems say they lack O_TMPFILE


class Calls:
    """Each method is one deed on a real file system; OSErrors pass."""

    def __init__(self) -> None:
        self._names: dict[int, Path] = {}  # blank files that need a name, where O_TMPFILE is missing

    def blank(self, folder: Path) -> int:
        """Open a new file in the file system of *folder* that nobody else can see, read-only once it is linked."""
        try:
            return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o400)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
        return self._named_blank(folder)

    def _named_blank(self, folder: Path) -> int:
        path = folder / secrets.token_hex(16)
        fd = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o400)
        self._names[fd] = path
        fcntl.flock(fd, fcntl.LOCK_EX)  # tells `sweep` of other processes that we live
        return fd

    def sweep(self, folder: Path) -> None:
        """Remove named blank files whose makers died."""
        for path in folder.iterdir():
            try:
                fd = os.open(path, _FLAGS | os.O_RDONLY)
            except FileNotFoundError:
                continue  # its maker has done with it
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
            except BlockingIOError:
                pass
            finally:
                os.close(fd)

    def open(self, path: Path) -> int:
        """Open an object for reading."""
        return os.open(path, _FLAGS | os.O_RDONLY)

    def close(self, fd: int) -> None:
        """Close *fd*; a blank file that was not linked is gone."""
        if path := self._names.pop(fd, None):
            path.unlink(missing_ok=True)
        os.close(fd)

    def write(self, fd: int, parts: Sequence[Buffer]) -> None:
        """Append all of *parts* to the file."""
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        while views:
            written = os.writev(fd, views[:_MOST_BUFFERS])
            while views and written >= len(views[0]):
                written -= len(views.pop(0))
            if written:
                views[0] = views[0][written:]

    def copy(self, source: int, target: int, size: int) -> None:
        """Append the first *size* bytes of *source* to *target*, inside the kernel."""
        at = 0
        while at < size:
            moved = os.sendfile(target, source, at, size - at)  # unlike copy_file_range, also between file systems
            if not moved:
                raise OSError(errno.EIO, f"the file ended after {at} of {size} bytes")
            at += moved

    def read_into(self, fd: int, offset: int, buffer: memoryview) -> int:
        """Read from *offset* on until the buffer is full or the file ends; return how many bytes."""
        at = 0
        while at < len(buffer):
            count = os.preadv(fd, [buffer[at:]], offset + at)
            if not count:
                break
            at += count
        return at

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def link(self, fd: int, path: Path) -> None:
        """Give the file *fd* this name.  Raises FileExistsError if it is taken."""
        source = self._names.get(fd, Path(f"/proc/self/fd/{fd}"))
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # The folder's descriptor makes Python call linkat(2), which follows /proc's link to the file itself.
            os.link(source, path.name, dst_dir_fd=folder, follow_symlinks=True)
        finally:
            os.close(folder)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def mkdir(self, path: Path) -> None:
        """Make one folder for us alone; raises FileExistsError if it is there."""
        path.mkdir(0o700)

    def fsync_folder(self, path: Path) -> None:
        """Make the names in that folder durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
