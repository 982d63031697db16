"""How far a long look at the store is: objects come in the order of their names, and a small file keeps the last.

Names of packs are digests: an object that was put meanwhile and sorts before the last one is new, and is looked at
the next time.
"""

import json
from pathlib import Path
from typing import Any

from restead.repository.cached import write_whole

_EVERY = 256 << 20  # bytes between two writings of the file: what a crash lets be read again


class Journal:
    """What of one look is done.  *path*: the file that keeps it, None: it is not kept."""

    def __init__(self, path: Path | None = None, *, restart: bool = False) -> None:
        self._path = path
        said = {} if restart else _read(path)
        self.last = str(said.get("last", ""))  # name of the last object that is done
        self.started = str(said.get("started", ""))  # the caller's own mark: when the look began
        self.findings: dict[str, str] = dict(said.get("findings", {}))  # name of an object → what is wrong
        self.read = int(said.get("read", 0))  # bytes
        self.objects = int(said.get("objects", 0))
        self._unkept = 0

    def has(self, name: str) -> bool:
        """Tell whether an object was looked at before."""
        return name <= self.last

    def note(self, name: str, message: str) -> None:
        """Keep what is wrong with an object."""
        self.findings[name] = message

    def done(self, name: str, size: int) -> None:
        """Keep that an object, and everything that sorts before it, is done."""
        self.last = name
        self.read += size
        self.objects += 1
        self._unkept += size
        if self._unkept >= _EVERY:
            self.keep()

    def keep(self) -> None:
        """Write the file."""
        self._unkept = 0
        if self._path is None:
            return
        said = {"last": self.last, "started": self.started, "findings": self.findings, "read": self.read,
                "objects": self.objects}  # fmt: skip
        write_whole(self._path, json.dumps(said).encode())

    def forget(self) -> None:
        """The look has come to its end: the next begins anew."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _read(path: Path | None) -> dict[str, Any]:
    try:
        said = {} if path is None else json.loads(path.read_bytes())
        return said if isinstance(said, dict) else {}
    except (FileNotFoundError, ValueError):
        return {}  # it only saves work
