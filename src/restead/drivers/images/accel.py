"""How QEMU runs a guest here: by the processor (kvm) or by translation (tcg).

That /dev/kvm exists, opens and even makes a machine proves nothing (hosts that are guests themselves), and QEMU cannot
fall back once it has begun.  So `auto` boots a guest of 2 KiB with kvm and believes what it prints.
"""

import json
import os
import shutil
import subprocess
import tempfile
import threading
from enum import StrEnum
from importlib.resources import files
from pathlib import Path

from restead.domain.errors import Unavailable

_LIMIT = 3.0  # seconds for the small guest; it takes 0.1 s by translation
_DISK = 1 << 20  # bytes
_MODE = 8 * 512 + 63  # byte of the small guest's disk that says what it does


class Accel(StrEnum):
    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class Accelerator:
    """Chooses once in each process, and remembers the proof in a small file until the machine boots again."""

    def __init__(self, choice: Accel, binary: str, memory: Path, device: Path = Path("/dev/kvm")) -> None:
        self._choice = choice
        self._binary = binary
        self._memory = memory
        self._device = device
        self._lock = threading.Lock()
        self._proven: Accel | None = None

    def program(self) -> str:
        """Return the path of QEMU's program.  Raises Unavailable, naming what to install."""
        path = shutil.which(self._binary)
        if path is None:
            raise Unavailable(f"program {self._binary} was not found: install QEMU (Debian: qemu-system-x86)")
        return path

    def accel(self) -> Accel:
        """Return KVM or TCG.  Raises Unavailable if QEMU is missing."""
        if self._choice is not Accel.AUTO:
            return self._choice
        with self._lock:
            if self._proven is None:
                self._proven = self._prove()
            return self._proven

    def _prove(self) -> Accel:
        key = self._key()
        try:
            remembered = json.loads(self._memory.read_bytes())
            if remembered["key"] == key:
                return Accel(remembered["accel"])
        except (OSError, ValueError, KeyError, TypeError):  # not remembered, or not so that it can be read
            pass
        usable = os.access(self._device, os.R_OK | os.W_OK) and boots(self.program(), Accel.KVM)
        proven = Accel.KVM if usable else Accel.TCG
        self._remember({"key": key, "accel": proven.value})
        return proven

    def _key(self) -> list[object]:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        program = Path(self.program())
        return [boot, str(program), program.stat().st_mtime_ns, os.geteuid()]

    def _remember(self, what: dict[str, object]) -> None:
        try:
            with tempfile.NamedTemporaryFile("w", dir=self._memory.parent, delete=False) as file:
                json.dump(what, file)
            Path(file.name).rename(self._memory)
        except OSError:  # then it is proven again by the next process
            return


def boots(program: str, accel: Accel) -> bool:
    """Tell whether the small guest boots and reports within 3 s."""
    with tempfile.TemporaryDirectory(prefix="restead-") as folder:
        disk = Path(folder) / "probe.raw"
        with disk.open("wb") as file:
            file.write(files("restead.drivers.images").joinpath("microguest.bin").read_bytes())
            file.seek(_MODE)
            file.write(b"R")  # report, then power off
            file.truncate(_DISK)
        command = [program, "-accel", accel.value, "-cpu", "max", "-m", "16", "-nodefaults", "-no-reboot",
                   "-display", "none", "-serial", "stdio",
                   "-drive", f"file={disk},format=raw,if=virtio"]  # fmt: skip
        try:
            ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   timeout=_LIMIT, check=False)
        except subprocess.TimeoutExpired:
            return False
        return b"MG-READY" in ended.stdout
