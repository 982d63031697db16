"""The newest digest of the log seen on this machine, kept in a small file.

Whoever keeps the repository's objects can show us an older history of it, complete and rightly sealed.
Only something kept elsewhere can tell: this.
"""

import errno
import json
import os
import secrets
from pathlib import Path

from restead.domain.errors import Damaged, Unavailable

_TRIES = 20  # that the folder may be removed while a file in it is written


class Witness:
    """The file *path*; without one nothing is remembered."""

    def __init__(self, path: Path | None, repository_id: bytes) -> None:
        self._path = path
        self._repository = repository_id.hex()
        self._kept: tuple[object, int] = (None, 0)  # which file it was that we have written, and with what number

    def newest(self) -> tuple[int, bytes]:
        """Return number and digest of the newest entry seen; (0, zeroes) if none was.

        Raises:
            Damaged: the file is not one of ours, or belongs to another repository.
        """
        try:
            text = self._path.read_text() if self._path else ""
        except FileNotFoundError:
            text = ""
        except (OSError, UnicodeDecodeError) as error:
            raise Damaged(f"{self._path} cannot be read", detail=str(error)) from error
        return self._parsed(text) if text else (0, bytes(32))

    def keep(self, number: int, digest: bytes) -> None:
        """Remember that entry durably.  A process that has seen less never takes anything back."""
        if not self._path or number <= self._known(self._path):
            return
        content = {"repository": self._repository, "number": number, "digest": digest.hex()}
        for left in reversed(range(_TRIES)):
            try:
                self._kept = _replace(self._path, json.dumps(content).encode()), number
                return
            except FileNotFoundError as error:
                if not left:  # caches may go at any time, but hardly that often while we write one
                    raise self._unwritten(error) from error
                _make_folder(self._path)
            except OSError as error:
                raise self._unwritten(error) from error

    def _unwritten(self, error: OSError) -> Unavailable:
        return Unavailable(f"{self._path} cannot be written: {os.strerror(error.errno or 0)}", detail=str(error))

    def _known(self, path: Path) -> int:
        """Return the newest number that the file holds: read only if it is not the one that we have written."""
        file, number = self._kept
        try:
            same = _identity(path.stat()) == file
        except OSError:
            same = False
        return number if same else self.newest()[0]

    def _parsed(self, text: str) -> tuple[int, bytes]:
        try:
            content = json.loads(text)
            repository, number, digest = content["repository"], int(content["number"]), bytes.fromhex(content["digest"])
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged(f"{self._path} holds no digest of what was seen", detail=repr(error)) from error
        if repository != self._repository:
            raise Damaged(f"{self._path} belongs to repository {repository}, this is {self._repository}")
        return number, digest


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
    except FileExistsError:
        pass  # removed while it was made: tried again


def _replace(path: Path, data: bytes) -> object:
    """Write *data* under that name, durably; return which file that is."""
    fresh = Path(f"{path}.{secrets.token_hex(8)}")
    try:
        written = _write(fresh, data)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    return written


def _write(path: Path, data: bytes) -> object:
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        # Before the rename: else a power cut may leave an empty file under the name.
        os.fsync(fd)
        return _identity(os.fstat(fd))
    finally:
        os.close(fd)


def _identity(found: os.stat_result) -> object:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
