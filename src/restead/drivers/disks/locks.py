"""Image locks as QEMU takes them, and a question to the kernel about everybody else.

QEMU marks what it does with a file by shared open-file-description locks on single bytes: byte 100 + p for each
permission p that it uses, 200 + p for each that it does not tolerate in others (QEMU, block/file-posix.c).  We set
the same marks, so QEMU refuses to start on a disk that we have open, and we see a disk that QEMU has open, running or
paused.  As QEMU does, we mark first and look then: of two who race, both may give way, but never both go on.

Processes that take no such locks (cp, a QEMU with locking=off, a swap file, a loop device) are seen at the moment we
open by asking for a read lease: the kernel grants one only while nobody has the file open for writing.
"""

import errno
import fcntl
import os
import signal
import struct
from collections.abc import Sequence

_READ, _WRITE, _WRITE_UNCHANGED, _RESIZE = range(4)
_USED, _REFUSED = 100, 200  # first byte of each row of marks
_FLOCK = "hhqqi4x"  # struct flock on 64-bit Linux: type, whence, start, length, pid


class InUse(Exception):
    """Somebody has the file open in a way that does not go together with what we want; the text says how."""


def lock_for_reading(fd: int) -> None:
    """Mark the open file as read by us, with nobody else writing; the marks go when *fd* is closed.

    Raises:
        InUse: somebody has it open for writing, or tolerates no reader.
        OSError: the file system has no such locks.
    """
    _mark(fd, used=[_READ], refused=[_WRITE, _RESIZE])


def lock_for_writing(fd: int) -> None:
    """Mark the open file as ours alone, neither read nor written by others; the marks go when *fd* is closed.

    Raises:
        InUse: somebody has it open, for whatever.
        OSError: the file system has no such locks.
    """
    everything = [_READ, _WRITE, _WRITE_UNCHANGED, _RESIZE]
    _mark(fd, used=[_READ, _WRITE], refused=everything)


def refuse_open_writers(fd: int) -> None:
    """Return if no process has this regular file open for writing now, as far as the kernel lets us ask.

    *fd* must be open for reading only, and this process must not have the file open for writing itself.  Only the
    file's owner (or root) may ask; for others, and where the file system knows no leases, this returns.

    Raises:
        InUse: somebody has it open for writing.
    """
    # Were somebody to open the file in the microseconds in which we hold the lease, we would be sent SIGIO, which
    # ends a process: let it be SIGURG, which is ignored unless somebody asks for it.
    fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise InUse("a process has it open for writing") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP):
            return
        raise
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def _mark(fd: int, used: Sequence[int], refused: Sequence[int]) -> None:
    for byte in [_USED + p for p in used] + [_REFUSED + p for p in refused]:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_RDLCK, byte))
    try:
        for p in refused:
            if _others_hold(fd, _USED + p):
                raise InUse(f"a process {_DOES[p]} it (image lock)")
        for p in used:
            if _others_hold(fd, _REFUSED + p):
                raise InUse(f"a process that has it open tolerates nobody who {_DOES[p]} it (image lock)")
    except InUse:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
        raise


_DOES = {_READ: "reads", _WRITE: "writes", _WRITE_UNCHANGED: "rewrites", _RESIZE: "resizes"}


def _others_hold(fd: int, byte: int) -> bool:
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, byte))
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _flock(kind: int, byte: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, byte, 1, 0)
