"""What this machine itself uses a disk for: nothing that is listed here is ever opened.

A disk counts as used when it, a partition of it or the disk it is a partition of is mounted, is swapped to,
or is held by another device (device mapper, md); when it is what a loop device stands on; a file also when it
is a swap file.  Other mount namespaces are not listed in /proc: devices mounted there are refused by O_EXCL
(`opening`), files that a process writes by its open descriptors (`locks`).
"""

import os
import re
from pathlib import Path

from restead.domain.errors import Unavailable
from restead.drivers.disks.backing import Backing, key_of


class Guard:
    """Reads /proc and /sys, or trees that look like them.

    *own*: restead's data folder: its records and its repository are no disks, whoever says so.
    """

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys"), own: Path | None = None) -> None:
        self._proc = proc
        self._sys = sys
        self._own = None if own is None else own.resolve()

    def use_of(self, backing: Backing) -> str | None:
        """Say in words what this machine uses the disk for; None: nothing known.

        Raises:
            Unavailable: the lists cannot be read, so nothing is proven.
        """
        if self.is_own(backing.path):
            return "belongs to restead's own data folder"
        try:
            if backing.is_device:
                family = self._family(f"{backing.key[1]}:{backing.key[2]}")
                found = self._mounted(family) or self._held(family)
            else:
                family = set()
                found = None
            return found or self._swap(backing, family) or self._loop(backing, family)
        except OSError as error:
            raise Unavailable(f"cannot find out whether {backing.path} is in use", detail=str(error)) from error

    def is_own(self, path: Path) -> bool:
        """Tell whether that path, links resolved, lies in restead's data folder."""
        return self._own is not None and path.resolve().is_relative_to(self._own)

    def _family(self, number: str) -> set[str]:
        """Return "major:minor" of the device, its partitions, and the whole disk it is a partition of."""
        family = {number}
        folder = self._sys / "dev/block" / number
        if not folder.exists():
            return family
        real = folder.resolve()
        if (real / "partition").exists():
            family.add((real.parent / "dev").read_text().strip())
        family.update((part.parent / "dev").read_text().strip() for part in real.glob("*/partition"))
        return family

    def _mounted(self, family: set[str]) -> str | None:
        for line in (self._proc / "self/mountinfo").read_text().splitlines():
            left, _, right = line.partition(" - ")
            number, place = left.split(" ")[2], _unescape(left.split(" ")[4])
            # Some file systems (btrfs) show a number of their own: then the source tells the device.
            source = _unescape(right.split(" ")[1])
            if number in family or (source.startswith("/dev/") and _number_of(Path(source)) in family):
                return f"is mounted at {place}"
        return None

    def _held(self, family: set[str]) -> str | None:
        for number in sorted(family):
            folder = self._sys / "dev/block" / number / "holders"
            if holders := sorted(path.name for path in folder.glob("*")):
                return f"is held by {', '.join(holders)}"
        return None

    def _swap(self, backing: Backing, family: set[str]) -> str | None:
        try:
            lines = (self._proc / "swaps").read_text().splitlines()
        except FileNotFoundError:  # a kernel without swap
            return None
        for line in lines[1:]:
            if _is(Path(_unescape(line.split()[0])), backing, family):
                return "is used for swap"
        return None

    def _loop(self, backing: Backing, family: set[str]) -> str | None:
        for entry in (self._sys / "block").glob("*/loop/backing_file"):
            try:
                text = entry.read_text().rstrip("\n")
            except OSError:  # released since it was listed
                continue
            if _is(Path(text), backing, family):
                return f"is the backing file of loop device {entry.parent.parent.name}"
        return None


def _is(path: Path, backing: Backing, family: set[str]) -> bool:
    if path == backing.path:
        return True
    try:
        status = path.stat()
        key = key_of(status, path)
    except OSError:  # deleted, or not to be seen from here: the name is all we could compare
        return False
    return key == backing.key or (key[0] == "device" and f"{key[1]}:{key[2]}" in family)


def _number_of(path: Path) -> str | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}" if status.st_rdev else None


def _unescape(text: str) -> str:
    """Undo the octal escapes of /proc (`\\040` for a space)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
