"""A missing newest version of the keyring leaves no gap: who knows more finds it, before the keyring is forked."""

from pathlib import Path

import pytest
from tests.fakes.disks import MemoryDisk
from tests.repository.house import ABOUT, PROJECT, House

from restead.domain.errors import Damaged, InvalidRequest, NotFound
from restead.domain.ids import ProjectId
from restead.repository import KeyFile, Keyring, Repository

OTHER = ProjectId("p2")
DATA = MemoryDisk.of(b"data" * 5000)


def _lose(house: House, number: int) -> bytes:
    kept = house.store.get(f"keyring/{number}")
    house.store.delete(f"keyring/{number}")
    return kept


def _back_up(repository: Repository, project: ProjectId) -> None:
    with repository.session(project, label="backup") as session:
        session.commit([session.save(DATA, description=ABOUT)])


def _numbers(house: House) -> list[str]:
    return sorted(name for name, _ in house.store.list("keyring/"))


def test_the_log_tells_that_the_newest_version_is_missing(tmp_path: Path) -> None:
    """On a machine that has never seen it; whatever would put another version in its place is refused."""
    house = House(tmp_path)
    id = house.save(DATA)
    kept = _lose(house, 2)
    stranger = house.open()
    for change in (
        lambda: _back_up(stranger, OTHER),
        lambda: _back_up(stranger, PROJECT),
        lambda: stranger.keyring.rotate(),
        lambda: stranger.keyring.add_wrapping(KeyFile(bytes(32))),
    ):
        with pytest.raises(Damaged, match=r"project p1, of which keyring/1 holds no keys.*put keyring/2 back"):
            change()
    assert _numbers(house) == ["keyring/1"]
    house.store.put("keyring/2", kept)
    _back_up(stranger, OTHER)
    target = MemoryDisk(DATA.size)
    house.restore(id, target, repository=house.open())
    assert target.data == DATA.data


def test_who_gives_up_what_was_lost_with_it_goes_on(tmp_path: Path) -> None:
    house = House(tmp_path)
    id = house.save(DATA)
    _lose(house, 2)
    stranger = house.open()
    stranger.delete([id])
    _back_up(stranger, OTHER)


def test_a_machine_that_has_seen_a_version_misses_it_at_once(tmp_path: Path) -> None:
    house = House(tmp_path)

    def on(machine: str) -> Repository:
        return Repository.open(house.store, house.key, cache=tmp_path / machine, scratch=tmp_path)

    one = on("one")
    one.keyring.project(PROJECT)
    one.keyring.project(OTHER)  # nothing in the log tells of it
    _back_up(one, PROJECT)
    kept = _lose(house, 3)
    with pytest.raises(Damaged, match="keyring/3 is missing, though it was there before: keyring/2 is the newest"):
        on("one")
    on("other").keyring.rotate()  # it does not know
    with pytest.raises(Damaged, match="keyring/3 is not what was seen here before: the keyring is forked"):
        on("one")
    _lose(house, 3)
    house.store.put("keyring/3", kept)
    on("one")


def test_a_process_that_knows_a_version_misses_it_before_it_seals_with_its_keys(tmp_path: Path) -> None:
    house = House(tmp_path)
    running = house.open()
    running.keyring.project(PROJECT)
    running.keyring.project(OTHER)
    _lose(house, 3)
    with pytest.raises(Damaged, match="keyring/3 is missing, though it was there before"):
        _back_up(running, OTHER)
    house.open().keyring.rotate()
    with pytest.raises(Damaged, match="keyring/3 is not what was seen here before: the keyring is forked"):
        _back_up(running, OTHER)
    assert list(house.store.list("packs/")) == []


def test_a_lost_rotation_is_seen_by_what_was_sealed_since(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.save(DATA)
    house.repository.keyring.rotate()
    house.save(DATA)
    _lose(house, 3)
    with pytest.raises(Damaged, match="log/4 is sealed with key 2, which keyring/2 does not hold: a later version"):
        house.open().keyring.add_wrapping(KeyFile(bytes(32)))
    assert _numbers(house) == ["keyring/1", "keyring/2"]


def test_a_damaged_log_stops_no_change_of_keys(tmp_path: Path) -> None:
    """Whoever has to rescue what is left needs a key more than anybody."""
    house = House(tmp_path)
    house.save(DATA)
    damaged = house.store.get("log/2")
    house.store.delete("log/2")
    house.store.put("log/2", damaged[:-1] + bytes([damaged[-1] ^ 1]))
    house.open().keyring.add_wrapping(KeyFile(bytes(32)))
    assert "keyring/3" in _numbers(house)


def test_a_project_that_is_half_erased_stops_nobody(tmp_path: Path) -> None:
    """Its keys are gone, a session of it has slipped in, and old versions tell that it is to be finished."""
    house = House(tmp_path)
    id = house.save(DATA)
    house.repository.keyring.forget(PROJECT)
    assert id in house.repository.log.refresh().manifests
    _back_up(house.open(), OTHER)


def test_a_store_that_has_lost_its_whole_keyring_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.save(DATA)
    for number in (1, 2):
        _lose(house, number)
    with pytest.raises(Damaged, match="a log and no keyring"):
        house.open()
    with pytest.raises(InvalidRequest, match="holds a repository already"):
        Repository.create(house.store, house.key)
    for name, _ in list(house.store.list("")):
        house.store.delete(name)
    with pytest.raises(NotFound, match="no repository"):
        Keyring.open(house.store, house.key)
