"""A project is erased: afterwards no copy of what the service knows tells of its backups."""

import json
import re
from collections.abc import Callable, Sequence
from itertools import count

import pytest
from tests.fakes.power import PowerCut
from tests.house import PROJECT, SECRET, House

from restead.domain.errors import Damaged, Unavailable
from restead.domain.states import BackupState
from restead.drivers.blobs.memory import MemoryBlobs
from restead.ports import Buffer
from restead.repository import Repository, ServiceCopy
from restead.repository.service_copy import KEPT
from restead.workflows.erase import erase, finish
from restead.workflows.service_copy import newest_copy


def _told(house: House) -> list[str]:
    """Return the names of backups that any copy in the store tells of."""
    copies = [found for _, found in house.repository.service_copies.newest_first() if isinstance(found, ServiceCopy)]
    return re.findall(r"secret-[0-9]+", json.dumps([copy.parts for copy in copies]))


def _used(house: House) -> None:
    """Make backups, and more copies of what the service knows than are kept."""
    server = house.server()
    for number in range(KEPT + 1):
        house.protect(server, name=f"secret-{number}")
        house.copies.keep()
    house.tokens.create(PROJECT)
    house.copies.keep()
    assert len(house.repository.service_copies.numbers()) == KEPT
    assert "secret-0" in _told(house)


def test_no_copy_of_the_service_names_what_was_erased(house: House) -> None:
    """The newest without it is not enough: up to four older ones told its names, and when it was backed up."""
    _used(house)
    before = house.repository.service_copies.numbers()[0]
    erase(house.records, house.repository, PROJECT)
    assert house.repository.service_copies.numbers() == [before + 1]
    assert _told(house) == []
    found = newest_copy(house.repository)
    assert found is not None
    assert len(found.copy.parts["tokens"]) == 1, "the service knows it still"
    house.copies.keep()
    assert _told(house) == []


def test_a_copy_that_nobody_can_read_goes_too(house: House) -> None:
    _used(house)
    newest = house.repository.service_copies.numbers()[0]
    name = f"service/{newest}"
    house.store.delete(name)
    house.store.put(name, b"rubbish" * 40)
    erase(house.records, house.repository, PROJECT)
    assert house.repository.service_copies.numbers() == [newest + 1]
    assert not any(isinstance(found, Damaged) for _, found in house.repository.service_copies.newest_first())
    assert _told(house) == []


def test_where_nothing_may_be_deleted_it_is_not_called_erased(house: House) -> None:
    _used(house)
    real = house.store.delete

    def refuse(name: str) -> None:
        if name.startswith("service/"):
            raise Unavailable(f"{name} may not be deleted")
        real(name)

    house.store.delete = refuse  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match=r"service/[0-9]+ may not be deleted"):
        erase(house.records, house.repository, PROJECT)
    assert house.repository.erasing.unfinished() > 0, "it is known that something is left to do"
    house.store.delete = real  # type: ignore[method-assign]
    assert finish(house.records, house.repository) > 0
    assert _told(house) == []
    assert house.repository.erasing.unfinished() == 0


def _a_change(house: House) -> None:
    """Let there be something to copy, and the service copy it."""
    house.tokens.create(PROJECT)
    house.copies.keep()


def test_power_cut_anywhere_in_erasing(house: House) -> None:
    """Whatever was done before: what is left is known, a service that starts names nothing, and finishing ends it."""
    for at in count(1):
        house.protect(house.server(name=f"server-{at}"), name=f"secret-{at}")
        house.copies.keep()
        house.cut_power_at(at)
        try:
            erase(house.records, house.repository, PROJECT)
            break
        except PowerCut:
            house.crash_and_restart()
        _a_change(house)
        if PROJECT in house.repository.keyring.projects:
            erase(house.records, house.repository, PROJECT)
        elif house.repository.erasing.unfinished():
            finish(house.records, house.repository)
        assert _told(house) == []
        _a_change(house)
        assert _told(house) == []
        assert {backup.state for backup in house.all_backups()} == {BackupState.ERROR}
    assert at > 10
    assert _told(house) == []


def test_saying_the_same_again_finishes_what_was_cut_short(house: House) -> None:
    for at in count(1):
        house.protect(house.server(name=f"server-{at}"), name=f"secret-{at}")
        house.cut_power_at(at)
        try:
            erase(house.records, house.repository, PROJECT)
            break
        except PowerCut:
            house.crash_and_restart()
        if PROJECT in house.repository.keyring.projects or house.repository.erasing.unfinished():
            erase(house.records, house.repository, PROJECT)
        assert house.repository.erasing.unfinished() == 0
        assert {backup.state for backup in house.all_backups()} == {BackupState.ERROR}
    assert at > 10


class _Between(MemoryBlobs):
    """Another's view of a store: something happens before its n-th change."""

    def __init__(self, store: MemoryBlobs, at: int, happen: Callable[[], object]) -> None:
        super().__init__()
        self.__dict__.update(store.__dict__)
        self.left, self.happen = at, happen

    def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
        self._count()
        return super().put(name, data)

    def delete(self, name: str) -> None:
        self._count()
        super().delete(name)

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.happen()


@pytest.mark.parametrize("step", ["erase", "finish"])
def test_a_service_that_copies_between_two_steps_names_nothing_in_the_end(house: House, step: str) -> None:
    """Erasing is for when no service runs, finishing is not; the copies are right whoever works beside."""
    for at in count(1):
        house.protect(house.server(name=f"server-{at}"), name=f"secret-{at}")
        house.copies.keep()
        if step == "finish":
            house.repository.erasing._let_go(PROJECT)
            house.repository.keyring.forget(PROJECT)
            house.protect(house.server(name=f"again-{at}"), name=f"kept-{at}")
        store = _Between(house.store, at, lambda: _a_change(house))
        other = Repository.open(store, SECRET, cache=house.folder / "other", scratch=house.folder)
        if step == "erase":
            erase(house.records, other, PROJECT)
        else:
            finish(house.records, other)
        assert _told(house) == [], at
        _a_change(house)
        assert _told(house) == [], at
        if store.left > 0:
            break
    assert at > 5


def test_finishing_takes_no_name_of_what_was_made_since(house: House) -> None:
    """A project that was half erased is there again, with keys of its own: its new backups keep their names."""
    old = house.protect(house.server(), name="secret-1")
    house.repository.erasing._let_go(PROJECT)
    house.repository.keyring.forget(PROJECT)
    new = house.protect(house.server(name="web-2"), name="kept-1")
    house.copies.keep()
    finish(house.records, house.repository)
    found = newest_copy(house.repository)
    assert found is not None
    assert [backup["name"] for backup in found.copy.parts["backups"]] == ["kept-1"]
    assert [each["id"] for each in found.copy.parts["checkpoints"]] == [new.checkpoint_id]
    assert house.backup(old.id).state is BackupState.ERROR
    assert house.backup(new.id).state is BackupState.AVAILABLE
