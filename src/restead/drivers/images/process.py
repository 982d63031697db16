"""Finding a QEMU that we started, also when another process of ours started it before us."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Running:
    """A process that was alive when it was found, held by a descriptor that cannot come to mean another."""

    pid: int
    pidfd: int

    def ended_within(self, limit: timedelta) -> bool:
        """Wait until it is gone, at most *limit*; tell whether it is."""
        poll = select.poll()  # not select.select: a busy service may have descriptors above its 1024
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(max(0, limit.total_seconds()) * 1000))

    def send(self, number: signal.Signals) -> None:
        """Send a signal; succeeds if it is gone already."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            pass


@contextmanager
def find(pidfile: Path) -> Iterator[Running | None]:
    """Give the live process that wrote *pidfile*, None if there is none.

    A pid that was given to another process meanwhile is not mistaken for it: the command line must name this very
    pidfile, and it is read while we hold the process and know that it is still the same.
    """
    pidfd = _open(pid) if (pid := _read_pid(pidfile)) else None
    if pidfd is None:
        yield None
        return
    try:
        running = Running(pid, pidfd)
        yield running if _is_ours(running, pidfile) else None
    finally:
        os.close(pidfd)


def _read_pid(pidfile: Path) -> int:
    try:
        return int(pidfile.read_text())
    except (FileNotFoundError, ValueError):  # none started, or QEMU is just writing it
        return 0


def _open(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (ProcessLookupError, OverflowError):
        return None


def _is_ours(running: Running, pidfile: Path) -> bool:
    try:
        words = Path(f"/proc/{running.pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # gone, or not a process of our user
        return False
    named = (b"-pidfile", os.fsencode(pidfile)) in pairwise(words)
    return named and not running.ended_within(timedelta())
