"""Whether anybody else has opened a file while we had it open.

Our image locks keep out whoever looks at them.  Others (cp, dd, a loop device) may open a disk that a restore writes,
and what they write behind the place where it is goes unseen: then nothing is known of what the disk holds.
"""

import ctypes
import os

_OPENED, _CLOSED_AFTER_WRITING = 0x20, 0x08  # linux/inotify.h
_libc = ctypes.CDLL(None, use_errno=True)


class Strangers:
    """Watches an open file, whatever name it is opened by; `close` ends that.

    To be made after the last opening of our own.
    """

    def __init__(self, fd: int) -> None:
        self._watch: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        path = f"/proc/self/fd/{fd}".encode()
        added = self._watch >= 0 and _libc.inotify_add_watch(self._watch, path, _OPENED | _CLOSED_AFTER_WRITING) >= 0
        self._seen = not added  # a user may have only so many watches: without one it may have been anybody

    def seen(self) -> bool:
        """Tell whether anybody may have opened the file, or written to it, since this was made."""
        if not self._seen:
            try:
                self._seen = bool(os.read(self._watch, 4096))
            except BlockingIOError:
                pass
        return self._seen

    def close(self) -> None:
        if self._watch >= 0:
            os.close(self._watch)
