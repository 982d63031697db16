"""Random histories of a disk: what is written, zeroed, trimmed, grown, shrunk, backed up and restored.

Each history follows from its seed alone.  Beside every disk a plain `bytes` says what must be on it.
"""

import os
import random
import tempfile
from pathlib import Path

from tests.fakes.disks import FileDisk, MemoryDisk
from tests.repository.house import PROJECT, House

from restead.domain.ids import ManifestId
from restead.repository import Repository

LARGEST = 700_000  # bytes of a disk: more than one leaf page of 512-byte chunks


class History:
    """One disk, its backups, and what they must restore to."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self._random = random.Random(seed)
        self._folder = folder
        chunk_size = self._random.choice([512, 512, 1024, 4096, 4096, 4096, 65536, 262144])
        self.house = House(folder, chunk_size=chunk_size, threads=self._random.choice([1, 2, 3]))
        self._repository: Repository = self.house.repository
        self._on_files = self._random.random() < 0.25
        self._chunk = chunk_size
        self._model = bytearray(self._size())
        self.disk = self._new_disk(len(self._model))
        self.backups: dict[ManifestId, bytes] = {}

    def run(self) -> None:
        """Live through the history.  Raises AssertionError, naming the seed, at the first wrong byte."""
        for _ in range(self._random.randint(1, 4)):
            for _ in range(self._random.randint(0, 6)):
                self._change()
            self._back_up()
            if self._random.random() < 0.2:
                self._repository = self.house.open(fresh_cache=self._random.random() < 0.7)
            if self._random.random() < 0.1 and len(self.backups) > 1:
                self._delete()
        for manifest in self._random.sample(sorted(self.backups), min(2, len(self.backups))):
            self._restore(manifest)

    def _size(self) -> int:
        kind = self._random.random()
        if kind < 0.03:
            return 0
        size = self._random.randint(1, LARGEST if kind < 0.3 else 60_000)
        return size if self._random.random() < 0.3 else max(512, size // 512 * 512)

    def _new_disk(self, size: int) -> FileDisk | MemoryDisk:
        if self._on_files:
            return FileDisk(self._folder / f"disk-{os.urandom(6).hex()}", size)
        return MemoryDisk(size, all_data=self._random.random() < 0.2)

    def _change(self) -> None:
        deeds = [self._write, self._write, self._write, self._zero, self._write_zeroes, self._copy, self._resize]
        self._random.choice(deeds)()

    def _stretch(self) -> tuple[int, int]:
        """Return offset and length of a piece, often aligned to chunks."""
        size = len(self._model)
        if size == 0:
            return 0, 0
        offset = self._random.randrange(size)
        length = min(self._random.choice([1, 512, self._chunk, 3 * self._chunk, 50_000]), size - offset)
        if self._random.random() < 0.5:
            offset = offset // self._chunk * self._chunk
            length = min(max(length // self._chunk, 1) * self._chunk, size - offset)
        return offset, length

    def _put(self, offset: int, data: bytes) -> None:
        if data:
            self.disk.write_at(offset, data)
            self._model[offset : offset + len(data)] = data

    def _write(self) -> None:
        offset, length = self._stretch()
        alphabet = self._random.choice([b"\1", b"ab", None])
        data = self._random.randbytes(length) if alphabet is None else (alphabet * length)[:length]
        self._put(offset, data)

    def _write_zeroes(self) -> None:
        offset, length = self._stretch()
        self._put(offset, bytes(length))

    def _copy(self) -> None:
        offset, length = self._stretch()
        source = self._random.randrange(len(self._model) + 1) // self._chunk * self._chunk
        self._put(offset, bytes(self._model[source : source + length])[: len(self._model) - offset])

    def _zero(self) -> None:
        offset, length = self._stretch()
        if length:
            self.disk.zero_at(offset, length)
            self._model[offset : offset + length] = bytes(length)

    def _resize(self) -> None:
        size = self._size()
        self.disk.resize(size)
        self._model = self._model[:size].ljust(size, b"\0")

    def _back_up(self) -> None:
        parents = sorted(self.backups)
        parent = self._random.choice(parents) if parents and self._random.random() < 0.7 else None
        manifest = self.house.save(self.disk, parent, repository=self._repository)
        self.backups[manifest] = bytes(self._model)

    def _delete(self) -> None:
        manifest = self._random.choice(sorted(self.backups))
        self._repository.delete([manifest])
        del self.backups[manifest]

    def _restore(self, manifest: ManifestId) -> None:
        wanted = self.backups[manifest]
        target, new = self._target(wanted)
        with self._repository.session(PROJECT, label="restore", reads=[manifest]) as session:
            session.restore(manifest, target, target_is_new=new and self._random.random() < 0.5)
        expected = wanted + bytes(target.size - len(wanted))
        assert expected == target.data, f"seed {self.seed}: manifest {manifest} came back with other bytes"

    def _target(self, wanted: bytes) -> tuple[FileDisk | MemoryDisk, bool]:
        kind = self._random.choice(["new", "dirty", "same", "larger", "present"])
        size = len(wanted) + (self._random.randint(0, 100_000) if kind == "larger" else 0)
        target = self._new_disk(size)
        if kind == "new" or size == 0:
            return target, True
        if kind == "same":
            target.write_at(0, wanted)
        elif kind == "present":
            target.write_at(0, bytes(self._model[:size]) or b"x")
        else:
            target.write_at(0, self._random.randbytes(size))
        return target, False


def live_through(seed: int) -> None:
    """Live through the history of that seed in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="restead-history-", dir=_memory_folder()) as folder:
        History(seed, Path(folder)).run()


def _memory_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
