"""A restore is cancelled, taken over, held up and disturbed at any moment."""

import os
import random
import time
from datetime import timedelta

import pytest
from tests.house import PROJECT
from tests.stories.honesty import hints_are_true, is_honest, nothing_is_left
from tests.stories.test_restore_power_cut import Scene, scene

from restead.domain.errors import Code, InvalidRequest, Unavailable
from restead.domain.ids import RestoreId
from restead.domain.restore import Restore
from restead.domain.server import ServerStatus
from restead.domain.states import RestorePhase, RestoreState, VolumeOutcome
from restead.records import runs

CASES = int(os.environ.get("RESTEAD_FUZZ", "1000"))
SHARES = 4
THINGS = 190  # somewhat more than happen in the small restore: some are cancelled too late


def _find(it: Scene, id: RestoreId) -> Restore:
    return it.house.service.restores.restore(it.house.caller, PROJECT, id)


def _cancel(it: Scene, id: RestoreId) -> bool:
    """Cancel it; False: what becomes of its disks was decided already."""
    try:
        it.house.service.restores.cancel(it.house.caller, PROJECT, id)
    except InvalidRequest as error:
        refused = error.code
    else:
        return True
    assert refused is Code.IN_PROGRESS
    return False


def _cancelled_at(it: Scene, moment: int) -> RestorePhase | None:
    """Cancel a restore when so many things have happened; return the phase it was in, None if it was decided."""
    house = it.house
    house.rewind(it.saved)
    house.cloud.tracks = moment % 2 == 0
    id = house.restore(it.backup, power_on=True, wait=False).id
    happened, done, phase = 0, False, None

    def fault(what: str) -> None:
        nonlocal happened, done, phase
        happened += 1
        # In the middle of a transaction nobody else can write: that request waits, and this moment is the next one.
        if happened >= moment and not done and not what.startswith("records"):
            done = True
            phase = _find(it, id).phase
            if not _cancel(it, id):
                phase = None

    house.power.fault = fault
    house.drain()
    restore = _find(it, id)
    is_honest(house, it.server, restore, it.wanted, it.before)
    if phase is None:
        assert restore.state is RestoreState.SUCCESS
    else:
        assert restore.state is RestoreState.FAIL
        assert restore.failure is not None
        assert restore.failure.message == "cancelled"
        assert house.disks(it.server) == it.before
        assert house.cloud.server(PROJECT, it.server.id).status is ServerStatus.STOPPED  # as it was
    nothing_is_left(house)
    hints_are_true(house)
    return phase


@pytest.mark.timeout(0)
@pytest.mark.parametrize("share", range(SHARES))
def test_whenever_a_restore_is_cancelled_every_disk_holds_what_it_held(share: int) -> None:
    chance, phases = random.Random(share), set()
    with scene() as it:
        for _ in range(CASES // SHARES // 4 if "RESTEAD_FUZZ" not in os.environ else CASES // SHARES):
            phases.add(_cancelled_at(it, chance.randrange(1, THINGS)))
    assert phases >= {RestorePhase.COMPARING, RestorePhase.WRITING, None}


def test_a_cancel_while_putting_back_changes_nothing() -> None:
    with scene() as it:
        house = it.house
        id = house.restore(it.backup, wait=False).id
        seen: list[RestorePhase] = []

        def fault(what: str) -> None:
            if what == "cloud: write":
                seen.append(_find(it, id).phase)
                assert _cancel(it, id)

        house.power.fault = fault
        house.drain()
        assert set(seen) == {RestorePhase.WRITING, RestorePhase.PUTTING_BACK}
        is_honest(house, it.server, _find(it, id), it.wanted, it.before)
        assert house.disks(it.server) == it.before
        assert not _cancel(it, id)


def test_who_has_lost_the_lease_writes_nothing_more() -> None:
    """The lease moves at some write.  The loser's next write does not happen; the winner brings it to an end."""
    with scene() as it:
        for seed in range(40):
            it.house.rewind(it.saved)
            it.house.cloud.tracks = seed % 2 == 0
            _taken_over(it, random.Random(seed))


def _taken_over(it: Scene, chance: random.Random) -> None:
    house = it.house
    id = house.restore(it.backup, power_on=True, wait=False).id
    moves_at, writes, late = chance.randrange(1, 12), 0, []

    def fault(what: str) -> None:
        nonlocal writes
        if what in ("cloud: write", "cloud: blank"):
            writes += 1
            if writes == moves_at:
                with house.records.begin() as tx:
                    runs.release_all(tx)
                    runs.claim(tx, "another process", timedelta(seconds=60))
                for run in house.engine._active:
                    with pytest.raises(runs.LeaseLost):
                        run.renew()
            elif writes > moves_at:
                late.append(what)

    house.power.fault = fault
    house.drain()
    # A thread of the other disk may have been between its check and its write.
    assert len(late) <= 3
    house.power.fault = lambda what: None
    house.engine.take_up()
    house.drain()
    restore = _find(it, id)
    assert restore.state is RestoreState.SUCCESS
    is_honest(house, it.server, restore, it.wanted, it.before)
    nothing_is_left(house)


def test_a_repository_that_is_full_leaves_everything_untouched() -> None:
    with scene() as it:

        def fault(what: str) -> None:
            if what.startswith("put packs"):
                raise Unavailable("no space left in the repository")

        it.house.power.fault = fault
        restore = it.house.restore(it.backup)
        it.house.power.fault = lambda what: None
        assert {volume.outcome for volume in restore.volumes} == {VolumeOutcome.UNTOUCHED}
        assert restore.failure is not None
        assert "no space left in the repository" in restore.failure.message
        is_honest(it.house, it.server, restore, it.wanted, it.before)
        assert it.house.disks(it.server) == it.before


def test_a_file_system_under_the_disks_that_is_full_leaves_everything_untouched() -> None:
    """What was given to the disk for it is known before anything is overwritten."""
    with scene() as it:
        house = it.house
        for volume in it.server.volumes:  # all of it a hole, so that everything that is wanted needs space
            house.cloud.fill(volume.id, bytes(volume.size))
            house.cloud._disks[volume.id].pages.clear()
        before = house.disks(it.server)
        house.cloud.space = 4096
        restore = house.restore(it.backup)
        assert {volume.outcome for volume in restore.volumes} == {VolumeOutcome.UNTOUCHED}
        assert restore.failure is not None
        assert "no space left" in restore.failure.message
        assert house.disks(it.server) == before


def test_a_disk_that_somebody_opens_before_it_is_compared_is_left_alone() -> None:
    with scene() as it:
        house, disk = it.house, it.server.volumes[1].id
        id = house.restore(it.backup, wait=False).id
        with house.cloud.open_moment(PROJECT, it.server.id, [disk]):
            house.drain()
        restore = _find(it, id)
        assert (restore.state, house.disks(it.server)) == (RestoreState.FAIL, it.before)
        assert {volume.outcome for volume in restore.volumes} == {VolumeOutcome.UNTOUCHED}
        assert disk in restore.volumes[1].reason


@pytest.mark.parametrize(("moment", "number"), [("put log", 2), ("cloud: reread", 1)])
def test_what_somebody_writes_past_all_locks_is_no_success(moment: str, number: int) -> None:
    """Between comparing and writing, or after it.  A disk that we have written to is put back, all of it."""
    with scene() as it:
        house, disk = it.house, it.server.volumes[0]
        done: list[str] = []

        def fault(what: str) -> None:
            if what.startswith(moment):
                done.append(what)
            if what.startswith(moment) and len(done) == number:
                for at in range(0, disk.size, 512):
                    house.cloud.fill(disk.id, b"stranger", at)

        house.power.fault = fault
        restore = house.restore(it.backup, verify="readback")
        assert restore.state is RestoreState.FAIL
        assert restore.failure is not None
        assert disk.id in restore.failure.message
        for volume, held, before in zip(restore.volumes, house.disks(it.server), it.before, strict=True):
            assert volume.outcome is VolumeOutcome.UNTOUCHED or held == before
        assert house.disks(it.server)[1] == it.before[1]


def test_readback_finds_what_the_medium_does_not_hold() -> None:
    with scene() as it:
        house, disk = it.house, it.server.volumes[0]

        def fault(what: str) -> None:
            if what == "cloud: reread":
                house.cloud.rot(disk.id, 100)
                house.power.fault = lambda what: None

        house.power.fault = fault
        restore = house.restore(it.backup, verify="readback")
        assert restore.state is RestoreState.FAIL
        assert restore.failure is not None
        assert disk.id in restore.failure.message


def test_a_throttle_slows_a_restore_and_can_be_lifted_while_it_runs() -> None:
    with scene() as it:
        house = it.house
        id = house.restore(it.backup, wait=False).id
        assert house.service.restores.throttle(house.caller, PROJECT, id, 64 * 1024) == _find(it, id)
        began = time.monotonic()
        house.drain()
        assert time.monotonic() - began > 0.4  # 32 KiB are read, and as much is written and more
        assert _find(it, id).state is RestoreState.SUCCESS
        house.rewind(it.saved)
        house.service.restores.throttle(house.admin, PROJECT, None, 1)
        id = house.restore(it.backup, wait=False).id
        house.start()
        house.wait(lambda: _find(it, id).phase is RestorePhase.COMPARING)
        time.sleep(0.3)
        assert _find(it, id).phase is RestorePhase.COMPARING
        house.service.restores.throttle(house.admin, PROJECT, None, None)
        assert house.wait_for(id).state is RestoreState.SUCCESS
        house.engine.stop()


def test_a_cancel_of_a_restore_that_is_held_up_is_seen_within_two_seconds() -> None:
    with scene() as it:
        house = it.house
        house.service.restores.throttle(house.admin, PROJECT, None, 1)
        id = house.restore(it.backup, wait=False).id
        house.start()
        house.wait(lambda: _find(it, id).phase is RestorePhase.COMPARING)
        assert _cancel(it, id)
        began = time.monotonic()
        assert house.wait_for(id).state is RestoreState.FAIL
        assert time.monotonic() - began < 2
        house.engine.stop()
