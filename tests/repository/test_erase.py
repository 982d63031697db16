"""Erasing a project: nothing of it can be read any more, and nothing happens to the others."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.fakes.disks import MemoryDisk
from tests.fakes.power import PowerCut
from tests.repository.house import ABOUT, PROJECT, House

from restead.domain.errors import Damaged, InvalidRequest, NotFound, ResteadError
from restead.domain.ids import ManifestId, ProjectId
from restead.drivers.blobs import MemoryBlobs
from restead.ports import Buffer
from restead.repository import KeyFile, Passphrase, RecoveryKey, Repository
from restead.repository.keyring import Cost, Keyring
from restead.repository.log import Hold
from restead.repository.seal import Header, Kind, derive_key

OTHER = ProjectId("p2")
CHEAP = Cost(passes=1, memory=8, lanes=1)


class Cuts(MemoryBlobs):
    """The power goes before the n-th change."""

    left = -1

    def _count(self) -> None:
        if self.left == 0:
            raise PowerCut
        self.left -= 1

    def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
        self._count()
        return super().put(name, data)

    def delete(self, name: str) -> None:
        self._count()
        super().delete(name)


class Two:
    """A repository with a disk of each of two projects."""

    def __init__(self, folder: Path, store: MemoryBlobs | None = None) -> None:
        self.house = House(folder, store=store)
        self.disks = {
            project: MemoryDisk.of(random.Random(seed).randbytes(60_000))
            for seed, project in enumerate((PROJECT, OTHER))
        }
        self.manifests = {project: self.save(project) for project in self.disks}

    def save(self, project: ProjectId, repository: Repository | None = None) -> ManifestId:
        with (repository or self.house.repository).session(project, label="backup") as session:
            return session.commit([session.save(self.disks[project], description=ABOUT)])[0]

    def restored(self, project: ProjectId, repository: Repository) -> bool:
        target = MemoryDisk(60_000)
        with repository.session(project, label="restore", reads=[self.manifests[project]]) as session:
            session.restore(self.manifests[project], target)
        return bytes(target.data) == bytes(self.disks[project].data)

    def objects(self) -> dict[str, bytes]:
        return {name: self.house.store.get(name) for name, _ in self.house.store.list("")}


def _opens(pack: bytes, repository_id: bytes, keys: Sequence[bytes]) -> bool:
    """Tell whether the table of contents of *pack* opens with one of these sealing keys."""
    salt = Header.decode(pack, Kind.PACK, "it").salt
    offset, length = int.from_bytes(pack[-8:-4], "big"), int.from_bytes(pack[-4:], "big")
    tail = b"\0\5\0\0" + offset.to_bytes(4, "big") + bytes(36)
    for key in keys:
        try:
            cipher = AESGCM(derive_key(key, Kind.PACK, salt))
            cipher.decrypt(b"\xff" * 12, pack[offset : offset + length], pack[:48] + repository_id + tail)
        except InvalidTag:
            continue
        return True
    return False


def _all_keys(store: MemoryBlobs, secret: KeyFile | Passphrase | RecoveryKey) -> list[bytes]:
    """Every sealing key that this secret opens, from every version of the keyring that the store holds."""
    found: list[bytes] = []
    names = [name for name, _ in store.list("keyring/")]
    for name in names:
        alone = MemoryBlobs()
        for other in names:
            if int(other[8:]) <= int(name[8:]):
                alone.put(other, store.get(other))
        try:
            ring = Keyring.open(alone, secret)
        except (Damaged, InvalidRequest):
            continue
        found += [key for keys in (ring.control, *ring.projects.values()) for key in keys.sealing_keys.values()]
    return found


def test_nobody_can_read_an_erased_project_with_any_key_of_the_repository(tmp_path: Path) -> None:
    two = Two(tmp_path)
    ring, words, paper = two.house.repository.keyring, Passphrase("words"), RecoveryKey(b"r" * 32)
    ring.add_wrapping(words, cost=CHEAP)
    ring.add_wrapping(paper)
    ring.rotate()
    two.save(PROJECT)
    before = two.objects()
    packs = [data for name, data in before.items() if name.startswith("packs/")]
    readable = [_opens(pack, ring.repository_id, _all_keys(two.house.store, paper)) for pack in packs]
    assert all(readable), "the proof below proves something"

    lost = two.house.repository.erasing.lost(PROJECT)
    assert [entry.project for entry in lost.manifests] == [PROJECT, PROJECT]
    assert lost.stored > 60_000
    assert two.house.repository.erasing.erase(PROJECT) >= 5

    for secret in (two.house.key, words, paper):
        keys = _all_keys(two.house.store, secret)
        assert keys
        left = [_opens(pack, ring.repository_id, keys) for pack in packs]
        assert left.count(True) == 1, "the other project's"
        assert not left[0]
    for repository in (two.house.repository, two.house.open()):
        assert two.restored(OTHER, repository)
        assert repository.manifests(PROJECT) == []
        with pytest.raises(NotFound):
            repository.manifest(two.manifests[PROJECT])
        with pytest.raises(NotFound, match="holds no project p1"):
            repository.erasing.erase(PROJECT)
    after = two.objects()
    gone = {name.split("/")[0] for name in before.keys() - after.keys()}
    assert gone == {"keyring", "packs", "index"}
    assert len([name for name in after if name.startswith("packs/")]) == 1
    Keyring.open(two.house.store, words).check()


def test_a_project_of_the_same_name_begins_anew(tmp_path: Path) -> None:
    two = Two(tmp_path)
    old = two.house.repository.keyring.projects[PROJECT]
    two.house.repository.erasing.erase(PROJECT)
    two.manifests[PROJECT] = two.save(PROJECT)
    assert two.house.repository.keyring.projects[PROJECT].name_key != old.name_key
    assert two.restored(PROJECT, two.house.open())


def test_a_held_backup_keeps_its_project(tmp_path: Path) -> None:
    two = Two(tmp_path)
    before = two.objects()
    two.house.repository.log.append(Hold(two.manifests[PROJECT], "court"))
    with pytest.raises(InvalidRequest, match="1 disk backups of project p1 are held by court"):
        two.house.repository.erasing.erase(PROJECT)
    assert two.objects().items() >= before.items()
    assert two.restored(PROJECT, two.house.open())


@pytest.mark.parametrize("late", [False, True])
def test_a_session_under_way_commits_nothing_into_an_erased_project(tmp_path: Path, late: bool) -> None:
    two = Two(tmp_path)
    other = two.house.open()

    def back_up() -> None:
        with other.session(PROJECT, label="backup") as session:
            if not late:
                two.house.repository.erasing.erase(PROJECT)
            saved = session.save(MemoryDisk.of(b"late" * 5000), description=ABOUT)
            if late:
                two.house.repository.erasing.erase(PROJECT)
            session.commit([saved])

    with pytest.raises(ResteadError):
        back_up()
    assert two.house.repository.manifests(PROJECT) == []


def test_who_opens_a_session_while_the_keys_go_is_told(tmp_path: Path) -> None:
    """It took the keys before they went, and opened its session after the erasing had ended all others."""
    two = Two(tmp_path)
    other = two.house.open()
    append = other.log.append

    def slowly(event: object, **rest: object) -> int:
        if type(event).__name__ == "Open":
            two.house.repository.erasing.erase(PROJECT)
        return append(event, **rest)  # type: ignore[arg-type]

    other.log.append = slowly  # type: ignore[assignment]
    with pytest.raises(NotFound, match="project p1 was erased: its keys are destroyed"), other.session(
        PROJECT, label="backup"
    ):
        pytest.fail("the session was opened")
    assert not any(session.open for session in two.house.repository.log.refresh().sessions.values())


def test_a_power_cut_in_the_middle_leaves_either_state_and_can_be_finished(tmp_path: Path) -> None:
    """Before every change to the store: what is left is a whole project, or one that no newest keyring opens."""
    cuts = decided = 0
    while True:
        folder = tmp_path / str(cuts)
        folder.mkdir()
        store = Cuts()
        two = Two(folder, store)
        pack = next(data for name, data in two.objects().items() if name.startswith("packs/"))
        store.left = cuts
        try:
            two.house.repository.erasing.erase(PROJECT)
            break
        except PowerCut:
            cuts += 1
        store.left = -1
        again = two.house.open()
        assert two.restored(OTHER, again)
        erased = PROJECT not in again.keyring.projects
        decided += erased
        if not erased:  # nothing has been destroyed yet, though its backups may be deleted
            assert len([name for name in two.objects() if name.startswith(("packs/", "index/"))]) == 4
            again.erasing.erase(PROJECT)
        assert again.manifests(PROJECT) == []
        again.erasing.finish()
        assert not _opens(pack, again.keyring.repository_id, _all_keys(store, two.house.key))
        assert again.erasing.unfinished() == 0
        assert len([name for name in two.objects() if name.startswith(("packs/", "index/"))]) == 2
        assert two.restored(OTHER, two.house.open())
    assert cuts >= 6
    assert decided >= 3
