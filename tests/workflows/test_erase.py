"""A project is erased: afterwards no copy of what the service knows tells of its backups."""

import json
import re
from itertools import count

import pytest
from tests.fakes.power import PowerCut
from tests.house import PROJECT, House

from restead.domain.errors import Damaged, Unavailable
from restead.repository import ServiceCopy
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
    assert finish(house.repository) > 0
    assert _told(house) == []
    assert house.repository.erasing.unfinished() == 0


def test_power_cut_anywhere_in_erasing(house: House) -> None:
    """Whatever was done before: what is left is known, and finishing leaves no name."""
    for at in count(1):
        house.protect(house.server(name=f"server-{at}"), name=f"secret-{at}")
        house.copies.keep()
        house.cut_power_at(at)
        try:
            erase(house.records, house.repository, PROJECT)
            break
        except PowerCut:
            house.crash_and_restart()
        if PROJECT in house.repository.keyring.projects:
            erase(house.records, house.repository, PROJECT)
        assert house.repository.erasing.unfinished() == 0 or finish(house.repository) > 0
        assert _told(house) == []
    assert at > 10
    assert _told(house) == []
