"""Keys come and go: the last one stays, changes do not cancel each other, and no old version leads anybody astray."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.house import PROJECT, House

from restead.domain.errors import Damaged, InvalidRequest, NotFound, Unavailable
from restead.domain.ids import ProjectId
from restead.drivers.blobs import MemoryBlobs
from restead.ports import Buffer
from restead.repository.keyring import Cost, KeyFile, Keyring, Passphrase, Secret
from restead.repository.seal import Header, Kind

CHEAP = Cost(passes=1, memory=8, lanes=1)
ONE, TWO, THREE = KeyFile(b"1" * 32), KeyFile(b"2" * 32), Passphrase("three")
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def _ring(store: MemoryBlobs, *more: Secret) -> Keyring:
    made = Keyring.create(store, ONE, chunk_size=4096, at=NOON)
    for secret in more:
        made.add_wrapping(secret, cost=CHEAP)
    return made


def _versions(store: MemoryBlobs) -> list[int]:
    return sorted(int(name.removeprefix("keyring/")) for name, _ in store.list("keyring/"))


def _opens(store: MemoryBlobs, secret: Secret) -> bool:
    try:
        Keyring.open(store, secret)
    except InvalidRequest:
        return False
    return True


# Wrappings


def test_who_opened_it_and_when_a_key_was_added_is_known() -> None:
    store = MemoryBlobs()
    made = _ring(store)
    second = made.add_wrapping(TWO, label="second", at=NOON)
    opened = Keyring.open(store, TWO)
    assert opened.opened_by == second.id
    assert Keyring.open(store, ONE).opened_by == made.opened_by == opened.wrappings()[0].id
    assert [one.added_at for one in opened.wrappings()] == [NOON, NOON]


def test_a_removed_key_opens_nothing_any_more_once_the_old_versions_are_gone() -> None:
    store = MemoryBlobs()
    ring = _ring(store, TWO, THREE)
    ring.remove_wrapping(ring.wrappings()[1].id)
    assert [_opens(store, secret) for secret in (ONE, TWO, THREE)] == [True, False, True]
    assert ring.old() == [1, 2, 3]
    assert ring.drop_old() == 3
    assert _versions(store) == [4]
    assert ring.old() == []
    opened = Keyring.open(store, THREE)
    opened.check()
    opened.project(ProjectId("p"))
    assert Keyring.open(store, ONE).projects == opened.projects


def test_the_last_key_stays() -> None:
    store = MemoryBlobs()
    ring = _ring(store)
    with pytest.raises(InvalidRequest, match="this is the last key"):
        ring.remove_wrapping(ring.opened_by)
    with pytest.raises(NotFound, match="there is no key 0000"):
        ring.remove_wrapping("0000")
    assert _opens(store, ONE)


class Meets(MemoryBlobs):
    """Lets something happen once, just before a put."""

    def __init__(self) -> None:
        super().__init__()
        self.before: list[object] = []

    def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
        if self.before:
            self.before.pop()()  # type: ignore[operator]
        return super().put(name, data)


def test_of_two_who_remove_the_last_two_keys_one_is_refused() -> None:
    """Both have seen two keys; the second one meets the first one's version when it puts its own."""
    store = Meets()
    one = _ring(store, TWO)
    two = Keyring.open(store, TWO)
    ids = [each.id for each in one.wrappings()]
    store.before.append(lambda: two.remove_wrapping(ids[0]))
    with pytest.raises(InvalidRequest, match="this is the last key"):
        one.remove_wrapping(ids[1])
    assert [_opens(store, secret) for secret in (ONE, TWO)] == [False, True]


def test_many_who_remove_at_once_leave_one_key() -> None:
    for turn in range(20):
        store = MemoryBlobs()
        secrets = [KeyFile(bytes([n]) * 32) for n in range(6)]
        first = Keyring.create(store, secrets[0], chunk_size=4096)
        for secret in secrets[1:]:
            first.add_wrapping(secret)
        rings = [Keyring.open(store, secret) for secret in secrets]

        def remove(ring: Keyring) -> bool:
            try:
                ring.remove_wrapping(ring.opened_by)
            except InvalidRequest:
                return False
            return True

        with ThreadPoolExecutor(6) as pool:
            removed = list(pool.map(remove, rings))
        assert [_opens(store, secret) for secret in secrets] == [not done for done in removed], turn
        assert removed.count(False) == 1, turn


def test_an_added_and_a_removed_key_do_not_cancel_each_other() -> None:
    store = Meets()
    one = _ring(store, TWO)
    other = Keyring.open(store, ONE)
    store.before.append(lambda: other.add_wrapping(THREE, cost=CHEAP))
    one.remove_wrapping(one.wrappings()[1].id)
    assert [_opens(store, secret) for secret in (ONE, TWO, THREE)] == [True, False, True]


# Who has not looked for long, while old versions were deleted


def test_who_was_away_goes_on_from_the_newest_version() -> None:
    """Its next number is free again: a change put there would be seen by nobody."""
    store = MemoryBlobs()
    ring = _ring(store, TWO)
    away = Keyring.open(store, ONE)
    for name in "abc":
        ring.project(ProjectId(name))
    ring.remove_wrapping(ring.wrappings()[1].id)
    ring.drop_old()
    keys = away.project(ProjectId("mine"))
    assert Keyring.open(store, ONE).projects[ProjectId("mine")] == keys
    assert _versions(store) == [6, 7]


@pytest.mark.parametrize("deleted", range(1, 6))
def test_who_comes_back_in_the_middle_of_a_deletion_finds_the_newest_version(deleted: int) -> None:
    store = MemoryBlobs()
    ring = _ring(store, TWO)
    away = [Keyring.open(store, ONE)]
    for name in "abc":
        ring.project(ProjectId(name))
        away.append(Keyring.open(store, ONE))
    ring.remove_wrapping(ring.wrappings()[1].id)
    for number in range(1, deleted + 1):
        store.delete(f"keyring/{number}")
    for each in away:
        each.refresh()
        assert (each.projects, each.wrappings()) == (ring.projects, ring.wrappings())
    Keyring.open(store, ONE)


@pytest.mark.parametrize("deleted", range(1, 5))
def test_a_change_put_where_a_version_was_deleted_is_made_again_where_it_counts(deleted: int) -> None:
    """Everything happens between the look and the put: the put succeeds, and may stand where nobody looks."""
    store = Meets()
    ring = _ring(store, TWO)
    away = Keyring.open(store, ONE)

    def meanwhile() -> None:
        ring.project(ProjectId("a"))
        ring.remove_wrapping(ring.wrappings()[1].id)
        for number in range(1, deleted):
            store.delete(f"keyring/{number}")

    store.before.append(meanwhile)
    keys = away.project(ProjectId("mine"))
    ring.drop_old()
    opened = Keyring.open(store, ONE)
    assert opened.projects[ProjectId("mine")] == keys
    assert set(opened.projects) == {ProjectId("a"), ProjectId("mine")}
    assert not _opens(store, TWO)
    opened.check()
    assert opened.old() == []


def test_who_sees_a_change_that_stands_nowhere_does_not_follow_it() -> None:
    """A third one, away for as long, meets what the second put where a version was deleted, before that cleans up."""
    store = MemoryBlobs()
    ring = _ring(store, TWO)
    away, stray = Keyring.open(store, ONE), MemoryBlobs()
    for name, _ in store.list(""):
        stray.put(name, store.get(name))
    Keyring.open(stray, ONE).project(ProjectId("nowhere"))
    ring.project(ProjectId("a"))
    ring.remove_wrapping(ring.wrappings()[1].id)
    ring.drop_old()
    store.put("keyring/3", stray.get("keyring/3"))
    keys = away.project(ProjectId("mine"))
    opened = Keyring.open(store, ONE)
    assert opened.projects[ProjectId("mine")] == keys
    assert ProjectId("nowhere") not in opened.projects
    assert opened.old() == [3], "it is found, and goes with the next deletion"
    opened.drop_old()
    assert 3 not in _versions(store)


def test_a_listing_that_is_behind_is_no_damage_and_no_empty_store() -> None:
    store = MemoryBlobs()
    ring = _ring(store, TWO)
    away = Keyring.open(store, ONE)
    store.freeze_listing()
    ring.remove_wrapping(ring.wrappings()[1].id)
    for number in (1, 2):
        store.delete(f"keyring/{number}")
    with pytest.raises(Unavailable, match="keyring/2"):
        Keyring.open(store, ONE)
    away.refresh()  # its next number is there to be read
    assert away.wrappings() == ring.wrappings()
    store.thaw_listing()
    Keyring.open(store, ONE)


def test_a_lost_version_is_damage_for_who_runs_too() -> None:
    store = MemoryBlobs()
    ring = _ring(store, TWO, THREE)
    store.delete("keyring/1")
    with pytest.raises(Damaged, match="keyring/1 is missing, keyring/3 exists"):
        ring.refresh()


@pytest.mark.parametrize("seed", range(40))
def test_any_order_of_changes_and_deletions_keeps_every_change(seed: int) -> None:
    """Several keyrings, each looking when it likes; what was returned as done is in the newest version."""
    chance = random.Random(seed)
    store = MemoryBlobs()
    rings = [_ring(store, TWO)]
    rings += [Keyring.open(store, ONE) for _ in range(3)]
    made: dict[ProjectId, object] = {}
    spare = 0
    for turn in range(60):
        ring = chance.choice(rings)
        match chance.randrange(5):
            case 0 | 1:
                id = ProjectId(f"p{turn}")
                made[id] = ring.project(id).name_key
            case 2:
                ring.rotate()
            case 3:
                spare += 1
                wrapping = ring.add_wrapping(KeyFile(spare.to_bytes(32, "big")))
                chance.choice(rings).remove_wrapping(wrapping.id)
            case _:
                ring.drop_old()
    opened = Keyring.open(store, TWO)
    opened.check()
    assert {id: keys.name_key for id, keys in opened.projects.items()} == made
    assert len(opened.wrappings()) == 2
    opened.drop_old()
    assert opened.old() == []


# Rotation


def _key_numbers(store: MemoryBlobs, prefix: str, kind: Kind) -> dict[str, int]:
    return {name: Header.decode(store.get(name), kind, name).key_number for name, _ in store.list(prefix)}


def test_after_a_rotation_new_packs_have_the_new_key_and_all_can_be_read(tmp_path: Path) -> None:
    house = House(tmp_path)
    disk = MemoryDisk.of(random.Random(1).randbytes(100_000))
    first = house.save(disk)
    old = _key_numbers(house.store, "packs/", Kind.PACK)
    other = house.open()
    Keyring.open(house.store, house.key).rotate()
    before = bytes(disk.data)
    disk.write_at(0, random.Random(2).randbytes(50_000))
    second = house.save(disk, first)
    numbers = _key_numbers(house.store, "packs/", Kind.PACK)
    assert {numbers[name] for name in numbers if name not in old} == {2}
    assert {numbers[name] for name in old} == {1}
    assert _key_numbers(house.store, "log/", Kind.LOG)["log/1"] == 1
    assert max(_key_numbers(house.store, "log/", Kind.LOG).values()) == 2
    for repository in (other, house.open()):
        for id, data in ((first, before), (second, bytes(disk.data))):
            target = MemoryDisk(disk.size)
            house.restore(id, target, repository=repository)
            assert target.data == data


def test_a_session_that_was_open_at_a_rotation_goes_on(tmp_path: Path) -> None:
    """It reads what others seal with the new key, and takes that key for packs it begins once it has looked."""
    house = House(tmp_path)
    disk = MemoryDisk.of(random.Random(1).randbytes(100_000))
    first = house.save(disk)
    target = MemoryDisk(disk.size)
    with house.open().session(PROJECT, label="restore", reads=[first]) as session:
        other = house.open()
        other.keyring.rotate()
        house.save(MemoryDisk.of(random.Random(3).randbytes(50_000)), repository=other)
        for name, _ in list(house.store.list("index/")):
            if Header.decode(house.store.get(name), Kind.INDEX, name).key_number == 1:
                house.store.delete(name)  # what it needs now is in index objects that it makes, and lists again
        session.restore(first, target)
    assert target.data == disk.data


def test_rotations_at_once_are_all_kept() -> None:
    store = MemoryBlobs()
    ring = _ring(store)
    ring.project(ProjectId("p"))
    rings = [Keyring.open(store, ONE) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(Keyring.rotate, rings))
    keys = Keyring.open(store, ONE).projects[ProjectId("p")]
    assert (keys.newest, sorted(keys.sealing_keys)) == (5, [1, 2, 3, 4, 5])
    assert len(set(keys.sealing_keys.values())) == 5
