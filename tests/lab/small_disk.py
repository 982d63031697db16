"""A file system that is small, so that it can be full: in memory, mounted by root, gone afterwards.

    with small_disk(folder, 8 << 20) as disk:
        disk.fill()
        …  # whoever writes to it is told ENOSPC
        disk.free()
"""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_PIECE = 1 << 16


class SmallDisk:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self, *, but: int = 0) -> None:
        """Take all the space there is, except for *but* bytes."""
        with self._ballast.open("ab", buffering=0) as file:
            size = _PIECE
            while size:
                try:
                    file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2
            if but:
                os.truncate(self._ballast, max(0, self._ballast.stat().st_size - but))

    def free(self) -> None:
        with suppress(FileNotFoundError):
            self._ballast.unlink()

    def remount(self, how: str) -> bool:
        """Make it read-only, `ro`, or writable again, `rw`; False while somebody has a file open for writing."""
        command = ["mount", "-o", f"remount,{how}", str(self.path)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    """Mount *size* bytes at *folder*, which is made.  Skips the test where nobody may mount."""
    folder.mkdir(0o700, parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "small", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"mounting needs rights: {mounted.stderr.decode().strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
