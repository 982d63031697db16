"""The server's two disks: how they are made, destroyed, and compared."""

import hashlib
import os
import random
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from demo.stage import NotProven, prove

MIB = 1 << 20
SECTOR = 512
SYSTEM_SIZE = 64 * MIB
DATA_SIZE = 256 * MIB
MARKER = "web-1 in good health"
COUNTER = 9 * SECTOR  # where the guest keeps its boot counter: 4 bytes, little end first
_MARKER_AT = 8 * SECTOR
_MODE_AT = _MARKER_AT + 63
_CHECKSUM_FROM = 16 * SECTOR  # the guest's checksum of its second disk begins here
_PIECE = 4 * MIB


def make_system(path: Path) -> None:
    """A bootable disk: the small guest, the marker it reports, and a system's worth of other bytes."""
    rng = random.Random(1)
    with path.open("wb") as disk:
        disk.write(files("restead.drivers.images").joinpath("microguest.bin").read_bytes())
        disk.seek(_MARKER_AT)
        disk.write(MARKER.encode())
        disk.seek(_MODE_AT)
        disk.write(b"H")  # report, then idle until the power button is pressed
        for place in range(2, 40, 3):
            disk.seek(place * MIB)
            disk.write(rng.randbytes(MIB))
        disk.truncate(SYSTEM_SIZE)


def make_data(path: Path, folder: Path) -> dict[str, str]:
    """A disk with an ext4 file system that holds real files; returns their checksums by name."""
    sums = _make_files(folder)
    with path.open("wb") as disk:
        disk.truncate(DATA_SIZE)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-L", "web-1-data", "-d", str(folder), str(path))
    shutil.rmtree(folder)
    return sums


def make_plain_data(path: Path) -> None:
    """A data disk without a file system, where mke2fs is missing."""
    rng = random.Random(2)
    with path.open("wb") as disk:
        for place in range(1, 200, 3):
            disk.seek(place * MIB)
            disk.write(rng.randbytes(MIB))
        disk.truncate(DATA_SIZE)


def _make_files(folder: Path) -> dict[str, str]:
    """A small web site, its log, and a database: text, repetition, and bytes that do not compress."""
    rng = random.Random(3)
    words = ["server", "backup", "restore", "page", "order", "customer", "garden", "river", "winter", "light"]
    for number in range(400):
        page = folder / "site" / f"{number % 20:02}" / f"page-{number:03}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("<p>" + " ".join(rng.choices(words, k=rng.randrange(200, 4000))) + "</p>\n")
    log = (f"10:{n % 60:02}:00 GET /site/page-{n % 400:03}.html 200\n" for n in range(300_000))
    (folder / "access.log").write_text("".join(log))
    database = folder / "orders.db"
    with database.open("wb") as file:
        for _ in range(120):
            file.write(rng.randbytes(MIB))
        file.seek(16 * MIB, os.SEEK_CUR)  # a hole, as databases have
        file.write(rng.randbytes(MIB))
    return {str(path.relative_to(folder)): _sum_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def keep(disk: Path, copy: Path) -> None:
    """Keep a copy to compare with at the end."""
    run("cp", "--sparse=always", "--reflink=auto", str(disk), str(copy))


def checksum(disk: Path) -> str:
    """What the guest has to report about its second disk: the CRC-32 from sector 16 on, as it prints it."""
    crc = 0
    with disk.open("rb") as file:
        file.seek(_CHECKSUM_FROM)
        while piece := file.read(_PIECE):
            crc = zlib.crc32(piece, crc)
    return f"{crc:08x}"


def destroy(system: Path, data: Path) -> int:
    """Overwrite, zero and fill holes of both disks; returns how many bytes were written."""
    rng, written = random.Random(4), 0
    for path, size in ((system, SYSTEM_SIZE), (data, DATA_SIZE)):
        with path.open("r+b") as disk:
            disk.write(rng.randbytes(MIB))  # the beginning: boot record, superblock
            written += MIB
            for _ in range(24):
                disk.seek(rng.randrange(size // MIB) * MIB + rng.choice((0, 12_345)))
                piece = rng.randbytes(MIB // 2) if rng.random() < 0.7 else bytes(MIB // 2)
                written += disk.write(piece[: size - disk.tell()])
            os.fsync(disk.fileno())
    return written


def differences(one: Path, other: Path) -> Iterator[int]:
    """Yield every offset at which two files differ."""
    prove(one.stat().st_size == other.stat().st_size, f"{one.name} has {one.stat().st_size} bytes, not as before")
    at = 0
    with one.open("rb") as left, other.open("rb") as right:
        while piece := left.read(_PIECE):
            same = right.read(_PIECE)
            if piece != same:
                yield from (at + place for place in range(len(piece)) if piece[place] != same[place])
            at += len(piece)


def prove_equal(disk: Path, copy: Path) -> None:
    different = next(differences(disk, copy), None)
    prove(different is None, f"{disk.name} differs from what was backed up at byte {different}")


def prove_equal_but_counter(disk: Path, copy: Path) -> tuple[int, int]:
    """Every byte is as backed up, but that the guest has counted its new boot; returns the counter before and after.

    The server was started after its restore, and a machine that runs writes to its disk.  So the proof is:
    the four bytes of the counter say exactly one more, and no other byte of the disk differs.
    """
    outside = [at for at in differences(disk, copy) if not COUNTER <= at < COUNTER + 4]
    prove(not outside, f"{disk.name} differs from what was backed up at byte {outside[:1]}")
    before, after = counter(copy), counter(disk)
    prove(after == before + 1, f"the boot counter was {before} when backed up and is {after}, not {before + 1}")
    return before, after


def counter(disk: Path) -> int:
    with disk.open("rb") as file:
        file.seek(COUNTER)
        return int.from_bytes(file.read(4), "little")


def is_clean(data: Path) -> bool:
    """Whether e2fsck, which is not allowed to repair anything, finds the file system in order."""
    checked = subprocess.run([program("e2fsck"), "-f", "-n", data], capture_output=True, check=False)
    return checked.returncode == 0


def sums_in(data: Path, folder: Path) -> dict[str, str]:
    """Take all files out of the file system and return their checksums by name."""
    folder.mkdir()
    run("debugfs", "-R", f"rdump / {folder}", str(data))
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): _sum_of(path) for path in found}


def _sum_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def program(name: str) -> str:
    """Where a program is; also in the folders that only root has on the path.  Raises NotProven if it is missing."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise NotProven(f"{name} is not installed")
    return found


def has(name: str) -> bool:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def run(name: str, *arguments: str) -> None:
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, check=False)
    prove(done.returncode == 0, f"{name} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
