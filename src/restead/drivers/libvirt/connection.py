"""The connection to libvirt: made when it is first needed, made again when it broke, its errors translated.

The library (libvirt-python, extra `libvirt`) is imported when a connection is made.  It wants a thread that runs its
event loop: keep-alives and, with `qemu:///embed`, the monitors of the machines are answered there.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from restead.domain.errors import Unavailable

_KEEP_ALIVE = (5, 6)  # seconds between questions whether the other side lives, and how many may stay unanswered

_loop = threading.Lock()
_loops = False


class Connection:
    """A connection to *uri*, for many threads."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._lock = threading.Lock()
        self._open: Any = None

    def get(self) -> Any:
        """Return the open `virConnect`.  Raises Unavailable."""
        with self._lock:
            if self._open is None or not self._alive():
                self._open = self._made()
            return self._open

    def close(self) -> None:
        """Close it; it is made again if it is needed again."""
        with self._lock:
            if self._open is not None:
                self._open.close()
            self._open = None

    def _alive(self) -> bool:
        libvirt = library()
        try:
            return bool(self._open.isAlive())
        except libvirt.libvirtError:
            return False

    def _made(self) -> Any:
        libvirt = library()
        _run_loop()
        try:
            made = libvirt.open(self.uri)
        except libvirt.libvirtError as error:
            raise Unavailable(f"libvirt at {self.uri} cannot be reached: {_words(error)}") from error
        try:
            made.setKeepAlive(*_KEEP_ALIVE)
        except libvirt.libvirtError:  # a connection that is no network's needs none
            pass
        return made


def library() -> Any:
    """Return the module `libvirt`.  Raises Unavailable, naming what to install."""
    try:
        import libvirt
    except ImportError as error:
        raise Unavailable("libvirt_uri is set and the Python package libvirt-python is missing: "
                          "install restead[libvirt]", detail=str(error)) from error
    return libvirt


def is_error(error: BaseException, *names: str) -> bool:
    """Tell whether it is one of libvirt's, of one of these codes (`VIR_ERR_NO_DOMAIN`, …)."""
    libvirt = library()
    if not isinstance(error, libvirt.libvirtError):
        return False
    return error.get_error_code() in [getattr(libvirt, name) for name in names if hasattr(libvirt, name)]


@contextmanager
def translated(deed: str) -> Iterator[None]:
    """Make an error of libvirt's an Unavailable that says what was not done."""
    libvirt = library()
    try:
        yield
    except libvirt.libvirtError as error:
        raise Unavailable(f"{deed}: {_words(error)}", detail=str(error)) from error


def _words(error: Any) -> str:
    return str(error.get_error_message() or error)


def _run_loop() -> None:
    """Start the thread of the event loop, once in a process."""
    global _loops
    libvirt = library()
    with _loop:
        if _loops:
            return
        libvirt.registerErrorHandler(lambda _context, _error: None, None)  # else each goes to standard error, too
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_turn, args=(libvirt,), name="libvirt", daemon=True).start()
        _loops = True


def _turn(libvirt: Any) -> None:
    libvirt.virEventAddTimeout(1000, lambda _timer, _opaque: None, None)  # without any, a loop with nothing to do spins
    while True:
        libvirt.virEventRunDefaultImpl()
