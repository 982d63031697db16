"""Random damage to a small repository: verification at the right depth finds all of it, no restore gives other bytes.

Bits are flipped, objects cut, exchanged and deleted.  What a scrub can see is found by a scrub; what only the keys
show, exchanged objects and missing ones, by looking at the structure; and everything by a full verification.
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.house import PROJECT, House

from restead.domain.errors import Damaged, ResteadError
from restead.domain.ids import ManifestId
from restead.domain.verification import Depth
from restead.drivers.blobs.memory import MemoryBlobs
from restead.repository import Repository, scrub

CASES = int(os.environ.get("RESTEAD_FUZZ", "1500"))
PARTS = 4
_FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None


class Small:
    """A repository that was made once; each case damages a copy of its objects."""

    def __init__(self, folder: Path) -> None:
        luck = random.Random(7)
        self.house = House(folder, threads=1)
        first = MemoryDisk.of(luck.randbytes(30_000) + bytes(20_000) + b"text " * 4000)
        self.wanted: dict[ManifestId, bytes] = {}
        full = self.house.save(first)
        self.wanted[full] = first.data
        first.write_at(8192, luck.randbytes(5000))
        self.wanted[self.house.save(first, full)] = first.data
        other = MemoryDisk.of(b"other" * 2000 + luck.randbytes(10_000))
        self.wanted[self.house.save(other)] = other.data
        self.objects = {name: self.house.store.get(name) for name, _ in self.house.store.list("")}
        self.names = sorted(self.objects)

    def store(self, objects: dict[str, bytes]) -> MemoryBlobs:
        store = MemoryBlobs()
        store._objects = dict(objects)
        return store

    def open(self, store: MemoryBlobs) -> Repository:
        """Open it with its cache, which shows what a stranger's would not: entries that are missing at the end."""
        cache = self.house.folder / "cache-1"  # of the writer
        return Repository.open(store, self.house.key, cache=cache, scratch=self.house.folder, window=self.house.window)

    @contextmanager
    def stranger(self, store: MemoryBlobs) -> Iterator[Repository]:
        """Open it with a cache that is removed again."""
        with TemporaryDirectory(dir=self.house.folder) as cache:
            yield Repository.open(
                store, self.house.key, cache=Path(cache), scratch=self.house.folder, window=self.house.window
            )


def harmed(small: Small, luck: random.Random) -> tuple[str, dict[str, bytes]]:
    """Return what was done, and all objects afterwards; at least one differs."""
    objects = dict(small.objects)
    # Packs are many more bytes than the rest, and few objects: both are picked from.
    pool = [name for name in small.names if name.startswith("packs/")] if luck.random() < 0.5 else small.names
    name = luck.choice(pool)
    data = objects[name]
    what = luck.choice(("flip", "flip", "flip", "cut", "exchange", "delete"))
    if what == "flip":
        changed = bytearray(data)
        changed[luck.randrange(len(data))] ^= 1 << luck.randrange(8)
        objects[name] = bytes(changed)
    elif what == "cut":
        objects[name] = data[: luck.randrange(len(data))]
    elif what == "exchange":
        kind = name.split("/")[0]
        others = [other for other in small.names if other != name and other.startswith(f"{kind}/")]
        other = luck.choice(others or [each for each in small.names if each != name])
        objects[name], objects[other] = objects[other], objects[name]
    else:
        del objects[name]
    return what, objects


def is_found(small: Small, objects: dict[str, bytes], depth: Depth) -> bool:
    """Tell whether opening the repository or looking at it says that something is wrong."""
    try:
        found = small.open(small.store(objects)).inspect(depth, restart=True)
    except Damaged:
        return True
    except ResteadError:
        return not any(name.startswith("keyring/") for name in objects)  # no keyring: no repository
    return bool(found.findings or found.disks)


def restored(small: Small, objects: dict[str, bytes]) -> Iterator[bool]:
    """Restore everything: yield whether it was refused.  A success with other bytes fails the test."""
    store = small.store(objects)
    for manifest, wanted in small.wanted.items():
        target = MemoryDisk(len(wanted))
        try:
            with small.stranger(store) as repository:
                with repository.session(PROJECT, label="restore", reads=[manifest]) as session:
                    session.restore(manifest, target)
        except ResteadError:
            yield True
        else:
            assert wanted == target.data, f"manifest {manifest} came back with other bytes"
            yield False


@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(PARTS))
def test_all_damage_is_found_and_none_passes_a_restore(part: int) -> None:
    with TemporaryDirectory(dir=_FAST, prefix="restead-test-") as folder:
        _find_all_damage(part, Small(Path(folder)))


def _find_all_damage(part: int, small: Small) -> None:
    met: dict[str, int] = {}
    refused = 0
    for case in range(part, CASES, PARTS):
        luck = random.Random(case)
        what, objects = harmed(small, luck)
        met[what] = met.get(what, 0) + 1
        # An index object says nothing that is not in packs: a missing one is made again, and is no damage.
        hint = what == "delete" and not any(
            name not in objects for name in small.names if not name.startswith("index/")
        )
        by_scrub = bool(list(scrub(small.store(objects))))
        if what in ("flip", "cut"):
            assert by_scrub, f"case {case}: a scrub did not see it"
        if not hint:
            assert is_found(small, objects, Depth.FULL), f"case {case}: {what} was not found"
            if case % 5 == 0:
                assert is_found(small, objects, Depth.OBJECTS), f"case {case}: {what} was not found by hashing"
        if not by_scrub and not hint:
            assert is_found(small, objects, Depth.STRUCTURE), f"case {case}: {what} was not found in the structure"
        refused += any(restored(small, objects))
    assert set(met) == {"flip", "cut", "exchange", "delete"}
    assert refused > 0
