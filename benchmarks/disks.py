"""Seeded disks to measure with, and the same disks a day later.

`python -m benchmarks.disks --kind db --size-mib 2048 --seed 1 --out day1.img --next day2.img`

Kinds:
    sys: an ext4 file system of real files of this machine, six tenths full, a sixth of that incompressible.
    db:  16 KiB pages as databases write them: three quarters rows (about 3:1), 15 % zeroes, 10 % random.

A db disk is the same everywhere; a sys disk depends on which files the machine has.  A day later 3 % of the
64 KiB pieces have changed, four of five changes alone, the others in runs of 8 to 56 pieces.
"""

import argparse
import os
import random
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from benchmarks.steps import SHARE

MIB = 1 << 20
PIECE = 64 << 10  # bytes: the unit in which days differ
PAGE = 16 << 10  # bytes: a database page
KINDS = ("sys", "db")
DISK = "disk.img"  # name of a disk in the folder of its day, and where it is restored

_FILL, _MEDIA = 0.60, 0.10  # share of a sys disk that holds files; share that holds incompressible ones
_FOLDERS = ("/usr/bin", "/usr/lib", "/usr/share", "/usr/sbin", "/usr/include", "/etc", "/var/lib/dpkg")
_ROWS, _ROW = 96, 20  # rows in a page; 8-byte words in a row
_WORDS = 20_000
_BLOCK = 4096  # bytes: the least that a restore in place writes

Words = NDArray[np.uint64]


def make_disk(kind: str, path: Path, size: int, seed: int) -> None:
    """Write a disk of *size* bytes, a multiple of 64 KiB."""
    if kind == "sys":
        _make_system_disk(path, size, seed)
    else:
        _make_database_disk(path, size, seed)


def make_next_day(kind: str, day1: Path, day2: Path, seed: int) -> None:
    """Write the same disk with some of its pieces changed."""
    copy_with_holes(day1, day2)
    _change(kind, day1, day2, seed * 7919 + 1)


def make_changes(kind: str, day: Path, changes: Path, seed: int) -> None:
    """Write what may be changed on a disk: a file that holds the changed pieces, and holes everywhere else."""
    with changes.open("wb") as file:
        file.truncate(day.stat().st_size)
    _change(kind, day, changes, seed * 7919 + 2)


def _change(kind: str, day: Path, path: Path, seed: int) -> None:
    """Write changes of *day* to *path*."""
    chance, generator = random.Random(seed), _generator(seed)
    pieces = sorted(_changed_pieces(kind, day, chance, SHARE))
    pool = _file_bytes(chance, 64 * MIB) if kind == "sys" else b""
    with path.open("r+b") as disk:
        for piece in pieces:
            disk.seek(piece * PIECE)
            if kind == "sys":
                at = chance.randrange(len(pool) - PIECE)
                disk.write(generator.bytes(16) + pool[at + 16 : at + PIECE])
            else:
                disk.write(_row_pages(generator, PIECE // PAGE))


def apply(changes: Path, disk: Path) -> None:
    """Write changes onto a disk."""
    with changes.open("rb") as source, disk.open("r+b") as target:
        _copy_data(changes, source, target)


def differing(one: Path, other: Path, stretches: Iterable[tuple[int, int]]) -> int:
    """Return how many bytes the 4 KiB pieces hold that differ between two disks, in stretches from start to end."""
    count = 0
    with one.open("rb") as first, other.open("rb") as second:
        for start, end in stretches:
            for at in range(start, end, 4 * MIB):
                pieces = [_blocks(file, at, min(4 * MIB, end - at)) for file in (first, second)]
                count += int((pieces[0] != pieces[1]).any(axis=1).sum()) * _BLOCK
    return count


def _blocks(file: BinaryIO, at: int, length: int) -> Words:
    file.seek(at)
    return np.frombuffer(file.read(length), np.uint64).reshape(-1, _BLOCK // 8)


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def _make_system_disk(path: Path, size: int, seed: int) -> None:
    with tempfile.TemporaryDirectory(prefix="stage-", dir=path.parent) as stage:
        _fill_stage(Path(stage), size, seed)
        path.write_bytes(b"")
        os.truncate(path, size)
        uuid = "11111111-2222-3333-4444-555555555555"
        options = ["-m", "0", "-E", f"lazy_itable_init=0,lazy_journal_init=0,hash_seed={uuid}", "-U", uuid]
        environment = {**os.environ, "E2FSPROGS_FAKE_TIME": "1700000000"}
        subprocess.run(
            ["/usr/sbin/mke2fs", "-q", "-t", "ext4", *options, "-d", stage, path], check=True, env=environment
        )


def _fill_stage(stage: Path, size: int, seed: int) -> None:
    chance, generator = random.Random(seed), _generator(seed)
    wanted = int(size * (_FILL - _MEDIA))
    for file, length in _machine_files(chance):
        wanted -= (length + 4095) & ~4095
        if wanted < 0:
            break
        copy = stage / file.relative_to("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    media = stage / "srv"
    media.mkdir()
    left = int(size * _MEDIA)
    while left > 0:
        length = min(left, chance.randrange(1, 16) * MIB)
        (media / f"{left}.bin").write_bytes(generator.bytes(length))
        left -= length


def _machine_files(chance: random.Random) -> Iterator[tuple[Path, int]]:
    """Yield readable files of this machine and their sizes in bytes, in a seeded order."""
    files: list[Path] = []
    for top in _FOLDERS:
        for folder, subfolders, names in os.walk(top):
            subfolders.sort()
            files.extend(Path(folder, name) for name in sorted(names))
    chance.shuffle(files)
    for file in files:
        status = file.lstat()
        if stat.S_ISREG(status.st_mode) and 0 < status.st_size < 64 * MIB and os.access(file, os.R_OK):
            yield file, status.st_size


def _file_bytes(chance: random.Random, length: int) -> bytes:
    pool = bytearray()
    for file, _ in _machine_files(chance):
        pool += file.read_bytes()
        if len(pool) >= length:
            break
    return bytes(pool[:length])


def _make_database_disk(path: Path, size: int, seed: int) -> None:
    generator, left = _generator(seed), size // PAGE
    with path.open("wb") as disk:
        while left:
            count = min(left, int(generator.integers(1, 257)))
            kind = generator.random()
            if kind < 0.75:
                disk.write(_row_pages(generator, count))
            else:
                disk.write(bytes(count * PAGE) if kind < 0.90 else generator.bytes(count * PAGE))
            left -= count


def _vocabulary() -> Words:
    """Words of 3 to 7 letters, padded with blanks to 8 bytes."""
    generator = _generator(77)
    words = (bytes(generator.integers(97, 123, int(generator.integers(3, 8))).astype(np.uint8)) for _ in range(_WORDS))
    return np.frombuffer(b"".join(word.ljust(8) for word in words), np.uint64)


_VOCABULARY = _vocabulary()


def _row_pages(generator: np.random.Generator, count: int) -> bytes:
    """Pages with a header and rows of ids, times, words and tokens, their tails free."""
    pages = np.zeros((count, PAGE // 8), np.uint64)
    pages[:, 0] = generator.integers(0, 1 << 63, count).astype(np.uint64)  # log position
    pages[:, 1] = np.arange(count, dtype=np.uint64)
    rows = pages[:, 5 : 5 + _ROWS * _ROW].reshape(count, _ROWS, _ROW)
    first = generator.integers(1, 1 << 40, (count, 1)).astype(np.uint64)
    ids = np.cumsum(generator.integers(1, 4, (count, _ROWS)), axis=1).astype(np.uint64) + first
    rank = (generator.pareto(1.1, (count, _ROWS, 10)) * 40).astype(np.int64)  # few words are frequent
    words = np.minimum(rank, _WORDS - 1)
    rows[:, :, 0] = ids
    rows[:, :, 1] = np.uint64(1_700_000_000_000_000) + ids * np.uint64(977)  # microseconds
    rows[:, :, 2] = generator.integers(0, 1 << 16, (count, _ROWS)).astype(np.uint64)
    rows[:, :, 3:13] = _VOCABULARY[words]
    rows[:, :, 13:15] = generator.integers(0, 1 << 63, (count, _ROWS, 2)).astype(np.uint64)  # tokens: incompressible
    rows[:, :, 15] = generator.integers(0, 5000, (count, _ROWS)).astype(np.uint64)
    rows[:, :, 16:18] = _VOCABULARY[words[:, :, :2]]
    free = np.arange(_ROWS)[None, :] >= generator.integers(60, 97, count)[:, None]
    rows[free] = 0
    pages[:, 5 : 5 + _ROWS * _ROW] = rows.reshape(count, _ROWS * _ROW)
    return pages.tobytes()


def _changed_pieces(kind: str, disk: Path, chance: random.Random, share: float) -> set[int]:
    count = disk.stat().st_size // PIECE
    places = sorted({piece for start, end in data_extents(disk) for piece in range(start // PIECE, -(-end // PIECE))})
    if kind == "sys":
        places += chance.sample(range(count), count // 10)  # new files land in free space too
    changed: set[int] = set()
    while len(changed) < int(count * share):
        run = 1 if chance.random() < 0.8 else chance.randrange(8, 57)
        first = chance.choice(places)
        wanted = int(count * share) - len(changed)
        changed.update([p for p in range(first, min(first + run, count)) if p not in changed][:wanted])
    return changed


def data_extents(path: Path) -> Iterator[tuple[int, int]]:
    """Yield (start, end) in bytes of the stretches of a file that are no holes."""
    with path.open("rb") as file:
        size, at = os.fstat(file.fileno()).st_size, 0
        while at < size:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole is left
                return
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            yield start, at


def copy_with_holes(path: Path, copy: Path) -> None:
    with path.open("rb") as source, copy.open("wb") as target:
        target.truncate(path.stat().st_size)
        _copy_data(path, source, target)


def _copy_data(path: Path, source: BinaryIO, target: BinaryIO) -> None:
    for start, end in data_extents(path):
        source.seek(start)
        target.seek(start)
        while (left := end - source.tell()) > 0:
            target.write(source.read(min(left, 4 * MIB)))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.disks", description=__doc__)
    parser.add_argument("--kind", required=True, choices=KINDS)
    parser.add_argument("--size-mib", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="the disk")
    parser.add_argument("--next", type=Path, help="the disk a day later")
    wanted = parser.parse_args()
    make_disk(wanted.kind, wanted.out, wanted.size_mib * MIB, wanted.seed)
    if wanted.next:
        make_next_day(wanted.kind, wanted.out, wanted.next, wanted.seed)


if __name__ == "__main__":
    main()
