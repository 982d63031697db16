"""Collection where the store lets some packs not go: it says so, loses nothing, and finishes when it may."""

from pathlib import Path

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.house import House

from restead.domain.errors import Unavailable
from restead.domain.ids import ManifestId
from restead.drivers.blobs.memory import MemoryBlobs

CHUNK = 4096


class LockingBlobs(MemoryBlobs):
    """Deletes nothing that is locked.  *tells*: it says what is, as S3 does for who may ask."""

    def __init__(self, *, tells: bool = True) -> None:
        super().__init__()
        self.locked: dict[str, str] = {}
        self.tells = tells
        self.refused = 0

    def delete(self, name: str) -> None:
        if name in self.locked:
            self.refused += 1
            raise Unavailable(f"{name} cannot be deleted: 403 Forbidden")
        super().delete(name)

    def locked_until(self, name: str) -> str:
        return self.locked.get(name, "") if self.tells else ""

    def packs(self) -> set[str]:
        return {name for name, _ in self.list("packs/")}


_KEPT = bytes(range(256)) * 16 * 8


def _house(tmp_path: Path, store: LockingBlobs) -> tuple[House, ManifestId]:
    """A house of three backups that share nothing; two of them are deleted, and of one the pack is locked."""
    house = House(tmp_path, store=store)
    kept = house.save(MemoryDisk.of(_KEPT))
    before = store.packs()
    locked = house.save(MemoryDisk.of(b"l" * 8 * CHUNK))
    store.locked = dict.fromkeys(store.packs() - before, "2031-01-01T00:00:00Z")
    free = house.save(MemoryDisk.of(b"f" * 8 * CHUNK))
    house.repository.delete([locked, free])
    return house, kept


def test_a_locked_pack_is_left_and_tried_again_later(tmp_path: Path) -> None:
    """What was condemned with it goes at once; each later round asks once; then it goes, and the log has it done."""
    store = LockingBlobs()
    house, _ = _house(tmp_path, store)
    done = house.repository.collect()
    assert (done.condemned, done.removed, done.locked, done.locked_until) == (2, 1, 1, "2031-01-01T00:00:00Z")
    assert store.locked.keys() <= store.packs()
    assert len(house.repository.log.refresh().condemnations) == 1

    other = house.save(MemoryDisk.of(b"o" * 8 * CHUNK))
    house.repository.delete([other])
    refused = store.refused
    done = house.open(fresh_cache=False).collect()  # a lock holds nothing up but what it locks
    assert (done.condemned, done.removed, done.locked, store.refused - refused) == (1, 1, 1, 1)

    store.locked = {}
    done = house.open().collect()
    assert (done.condemned, done.removed, done.locked) == (0, 1, 0)
    assert house.repository.log.refresh().condemnations == {}
    assert len(store.packs()) == 1


def test_what_a_locked_pack_holds_is_not_built_on(tmp_path: Path) -> None:
    """The same bytes again are stored again, since the pack goes one day; then both backups are whole without it."""
    store = LockingBlobs()
    house, kept = _house(tmp_path, store)
    house.repository.collect()
    again = house.save(MemoryDisk.of(b"l" * 8 * CHUNK))
    store.locked = {}
    assert house.repository.collect().removed == 1
    for manifest, wanted in ((again, b"l" * 8 * CHUNK), (kept, _KEPT)):
        target = MemoryDisk(len(wanted))
        house.restore(manifest, target, repository=house.open())
        assert target.data == wanted


def test_a_store_that_refuses_and_names_no_lock_ends_the_round(tmp_path: Path) -> None:
    """Keys without the right to delete are no lock: somebody must hear of it.  Nothing is lost."""
    store = LockingBlobs(tells=False)
    house, _ = _house(tmp_path, store)
    with pytest.raises(Unavailable, match="403"):
        house.repository.collect()
    store.locked = {}
    house.open().collect()
    assert len(store.packs()) == 1
    assert house.repository.log.refresh().condemnations == {}
