"""Holds: nobody can delete a held backup, whatever service asks, and nothing but time ends one."""

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from tests.fakes.power import PowerCut
from tests.house import PROJECT, House

from restead.domain.backup import Backup
from restead.domain.errors import Code, Forbidden, InvalidRequest, NotFound, Unavailable
from restead.domain.states import BackupState
from restead.records import backups, utc_now
from restead.repository import Hold
from restead.workflows import HoldKeeper, SafetyRetention
from restead.workflows.holding import held_until, holder_until, until_of

_DAY = timedelta(days=1)


def _hold(house: House, backup: Backup, until: datetime) -> Backup:
    return house.service.backups.hold(house.caller, PROJECT, backup.id, until)


def _delete(house: House, backup: Backup) -> None:
    house.service.checkpoints.delete(house.admin, PROJECT, backup.checkpoint_id, None)
    house.drain()


def _end_hold(house: House, *, years: int = 100) -> None:
    """Look at holds as a service does whose clock says that their time is over."""
    HoldKeeper(house.records, house.repository, lambda: utc_now() + years * 365 * _DAY)(lambda: None)


def _holders(house: House) -> dict[str, set[str]]:
    return {manifest: set(holders) for manifest, holders in house.repository.log.refresh().holds.items()}


def test_a_held_backup_cannot_be_deleted_and_its_log_says_so(house: House) -> None:
    """Administrators included; the repository refuses as well, for services that have other rows."""
    backup = house.protect(house.server())
    until = utc_now() + 90 * _DAY
    assert _hold(house, backup, until).held_until == until
    before = house.dump()
    with pytest.raises(InvalidRequest, match="is held until") as refused:
        _delete(house, backup)
    assert refused.value.code is Code.IN_PROGRESS
    assert house.dump() == before
    manifests = [volume.manifest for volume in backup.volumes]
    assert _holders(house) == {manifest: {holder_until(until)} for manifest in manifests}
    for manifest in manifests:
        assert manifest is not None
        with pytest.raises(InvalidRequest, match="is held by"):
            house.repository.delete([manifest])
    assert house.restore(backup).failure is None, "it is restored like any other"


def test_a_hold_becomes_longer_and_never_shorter(house: House) -> None:
    backup = house.protect(house.server())
    until = utc_now() + 90 * _DAY
    _hold(house, backup, until)
    entries = house.repository.log.digest()
    assert _hold(house, backup, until).held_until == until, "the same again succeeds"
    assert house.repository.log.digest() == entries, "and says nothing twice"
    for sooner in (until - timedelta(microseconds=1), utc_now() - _DAY):
        with pytest.raises(InvalidRequest) as refused:
            _hold(house, backup, sooner)
        assert refused.value.code is Code.WRONG_PARAMETER
    assert _hold(house, backup, until + _DAY).held_until == until + _DAY
    assert set.union(*_holders(house).values()) == {holder_until(until + _DAY)}


def test_who_may_hold_what(house: House) -> None:
    backup, until = house.protect(house.server()), utc_now() + _DAY
    with pytest.raises(Forbidden):
        house.service.backups.hold(house.reader, PROJECT, backup.id, until)
    with pytest.raises(NotFound):
        house.service.backups.hold(house.admin, house.admin.project_id, backup.id, until)
    _delete(house, backup)
    with pytest.raises(NotFound):
        _hold(house, backup, until)
    waiting = house.protect(house.server(name="db-1"), wait=False)
    with pytest.raises(InvalidRequest, match="is protecting") as refused:
        _hold(house, waiting, until)
    assert refused.value.code is Code.IN_PROGRESS


def test_when_its_time_is_over_it_can_be_deleted(house: House) -> None:
    backup = house.protect(house.server())
    _hold(house, backup, utc_now() + _DAY)
    HoldKeeper(house.records, house.repository)(lambda: None)
    assert house.backup(backup.id).held_until is not None
    _end_hold(house)
    assert house.backup(backup.id).held_until is None
    assert _holders(house) == {}
    _delete(house, backup)
    assert house.all_backups() == ()
    assert not house.repository.log.refresh().manifests


def test_a_deletion_after_the_time_and_before_the_next_look_goes_through(house: House) -> None:
    backup = house.protect(house.server())
    past = utc_now() - _DAY
    for volume in backup.volumes:
        assert volume.manifest is not None
        house.repository.log.append(Hold(volume.manifest, holder_until(past)))
    with house.records.begin() as tx:
        backups.set_hold(tx, backup.id, past)
    _delete(house, backup)
    assert house.all_backups() == ()


def test_what_others_hold_is_never_released_here(house: House) -> None:
    """Somebody who works with the repository in other ways: the deletion fails, and says who holds it."""
    backup = house.protect(house.server())
    manifest = backup.volumes[0].manifest
    assert manifest is not None
    house.repository.log.append(Hold(manifest, "legal department"))
    _end_hold(house)
    _delete(house, backup)
    found = house.backup(backup.id)
    assert found.state is BackupState.ERROR
    assert found.failure is not None
    assert "legal department" in found.failure.message
    assert _holders(house) == {manifest: {"legal department"}}


def test_retention_passes_over_what_is_held(house: House) -> None:
    server = house.server()
    backup = house.protect(server)
    house.scribble(server, 2)
    house.restore(backup)
    house.scribble(server, 3)
    house.restore(backup)
    held, free = [each for each in house.all_backups() if each.safety_of]
    _hold(house, held, utc_now() + _DAY)
    SafetyRetention(house.records, house.engine.submit, -_DAY)(lambda: None)
    house.drain()
    assert {each.id for each in house.all_backups()} == {backup.id, held.id}
    assert free.id not in {each.id for each in house.all_backups()}


def test_power_cut_anywhere_in_holding(house: House) -> None:
    """Whoever got no answer may have the hold or not; once its row is there the log follows, and whoever asks again
    gets it."""
    backup = house.protect(house.server())
    for at in count(1):
        until = utc_now() + at * _DAY
        house.cut_power_at(at)
        try:
            _hold(house, backup, until)
            break
        except PowerCut:
            house.crash_and_restart()
        row = house.backup(backup.id).held_until
        HoldKeeper(house.records, house.repository)(lambda: None)
        assert held_until(house.repository, backup) == row
        assert _hold(house, backup, until).held_until == until
    assert at > 3


def test_a_store_that_is_away_leaves_a_row_that_binds(house: House) -> None:
    backup = house.protect(house.server())
    real, house.store.put = house.store.put, _away  # type: ignore[method-assign]
    until = utc_now() + _DAY
    with pytest.raises(Unavailable):
        _hold(house, backup, until)
    with pytest.raises(InvalidRequest, match="is held until"):
        _delete(house, backup)
    house.store.put = real  # type: ignore[method-assign]
    HoldKeeper(house.records, house.repository)(lambda: None)
    assert held_until(house.repository, backup) == until


def _away(*_: object) -> bool:
    raise Unavailable("the store is away")


def test_holders_say_until_when_and_others_are_none_of_ours() -> None:
    moment = datetime(2027, 3, 2, 0, 0, 0, 5, tzinfo=UTC)
    assert holder_until(moment) == "until 2027-03-02T00:00:00.000005+00:00"
    assert until_of(holder_until(moment)) == moment
    for other in ("", "legal department", "until then", "until 2027-03-02", "2027-03-02T00:00:00+00:00"):
        assert until_of(other) is None
