"""A second copy: backups in another repository, with another key, that need nothing of the first."""

import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Lock
from time import sleep

import pytest
from tests.fakes.disks import MemoryDisk
from tests.fakes.power import Power, PowerCut, PoweredStore
from tests.repository.harm import flip, spoil, things
from tests.repository.house import ABOUT, PROJECT, House

from restead.domain.copied import Copied, CopyState
from restead.domain.errors import InvalidRequest
from restead.domain.extent import Extent
from restead.domain.ids import ManifestId, ProjectId
from restead.drivers.blobs.memory import MemoryBlobs
from restead.repository import Copier, KeyFile, Repository, Window
from restead.repository.seal import Kind

CHUNK = 4096


def noise(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


class Pair:
    """Two repositories."""

    def __init__(self, folder: Path, *, chunk: int = CHUNK, first: int = CHUNK, threads: int = 2) -> None:
        for name in ("one", "two"):
            (folder / name).mkdir(parents=True)
        self.one = House(folder / "one", chunk_size=first, threads=threads)
        self.two = House(folder / "two", chunk_size=chunk, threads=threads)
        self._day = 0

    def backup(
        self, *disks: bytes, project: str = PROJECT, labels: tuple[str, ...] = ("sda", "sdb"), run: str = ""
    ) -> list[ManifestId]:
        """Back up these disks of one server at one moment."""
        self._day += 1
        about = replace(ABOUT, taken_at=ABOUT.taken_at + timedelta(days=self._day), server={"day": self._day})
        with self.one.repository.session(ProjectId(project), label=run or f"run-{self._day}") as session:
            saved = [
                session.save(MemoryDisk.of(data), description=about, label=label)
                for data, label in zip(disks, labels, strict=False)
            ]
            return session.commit(saved)

    def copy(self, *, store: object = None, only: ProjectId | None = None) -> list[Copied]:
        there = self.two.open(store=store)  # type: ignore[arg-type]
        copier = Copier(self.one.open(), there, keep_every=64 * CHUNK)
        return list(copier.copy_all(copier.backups(only)))

    def copied(self, project: str = PROJECT) -> dict[tuple[str, str], ManifestId]:
        """Return the manifests of the copy by their labels."""
        found = self.two.repository.manifests(ProjectId(project))
        assert len({(each.session_label, each.label) for each in found}) == len(found)
        return {(each.session_label, each.label): each.id for each in found}

    def restored(self, manifest: ManifestId, project: str = PROJECT) -> bytes:
        """Return what the copy restores, opened anew."""
        repository = self.two.open()
        size = repository.manifest(manifest).size
        target = MemoryDisk(size)
        with repository.session(ProjectId(project), label="restore", reads=[manifest]) as session:
            session.restore(manifest, target)
        return target.data


@pytest.mark.parametrize("chunk", [CHUNK, 512, 4 * CHUNK])
def test_a_copy_holds_the_same_bytes_labels_and_descriptions(tmp_path: Path, chunk: int) -> None:
    """Data, holes, a short last chunk, an empty and an all-zero disk, whatever the chunks of the other repository."""
    pair = Pair(tmp_path, chunk=chunk)
    holes = noise(9 * CHUNK, 1) + bytes(2000 * CHUNK) + noise(3 * CHUNK + 512, 2)
    sets = {"p1": (holes, bytes(5 * CHUNK)), "p2": (noise(CHUNK // 2, 3), b"")}
    for project, disks in sets.items():
        pair.backup(*disks, project=project, run=f"run-{project}")
    done = pair.copy()
    assert [(each.state, each.project_id, each.disks) for each in done] == [
        (CopyState.COPIED, "p1", 2), (CopyState.COPIED, "p2", 2)
    ]  # fmt: skip
    pair.one.store = MemoryBlobs()  # gone
    for project, disks in sets.items():
        found = pair.copied(project)
        assert [pair.restored(found[f"run-{project}", label], project) for label in ("sda", "sdb")] == list(disks)
        manifest = pair.two.repository.manifest(found[f"run-{project}", "sda"])
        assert manifest.description.server["day"] in (1, 2)
        day = int(str(manifest.description.server["day"]))
        assert manifest.description.taken_at == ABOUT.taken_at + timedelta(days=day)
    assert done[0].read <= 13 * CHUNK + 3 * chunk, "holes are not read"


def test_all_disks_of_a_backup_become_manifests_at_one_moment(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.backup(noise(5 * CHUNK, 1), noise(5 * CHUNK, 2))
    pair.copy()
    assert len({each.session for each in pair.two.repository.manifests(PROJECT)}) == 1


def test_a_second_copy_is_of_what_is_new(tmp_path: Path) -> None:
    """What is there is left alone; of a disk that was copied before only changed chunks are read and stored."""
    pair = Pair(tmp_path)
    first = noise(3000 * CHUNK, 1)
    pair.backup(first)
    (whole,) = pair.copy()
    assert (whole.read, whole.stored > len(first)) == (len(first), True)
    second = bytearray(first)
    second[7 * CHUNK : 8 * CHUNK] = noise(CHUNK, 2)
    second[2000 * CHUNK : 2002 * CHUNK] = bytes(2 * CHUNK)
    pair.backup(bytes(second))
    there, new = pair.copy()
    assert (there.state, new.state) == (CopyState.THERE, CopyState.COPIED)
    assert new.read == CHUNK, "only the one chunk that holds other data"
    assert new.stored < 40 * CHUNK, "a chunk, the pages above it, a root"
    assert [each.state for each in pair.copy()] == [CopyState.THERE] * 2
    found = pair.copied()
    assert pair.restored(found["run-1", "sda"]) == first
    assert pair.restored(found["run-2", "sda"]) == bytes(second)


def test_what_was_copied_from_may_be_deleted_before_the_next_copy(tmp_path: Path) -> None:
    """Then all is read once more, and what the copy has is not stored again."""
    pair = Pair(tmp_path)
    data = noise(300 * CHUNK, 1)
    gone = pair.backup(data)
    pair.copy()
    pair.one.repository.delete(gone)
    pair.backup(data)
    (done,) = pair.copy()
    assert (done.read, done.stored < 3 * CHUNK) == (len(data), True)
    assert pair.restored(pair.copied()["run-2", "sda"]) == data


def test_a_disk_may_grow_between_two_copies(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    data = noise(30 * CHUNK, 1)
    pair.backup(data)
    pair.copy()
    pair.backup(data + noise(CHUNK, 2))
    pair.copy()
    assert pair.restored(pair.copied()["run-2", "sda"]) == data + noise(CHUNK, 2)


def test_an_older_backup_can_be_copied_after_a_newer_one(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    days = [noise(40 * CHUNK, 1), noise(CHUNK, 2) + noise(40 * CHUNK, 1)[CHUNK:]]
    for data in days:
        pair.backup(data)
    copier = Copier(pair.one.repository, pair.two.repository)
    backups = copier.backups()
    for which in (1, 0):
        (done,) = copier.copy_all([backups[which]])
        assert done.state is CopyState.COPIED
    assert done.read == CHUNK
    assert [pair.restored(pair.copied()[f"run-{day}", "sda"]) for day in (1, 2)] == days


def test_two_backups_with_the_same_labels_are_both_copied(tmp_path: Path) -> None:
    """Labels alone do not tell them apart: their moments do."""
    pair = Pair(tmp_path)
    days = [noise(4 * CHUNK, 1), noise(4 * CHUNK, 2)]
    for data in days:
        pair.backup(data, run="same")
    assert [each.state for each in pair.copy()] == [CopyState.COPIED] * 2
    assert [each.state for each in pair.copy()] == [CopyState.THERE] * 2
    assert [pair.restored(each.id) for each in pair.two.repository.manifests(PROJECT)] == days


def test_only_one_project_is_copied_if_asked(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.backup(noise(CHUNK, 1), project="p1")
    pair.backup(noise(CHUNK, 2), project="p2")
    assert [each.project_id for each in pair.copy(only=ProjectId("p2"))] == ["p2"]


def test_a_repository_is_not_copied_into_itself(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    with pytest.raises(InvalidRequest, match="this repository itself"):
        Copier(pair.one.repository, pair.one.open())


def test_progress_is_told_by_one_thread_at_a_time(tmp_path: Path) -> None:
    """Whoever prints it need not be ready for several."""
    pair = Pair(tmp_path, threads=4)
    pair.backup(noise(4000 * CHUNK, 1))
    busy, together, parts = Lock(), [], []

    def told(done: int, total: int) -> None:
        together.append(not busy.acquire(blocking=False))
        sleep(0.01)
        parts.append((done, total))
        if busy.locked():
            busy.release()

    copier = Copier(pair.one.open(), pair.two.open(), told=told)
    list(copier.copy_all(copier.backups()))
    assert (len(together) > 4, any(together)) == (True, False)
    assert max(parts) == (4000 * CHUNK, 4000 * CHUNK)


def test_what_a_killed_copy_left_open_here_is_ended_by_the_next(tmp_path: Path) -> None:
    """Else it would keep what it reads for ever.  Sessions of others are left alone."""
    pair = Pair(tmp_path)
    (wanted,) = pair.backup(noise(CHUNK, 1))
    copy_of = f"copy to {pair.two.repository.keyring.repository_id.hex()}"
    for label in (copy_of, "restore"):
        with pair.one.repository.session(PROJECT, label=label, reads=[wanted]) as session:
            session.leave_open()
    pair.copy()
    assert [each.label for each in pair.one.open().log.refresh().sessions.values() if each.open] == ["restore"]


@pytest.mark.parametrize("kind", [Kind.CHUNK, Kind.PAGE, Kind.ROOT])
def test_a_damaged_backup_is_told_and_not_copied_and_others_are(tmp_path: Path, kind: Kind) -> None:
    pair = Pair(tmp_path)
    good, bad = noise(2000 * CHUNK, 1), noise(2000 * CHUNK, 2)
    pair.backup(good)
    before = {thing.name for _, thing in things(pair.one.repository)}
    pair.backup(noise(9 * CHUNK, 3), bad)
    pair.backup(good[:CHUNK], labels=("sdc",))
    of_kind = [
        thing.name for _, thing in things(pair.one.repository) if thing.kind is kind and thing.name not in before
    ]
    if kind is Kind.CHUNK:
        namer = pair.one.repository._room(PROJECT).names
        names = {namer.chunk(memoryview(bad)[at * CHUNK :][:CHUNK]) for at in (5, 1500)}
    elif kind is Kind.PAGE:
        top = pair.one.repository.manifest(ManifestId(pair.one.repository.manifests(PROJECT)[2].id)).root.top
        names = {top}
    else:
        names = {pair.one.repository.manifests(PROJECT)[2].root}
    assert names <= set(of_kind)
    spoil(pair.one.repository, pair.one.store, names)
    states = pair.copy()
    assert [each.state for each in states] == [CopyState.COPIED, CopyState.DAMAGED, CopyState.COPIED]
    (damage,) = states[1].damage
    assert damage.disk == "sdb"
    expected = {
        Kind.CHUNK: [(5 * CHUNK, CHUNK), (1500 * CHUNK, CHUNK)], Kind.PAGE: [(0, len(bad))], Kind.ROOT: []
    }  # fmt: skip
    assert list(damage.ranges) == expected[kind]
    assert set(pair.copied()) == {("run-1", "sda"), ("run-3", "sdc")}
    assert not any(each.open for each in pair.two.repository.log.refresh().sessions.values())


def test_what_is_lost_in_the_copy_is_copied_again(tmp_path: Path) -> None:
    """A later copy that meets the damage of its parent does without it."""
    pair = Pair(tmp_path)
    data = noise(100 * CHUNK, 1)
    pair.backup(data)
    pair.copy()
    for name, thing in things(pair.two.repository):
        if thing.kind is Kind.PAGE:
            flip(pair.two.store, name, thing.offset + 9)
    pair.backup(noise(CHUNK, 2) + data[CHUNK:])
    assert [each.state for each in pair.copy()] == [CopyState.THERE, CopyState.COPIED]
    assert pair.restored(pair.copied()["run-2", "sda"]) == noise(CHUNK, 2) + data[CHUNK:]


def test_a_copy_goes_on_wherever_the_power_was_cut(tmp_path: Path) -> None:
    """At every 5th call of the other store: no half backup is ever there, and what is stored is not stored again."""
    disks = [noise(300 * CHUNK, 1), noise(200 * CHUNK, 2)]
    whole = sum(map(len, disks))
    cut_at, cuts, again = 1, 0, list[int]()
    while True:
        pair = Pair(tmp_path / f"{cut_at}", threads=1)
        pair.backup(*disks)
        power = Power(cut_at)
        try:
            pair.copy(store=PoweredStore(pair.two.store, power))  # type: ignore[arg-type]
            break
        except PowerCut:
            cuts += 1
        assert len(pair.copied()) in (0, 2)
        (done,) = pair.copy()
        again.append(done.stored)
        assert [pair.restored(pair.copied()["run-1", label]) for label in ("sda", "sdb")] == disks
        for house in (pair.one, pair.two):
            assert not any(each.open for each in house.open().log.refresh().sessions.values())
        cut_at += 5
    assert cuts >= 3
    assert again[0] >= whole
    assert any(0 < each < whole // 2 for each in again), "the first disk was stored before, and is not again"
    assert again[-1] < whole // 2


def test_what_a_killed_copy_has_stored_of_a_large_disk_is_not_stored_again(tmp_path: Path) -> None:
    """The index learns of it on the way, not only at the end of the disk."""
    chunk = 256 << 10
    pair = Pair(tmp_path, chunk=chunk, first=chunk, threads=1)
    data = noise(320 * chunk, 1)  # a pack of 64 MiB, and the beginning of the next
    pair.backup(data)

    class Killed(BaseException):
        pass

    def stop(done: int, total: int) -> None:
        if done > total * 19 // 20:
            raise Killed

    copier = Copier(pair.one.open(), pair.two.open(), told=stop, keep_every=16 * chunk)
    with pytest.raises(Killed):
        list(copier.copy_all(copier.backups()))
    (done,) = pair.copy()
    assert done.stored < len(data) * 2 // 3
    assert pair.restored(pair.copied()["run-1", "sda"]) == data


def test_the_source_of_a_copy_tells_its_extents_and_any_stretch(tmp_path: Path) -> None:
    """Extents cover what was asked for, holes are all zero, and parts of chunks can be read."""
    house = House(tmp_path)
    data = bytearray(noise(2100 * CHUNK + 700, 1))
    data[3 * CHUNK : 9 * CHUNK] = bytes(6 * CHUNK)
    data[1024 * CHUNK : 2048 * CHUNK] = bytes(1024 * CHUNK)
    manifest = house.save(MemoryDisk.of(bytes(data)))
    luck = random.Random(5)
    with house.open().session(PROJECT, label="read", reads=[manifest]) as session:
        source = session.source(manifest)
        whole = list(source.extents(0, source.size))
        assert Extent(3 * CHUNK, 6 * CHUNK, data=False) in whole
        assert Extent(1024 * CHUNK, 1024 * CHUNK, data=False) in whole
        for _ in range(200):
            offset = luck.randrange(source.size)
            length = luck.randint(1, min(50 * CHUNK, source.size - offset))
            at = offset
            for extent in source.extents(offset, length):
                assert extent.offset == at
                assert extent.data or not any(data[at : extent.end])
                at = extent.end
            assert at == offset + length
            buffer = bytearray(length)
            source.read_into(offset, memoryview(buffer))
            assert buffer == data[offset : offset + length]


def test_a_copy_is_opened_by_its_own_key(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    pair.backup(noise(CHUNK, 1))
    pair.copy()
    with pytest.raises(InvalidRequest):
        Repository.open(pair.two.store, KeyFile(pair.one.key.secret), cache=tmp_path / "c", window=Window(1, 1))
