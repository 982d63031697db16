"""The data folder: private to its owner, one service at a time.

`service.lock` is held by a running service for its whole life and says who it is.  `setup.lock` is held for
moments: by everyone who makes or migrates something in the folder, and by a service while it takes its lock.
So whoever holds `setup.lock` can see whether a service runs without disturbing one that is just starting.
"""

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from restead.domain.errors import InvalidRequest, Unavailable

_PRIVATE = 0o700
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Holder:
    """The service that holds a data folder, as it told of itself."""

    pid: int
    since: str
    listen: str

    def __str__(self) -> str:
        return f"process {self.pid}, since {self.since}, listening on {self.listen}"


class DataFolder:
    """An open data folder; `close` gives the service's lock back."""

    def __init__(self, path: Path) -> None:
        """Make *path* if it is missing.

        Raises:
            InvalidRequest: it is not ours, or others may read it.
            Unavailable: it cannot be made.
        """
        self.path = path
        self._service: int | None = None
        self._chosen: Path | None = None  # runtime folder whose place nobody has set
        os.umask(0o077)  # whatever this process makes from here on is private, in every library
        try:
            path.mkdir(parents=True, exist_ok=True, mode=_PRIVATE)
        except OSError as error:
            raise Unavailable(f"data folder {path} cannot be made: {error.strerror}") from error
        _check_private(path, "data folder")

    @contextmanager
    def setting_up(self) -> Iterator[Holder | None]:
        """Hold the setup lock; yields the service that runs on the folder, or None."""
        lock = os.open(self.path / "setup.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self._holder()
        finally:
            os.close(lock)

    def occupy(self, listen: str) -> None:
        """Take the service's lock, inside `setting_up`, and write who holds it.

        Raises:
            Unavailable: another service holds it; the message says which.
        """
        holder = self._holder()
        if holder is not None:
            raise Unavailable(f"data folder {self.path} is in use by another service: {holder}")
        self._service = os.open(self.path / "service.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._service, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.announce(listen)

    def announce(self, listen: str) -> None:
        """Write where the service that we are listens; the port is known only once it does."""
        assert self._service is not None
        about = {"pid": os.getpid(), "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", "listen": listen}
        text = json.dumps(about).encode()
        os.pwrite(self._service, text, 0)
        os.ftruncate(self._service, len(text))

    def close(self) -> None:
        if self._service is not None:
            os.close(self._service)
            self._service = None

    def runtime(self, wanted: Path | None) -> Path:
        """Return the short private folder for sockets, the same one each time as long as it exists.

        Its place depends on who asks (XDG_RUNTIME_DIR is missing in cron and under sudo), so the first
        choice is remembered by the link `runtime`: a second process that looked elsewhere would not find a
        machine that runs, and could write to its disks.  Call inside `setting_up`.
        """
        link = self.path / "runtime"
        if wanted is None and link.is_symlink():
            remembered = link.readlink()
            if _made_private(remembered):
                self._chosen = remembered
                return remembered
        path = wanted or self._runtime_place()
        try:
            path.mkdir(parents=True, exist_ok=True, mode=_PRIVATE)
        except OSError as error:
            raise Unavailable(f"runtime folder {path} cannot be made: {error.strerror}") from error
        _check_private(path, "runtime folder", follow=False)
        fresh = self.path / "runtime.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(path)
        fresh.replace(link)
        self._chosen = None if wanted else path
        return path

    def give_back_runtime(self) -> None:
        """Remove the runtime folder if it is empty, its place was chosen by us and no service runs; else do nothing.

        Whoever has opened the data folder meanwhile makes it anew before a machine starts.  Where everybody may
        make folders it stays: another could make it in between.
        """
        if self._chosen is None or not self._chosen.name.startswith("restead-"):
            return
        with suppress(OSError), self.setting_up() as holder:
            if holder is None and not self._chosen.parent.stat().st_mode & stat.S_IWOTH:
                self._chosen.rmdir()

    def _runtime_place(self) -> Path:
        mark = hashlib.sha256(str(self.path.resolve()).encode()).hexdigest()[:8]
        if os.geteuid() == 0 and os.access("/run", os.W_OK):
            return Path("/run") / f"restead-{mark}"
        session = os.environ.get("XDG_RUNTIME_DIR")
        if session and _is_private(Path(session)):
            return Path(session) / f"restead-{mark}"
        return Path("/tmp") / f"restead-{os.geteuid()}-{mark}"

    def _holder(self) -> Holder | None:
        """Who holds the service's lock; the setup lock must be held."""
        if self._service is not None:
            return None
        try:
            lock = os.open(self.path / "service.lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read_holder(lock)
        else:
            return None
        finally:
            os.close(lock)


def _read_holder(lock: int) -> Holder:
    try:
        about = json.loads(os.pread(lock, 4096, 0))
        return Holder(int(about["pid"]), str(about["since"]), str(about["listen"]))
    except (ValueError, KeyError, TypeError):
        return Holder(0, "unknown", "unknown")


def _is_private(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & _OTHERS


def _made_private(path: Path) -> bool:
    """Whether *path* is a private folder of ours, made anew if a reboot has emptied its parent."""
    try:
        path.mkdir(exist_ok=True, mode=_PRIVATE)
    except OSError:
        return False
    return _is_private(path)


def _check_private(path: Path, what: str, *, follow: bool = True) -> None:
    found = path.stat(follow_symlinks=follow)
    if not stat.S_ISDIR(found.st_mode):
        raise InvalidRequest(f"{what} {path} is not a folder")
    if found.st_uid != os.geteuid():
        raise InvalidRequest(f"{what} {path} belongs to user {found.st_uid} and we are user {os.geteuid()}")
    if found.st_mode & _OTHERS:
        raise InvalidRequest(
            f"{what} {path} has mode {stat.S_IMODE(found.st_mode):04o}; only its owner may enter it: chmod 700 {path}"
        )
