"""Disks of the small guest, what it should report, and what it did report; see README.md beside this file."""

import json
import random
import subprocess
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

SECTOR = 512
_MARKER, MODE_AT = 8 * SECTOR, 8 * SECTOR + 63  # bytes of the system disk
SEQUENCE_AT = 10 * SECTOR  # byte of both disks: the number that a guest in mode W writes, 4 bytes, little endian
_SUMMED_FROM = 16 * SECTOR  # byte of the data disk at which its checksum begins
MIB = 1 << 20


@dataclass(frozen=True)
class Report:
    """What a guest said about itself; the fields are its lines."""

    marker: str
    boots: int
    data: int | None  # CRC-32; None: it had no data disk
    ready: bool

    @classmethod
    def last_of(cls, serial: str) -> "Report | None":
        """Read the last report in what a guest wrote to its serial line; None if there is none."""
        lines = serial.replace("\r", "").rpartition("MG-MARKER ")
        if not lines[1]:
            return None
        said = dict(line.partition(" ")[::2] for line in (lines[1] + lines[2]).splitlines() if line.startswith("MG-"))
        data = said.get("MG-DATA", "")
        return cls(
            marker=said["MG-MARKER"], boots=int(said.get("MG-BOOT") or "0", 16),
            data=int(data, 16) if data not in ("", "none") else None, ready="MG-READY" in said,
        )  # fmt: skip


def make_system_disk(path: Path, marker: str, mode: str = "R", size: int = 4 * MIB) -> None:
    """Write a bootable system disk of *size* bytes, sparse."""
    with path.open("wb") as file:
        file.write(files("restead.drivers.images").joinpath("microguest.bin").read_bytes())
        file.seek(_MARKER)
        file.write(marker.encode()[:55])
        file.truncate(size)
    set_mode(path, mode)


def set_mode(path: Path, mode: str) -> None:
    """Say what the guest does after its report: R powers off, H idles, W writes."""
    with path.open("r+b") as file:
        file.seek(MODE_AT)
        file.write(mode.encode())


def make_data_disk(path: Path, size: int = 8 * MIB, seed: int = 1) -> None:
    """Write a data disk of *size* bytes: a quarter of random bytes in it, holes around them."""
    with path.open("wb") as file:
        file.seek(size // 8)
        file.write(random.Random(seed).randbytes(size // 4))
        file.truncate(size)


def expected_data(path: Path) -> int:
    """Return the checksum that the guest should report for this data disk."""
    total = 0
    with path.open("rb") as file:
        file.seek(_SUMMED_FROM)
        while piece := file.read(MIB):
            total = zlib.crc32(piece, total)
    return total


def boot(
    *disks: Path, limit: float = 20, qemu: str = "qemu-system-x86_64", format: str = "raw"
) -> Report | None:
    """Boot a guest in mode R on these disks, without restead, until it ends; None: it did not report.

    Where no disk boots, QEMU ends by itself after a moment.
    """
    command = [qemu, "-accel", "tcg", "-m", "16", "-nodefaults", "-no-reboot", "-boot", "reboot-timeout=200",
               "-display", "none", "-serial", "stdio"]  # fmt: skip
    for number, disk in enumerate(disks):
        node = {"driver": format, "node-name": f"d{number}", "file": {"driver": "file", "filename": str(disk)}}
        command += ["-blockdev", json.dumps(node), "-device", f"virtio-blk-pci,drive=d{number},bootindex={number}"]
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return None
    if ended.returncode != 0:
        raise RuntimeError(f"QEMU ended with status {ended.returncode}: {ended.stderr.decode(errors='replace')}")
    return Report.last_of(ended.stdout.decode(errors="replace"))


def await_report(
    log: Path, wanted: Callable[[Report], bool] = lambda report: report.ready, limit: float = 30
) -> Report:
    """Wait until the last report in a server's serial log is as *wanted*; raise TimeoutError with what it holds."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        text = log.read_text(errors="replace") if log.exists() else ""
        if (report := Report.last_of(text)) and wanted(report):
            return report
        time.sleep(0.02)
    raise TimeoutError(f"{log} holds no report as wanted after {limit:g} s; its end: {text[-200:]!r}")
