"""Properties 2 and 6: whatever happens to a stored object, a restore gives the right bytes or names what is damaged."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.house import PROJECT, House

from restead.domain.errors import Damaged, NotFound, ResteadError
from restead.domain.ids import ManifestId
from restead.drivers.blobs.memory import MemoryBlobs
from restead.repository import scrub

KINDS = ("packs/", "index/", "log/", "keyring/")


class Victim:
    """A small repository of two disks and an increment, whose objects can be damaged and put right again."""

    def __init__(self, folder: Path) -> None:
        source = random.Random(7)
        self.house = House(folder, threads=1)
        self.store = self.house.store
        first = MemoryDisk.of(source.randbytes(30_000) + bytes(20_000) + b"text " * 4000)
        second = MemoryDisk.of(b"other" * 2000 + source.randbytes(10_000))
        self.wanted: dict[ManifestId, bytes] = {}
        full = self.house.save(first)
        self.wanted[full] = first.data
        first.write_at(8192, b"x" * 5000)
        self.wanted[self.house.save(first, full)] = first.data
        self.wanted[self.house.save(second)] = second.data

    def names(self, kind: str) -> list[str]:
        return sorted(name for name, _ in self.store.list(kind))

    def with_object(self, name: str, data: bytes | None) -> MemoryBlobs:
        """Return a copy of the store in which one object is other bytes, or gone."""
        copy = MemoryBlobs()
        for each, _ in self.store.list(""):
            if each != name:
                copy.put(each, self.store.get(each))
        if data is not None:
            copy.put(name, data)
        return copy

    def outcomes(self, store: MemoryBlobs) -> Iterator[ResteadError | None]:
        """Restore everything from *store*, with an empty cache: yield the error of each, or None where all is right.

        Raises AssertionError if a restore succeeds with other bytes.
        """
        for manifest, wanted in self.wanted.items():
            target = MemoryDisk(len(wanted))
            try:
                repository = self.house.open(store=store)
                with repository.session(PROJECT, label="restore", reads=[manifest]) as session:
                    session.restore(manifest, target)
            except ResteadError as error:
                yield error
            else:
                assert wanted == target.data, f"manifest {manifest} came back with other bytes"
                yield None


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return Victim(tmp_path_factory.mktemp("victim"))


def check_named(victim: Victim, name: str, data: bytes | None) -> int:
    """Damage one object: every restore is right or Damaged, naming it; return how many failed."""
    errors = [error for error in victim.outcomes(victim.with_object(name, data)) if error is not None]
    for error in errors:
        assert isinstance(error, Damaged), f"{name}: {error!r}"
        assert name in error.message, error.message
    return len(errors)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_found_or_does_not_matter(victim: Victim, kind: str) -> None:
    """A bit at each of many places of every object.  Only a pack has parts that a restore never reads: its contents."""
    for name in victim.names(kind):
        data = bytearray(victim.store.get(name))
        places = sorted({0, 9, 13, 20, len(data) // 2, len(data) - 40, len(data) - 1})
        if kind == "packs/":
            places = sorted({*places, *random.Random(1).sample(range(len(data)), 40)})
        for place in places:
            data[place] ^= 1 << place % 8
            failed = check_named(victim, name, bytes(data))
            data[place] ^= 1 << place % 8
            assert failed or kind == "packs/", f"{name}: a flipped bit at {place} was not seen"


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_object_is_found(victim: Victim, kind: str) -> None:
    for name in victim.names(kind):
        data = victim.store.get(name)
        for length in {0, 1, 47, 48, len(data) // 2, len(data) - 1}:
            failed = check_named(victim, name, data[:length])
            assert failed or kind == "packs/", f"{name}: cut to {length} bytes was not seen"


def test_a_cut_pack_is_never_restored_from(victim: Victim) -> None:
    """A pack that lost its end still serves what is whole; what is cut fails."""
    for name in victim.names("packs/"):
        assert check_named(victim, name, victim.store.get(name)[:1000]) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_stands_in_for_another_is_found(victim: Victim, kind: str) -> None:
    names = victim.names(kind)
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        if name != other:
            failed = check_named(victim, name, victim.store.get(other))
            assert failed, f"{other} stood in for {name} unseen"


def test_a_missing_pack_is_damage_and_named(victim: Victim) -> None:
    for name in victim.names("packs/"):
        assert check_named(victim, name, None) > 0


def test_a_missing_index_object_is_made_again(victim: Victim) -> None:
    for name in victim.names("index/"):
        assert check_named(victim, name, None) == 0


def test_a_missing_log_entry_is_damage_unless_it_is_the_newest(victim: Victim) -> None:
    """Without its newest entry a log is an older history: whoever keeps a digest sees it, nobody else can."""
    *older, newest = sorted(victim.names("log/"), key=lambda name: int(name.removeprefix("log/")))
    for name in older:
        assert check_named(victim, name, None) == len(victim.wanted)
    for error in victim.outcomes(victim.with_object(newest, None)):
        assert error is None or isinstance(error, NotFound | Damaged)


def test_the_scrubber_finds_every_flipped_bit_without_a_key(victim: Victim) -> None:
    assert list(scrub(victim.store)) == []
    for kind in KINDS:
        for name in victim.names(kind):
            data = bytearray(victim.store.get(name))
            for place in random.Random(2).sample(range(len(data)), 20):
                data[place] ^= 0x10
                (finding,) = scrub(victim.with_object(name, bytes(data)))
                data[place] ^= 0x10
                assert name in finding.message


def test_damage_names_the_byte_ranges_of_the_disk(victim: Victim) -> None:
    """Without its packs a disk lost everything that was not zero, and verification says exactly which bytes."""
    store = victim.with_object("", None)
    manifest, _wanted = next(iter(victim.wanted.items()))
    repository = victim.house.open(store=store)
    with repository.session(PROJECT, label="verify", reads=[manifest]) as session:
        session.verify(manifest)
        pack = max(victim.names("packs/"), key=lambda name: len(store.get(name)))
        data = bytearray(store.get(pack))
        data[4000] ^= 1  # inside the first chunk
        store.delete(pack)
        store.put(pack, bytes(data))
        with pytest.raises(Damaged, match="4096 bytes in 1 place:") as caught:
            session.verify(manifest)
    assert caught.value.ranges == ((0, 4096),)
