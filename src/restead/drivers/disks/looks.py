"""What a disk's first bytes look like, to warn an operator who may have forgotten to say so; never to decide by."""

import os
import shlex
from pathlib import Path

from restead.drivers.disks.backing import Backing, open_backing

_BEGINNINGS = {b"QFI\xfb": "qcow2", b"KDMV": "vmdk", b"COWD": "vmdk", b"vhdxfile": "vhdx", b"conectix": "vpc"}
_VDI_AT, _VDI = 0x40, b"\x7f\x10\xda\xbe"


def looks_like(backing: Backing) -> str:
    """Return the format whose mark stands where that format has it, as qemu-img calls it; "" if none does."""
    try:
        fd = open_backing(backing, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:  # whoever opens it to read it says why it cannot be
        return ""
    try:
        first = os.pread(fd, 512, 0)
    finally:
        os.close(fd)
    if first[_VDI_AT:].startswith(_VDI):
        return "vdi"
    return next((name for mark, name in _BEGINNINGS.items() if first.startswith(mark)), "")


def how_to_convert(format: str, path: Path) -> str:
    """Return what an operator can do about a disk of another format."""
    there, made = shlex.quote(str(path)), shlex.quote(f"{path}.raw")
    return f"restead reads raw and qcow2 disks, make one: qemu-img convert -f {format} -O raw {there} {made}"
