"""Block devices for tests: loop devices over files, as root.

    with LoopDevices() as devices:
        device = devices.of(path)      # /dev/loop…, as large as the file
        devices.resize(device, size)   # as a volume manager grows or shrinks a volume, in use or not
"""

import fcntl
import os
import stat
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType

_GET_FREE = 0x4C82  # LOOP_CTL_GET_FREE (linux/loop.h)
_MAJOR = 7


class LoopDevices:
    """They are gone at the end of the block, or with `close`."""

    def __init__(self) -> None:
        self._files: dict[Path, Path] = {}

    def __enter__(self) -> "LoopDevices":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def of(self, file: Path) -> Path:
        _make_node()
        device = Path(_losetup("--find", "--show", str(file)).strip())
        self._files[device] = file
        return device

    def resize(self, device: Path, size: int) -> None:
        """*size*: bytes."""
        os.truncate(self._files[device], size)
        _losetup("--set-capacity", str(device))

    def detach(self, device: Path) -> None:
        del self._files[device]
        _losetup("--detach", str(device))

    def close(self) -> None:
        for device in list(self._files):
            self.detach(device)


def _make_node() -> None:
    """Make sure that the device which is free next has a node: not everywhere does the kernel make it."""
    fd = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        number = fcntl.ioctl(fd, _GET_FREE)
    finally:
        os.close(fd)
    node = Path(f"/dev/loop{number}")
    with suppress(FileExistsError):
        os.mknod(node, stat.S_IFBLK | 0o600, os.makedev(_MAJOR, number))


def _losetup(*words: str) -> str:
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    done = subprocess.run(["losetup", *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"losetup {' '.join(words)}: {done.stderr}"
    return done.stdout
