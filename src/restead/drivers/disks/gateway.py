"""One `qemu-nbd` for each opening of a qcow2 image: it knows the format, we know NBD.

The image is not given to it by name: it inherits our descriptor, so what it opens is what was checked and locked, and
the image locks stay ours.  They hold as long as either of us lives, so a successor waits for a `qemu-nbd` that is
still busy for a service that was killed.

It never outlives us: it serves one client, which is connected before it begins, and when that goes away it brings the
image to rest (caches are written, bitmaps stored) and ends.  Until they have agreed it would not notice that, and may
miss a SIGTERM: so until then a pipe, whose other end only we hold, lets the kernel kill it when we die.
"""

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from restead.domain.errors import InvalidRequest, Unavailable
from restead.domain.ids import VolumeId
from restead.drivers.disks.environment import clean_environment
from restead.drivers.nbd import NbdClient

MAX_SOCKET_PATH = 107  # bytes, without the final 0 (Linux, sockaddr_un)

_CLOSE_LIMIT = 60.0  # seconds in which it brings the image to rest
_FAIL_LIMIT = 1.0  # seconds in which it ends by itself if it did not open the image
_TERM_LIMIT = 5.0  # seconds more after SIGTERM
_LAST = 2000  # characters of its complaints that are kept
_LOWEST = 10  # descriptors that it inherits are not smaller: 3 is where it looks for its listening socket

# Waits until the pipe is armed, then becomes qemu-nbd, with the listening socket (standard output) as descriptor 3,
# which is how it is told of one (systemd's socket activation).
_SCRIPT = 'read -r go && exec 3<&1 >/dev/null && LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"'


class Gateway:
    """Serves images to this process.  *runtime*: a short path for sockets, which exist for moments only."""

    def __init__(self, program: str, runtime: Path) -> None:
        self._program = program
        self._runtime = runtime

    def program(self) -> str:
        """Return the path of the program.  Raises Unavailable, naming what to install."""
        path = shutil.which(self._program)
        if path is None:
            raise Unavailable(f"program {self._program} was not found: qcow2 disks need it (Debian: qemu-utils)")
        return path

    @contextmanager
    def served(
        self, id: VolumeId, fd: int, *, write: bool, direct: bool, bitmap: str = ""
    ) -> Iterator[NbdClient]:
        """Serve the qcow2 image that is open as *fd*, whose locks are held; *direct*: past the page cache.

        *bitmap*: one of the image, whose `dirty` is served as well.

        Raises:
            Unavailable: it cannot be opened; at the end: it was not brought to rest.
        """
        try:
            server = self._start(fd, write=write, direct=direct, bitmap=bitmap)
        except OSError as error:
            raise Unavailable(f"disk {id}: {self._program} cannot be started: {error.strerror}") from error
        try:
            client = NbdClient(server.sock, f"disk {id}", bitmap=bitmap)
            server.disarm()
        except Unavailable as error:
            status, words = server.end(_FAIL_LIMIT)
            raise Unavailable(f"disk {id} cannot be opened: {self._program} ended with status {status}",
                              detail=f"{error.message}; {words}") from error
        try:
            yield client
        except BaseException:  # whoever has an error already is not told what comes of it
            client.close()
            server.end(_CLOSE_LIMIT)
            raise
        told = client.broken
        client.close()
        status, words = server.end(_CLOSE_LIMIT)
        if status != 0 and not told:
            raise Unavailable(f"disk {id} was not closed well: {self._program} ended with status {status}",
                              detail=words)

    def _start(self, fd: int, *, write: bool, direct: bool, bitmap: str) -> "_Server":
        command = [
            self.program(), "--shared=1", "--cache=none" if direct else "--cache=writeback", "--aio=threads",
            "--discard=unmap", "--detect-zeroes=off", *([] if write else ["--read-only"]),
            *([f"--bitmap={bitmap}"] if bitmap else []),
        ]  # fmt: skip
        listener, ours = self._sockets()
        complaints = os.memfd_create("complaints")
        image, (beware, life) = _high(fd), _pipe()
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT, *command, f"json:{json.dumps(_node(image))}"],
                stdin=subprocess.PIPE, stdout=listener.fileno(), stderr=complaints, pass_fds=(image, beware),
                cwd="/", env=clean_environment(), start_new_session=True,
            )  # fmt: skip
        except OSError:
            for left in (life, beware, complaints):
                os.close(left)
            ours.close()
            raise
        finally:
            listener.close()
            os.close(image)
        assert process.stdin is not None
        with process.stdin as go:
            _arm(beware, process.pid)
            go.write(b"go\n")
        return _Server(process, ours, beware, life, complaints)

    def _sockets(self) -> tuple[socket.socket, socket.socket]:
        """Return a socket that listens, and one that is connected to it; nobody else can connect."""
        path = self._runtime / f"{secrets.token_hex(8)}.nbd"
        if (length := len(os.fsencode(path))) > MAX_SOCKET_PATH:
            raise InvalidRequest(f"runtime folder {self._runtime} makes socket paths of {length} bytes, "
                                 f"at most {MAX_SOCKET_PATH} are possible: choose a shorter one")
        listener, ours = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        try:
            self._runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
            listener.bind(str(path))
            try:
                listener.listen(1)
                ours.connect(str(path))
            finally:
                path.unlink()
        except OSError as error:
            listener.close()
            ours.close()
            raise Unavailable(f"socket {path} cannot be made: {error.strerror}") from error
        return listener, ours


@dataclass
class _Server:
    """A qemu-nbd that was started."""

    process: "subprocess.Popen[bytes]"
    sock: socket.socket  # connected to it
    beware: int  # the pipe's end that kills it when the other is closed
    life: int
    complaints: int

    def disarm(self) -> None:
        """Let the end of the pipe mean nothing any more."""
        fcntl.fcntl(self.beware, fcntl.F_SETFL, fcntl.fcntl(self.beware, fcntl.F_GETFL) & ~os.O_ASYNC)

    def end(self, limit: float) -> tuple[int, str]:
        """Return its status and its last words when it has ended: by itself within *limit* seconds, or made to."""
        try:
            for seconds, force in ((limit, self.process.terminate), (_TERM_LIMIT, self.process.kill)):
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(seconds)
                    break
                force()
            return self.process.wait(), os.pread(self.complaints, 1 << 20, 0).decode(errors="replace")[-_LAST:].strip()
        finally:
            for fd in (self.life, self.beware, self.complaints):
                os.close(fd)


def _node(image: int) -> dict[str, object]:
    """Describe the image to QEMU: a qcow2 in what it inherits, whatever it says of itself; nothing is probed."""
    driver = "host_device" if stat.S_ISBLK(os.fstat(image).st_mode) else "file"
    # Locks would be taken against ours; whoever is to be kept out meets ours.
    file = {"driver": driver, "filename": f"/proc/self/fd/{image}", "locking": "off"}
    return {"driver": "qcow2", "file": file, "backing": None}


def _arm(beware: int, pid: int) -> None:
    """Let the kernel kill the process when the pipe's other end is closed, by whatever ends us."""
    fcntl.fcntl(beware, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(beware, fcntl.F_SETOWN, pid)
    fcntl.fcntl(beware, fcntl.F_SETFL, fcntl.fcntl(beware, fcntl.F_GETFL) | os.O_ASYNC)


def _high(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _LOWEST)


def _pipe() -> tuple[int, int]:
    """Return a pipe's end to inherit and the other one, which nobody inherits."""
    inherited, ours = os.pipe()
    try:
        return _high(inherited), ours
    finally:
        os.close(inherited)
