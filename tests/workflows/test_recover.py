"""What only the service knows, copied into the repository, and a successor that finds it there."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from threading import Thread

import pytest
from tests.fakes.power import PowerCut
from tests.house import PROJECT, House
from tests.lab import rows

from restead.domain.backup import ProtectedServer, Tag
from restead.domain.caller import Role
from restead.domain.errors import Damaged, Unavailable
from restead.domain.listing import Window
from restead.domain.policy import Keep, OperationChange, PolicyChange, Selection
from restead.domain.states import RestoreState
from restead.domain.stock import Settlement, Succession
from restead.records import quotas, remembered, utc_now
from restead.repository import ServiceCopy, scrub
from restead.repository.service_copy import KEPT
from restead.service.policies import PolicyRunRequest
from restead.workflows.adopt import Adoption
from restead.workflows.service_copy import CopyKeeper, Successor, newest_copy

_SERVERS = [{"id": "s1", "name": "web-1", "added_later": [1, {"x": None}]}]


def _lose_everything(house: House) -> None:
    """A new machine: no rows, no cache; the repository and its key are all there is."""
    house.close()
    rows.lose(house.records)
    shutil.rmtree(house.folder / "cache")
    house.server_definitions = []
    house.open()


def _recover(house: House) -> tuple[Succession | None, list[Settlement]]:
    def put(servers: object) -> list[str]:
        house.server_definitions = list(servers)  # type: ignore[call-overload]
        return [str(each["name"]) for each in house.server_definitions]

    taken = Successor(house.records, house.repository, put).take_over()
    return taken, [each.what for each in Adoption(house.records, house.repository).settle()]


def test_a_lost_service_is_rebuilt_with_all_that_only_it_knew(house: House) -> None:
    """Ids, names, tags, sizes in quotas, holds, safety checkpoints, tokens, servers: and every disk, bit for bit."""
    server = house.server()
    first = house.protect(server, name="first", tags=(Tag("stage", "prod"),))
    then = house.disks(server)
    house.scribble(server, 2)
    overwritten = house.disks(server)
    house.restore(first)
    until = utc_now() + timedelta(days=90)
    house.service.backups.hold(house.caller, PROJECT, first.id, until)
    token, dead = house.tokens.create("p1", role=Role.READER), house.tokens.create("p1")
    house.tokens.revoke(dead.token.id)
    house.service.restores.throttle(house.admin, PROJECT, None, 10**12)
    house.server_definitions = list(_SERVERS)
    before = {backup.id: backup for backup in house.all_backups()}
    house.copies.keep()
    assert house.copies.warnings() == []

    _lose_everything(house)
    taken, done = _recover(house)
    assert taken == Succession(1, 2, ("web-1",))
    assert done == [Settlement.ADOPTED] * 2
    assert house.server_definitions == _SERVERS
    after = {backup.id: backup for backup in house.all_backups()}
    assert set(after) == set(before)
    for id, backup in before.items():
        found = after[id]
        same = replace(found, updated_at=backup.updated_at)
        if backup.safety_of:
            same = replace(same, created_at=backup.created_at)  # its time begins anew
        assert same == backup
    assert after[first.id].held_until == until
    assert house.tokens.caller(token.secret).roles == {Role.READER}
    with pytest.raises(Exception, match="revoked"):
        house.tokens.caller(dead.secret)
    assert {line.id for line in house.tokens.list()} == {token.token.id, dead.token.id}
    house.scribble(server, 9)
    for id, wanted in ((first.id, then), (next(i for i in before if i != first.id), overwritten)):
        assert house.restore(after[id]).state is RestoreState.SUCCESS
        assert house.disks(server) == wanted
    house.copies.keep()
    assert house.copies.warnings() == [], "it is the service that it was"
    assert _recover(house) == (Succession(2, 0, ()), []), "a second time does nothing"


def test_nobody_who_writes_waits_for_a_copy(house: House) -> None:
    """It reads all rows, which takes long where there are many."""
    house.protect(house.server())
    house.copies.keep()
    house.server_definitions = list(_SERVERS)
    keeper = Thread(target=house.copies.keep)
    with house.records.begin():
        keeper.start()
        keeper.join(10)
        assert not keeper.is_alive(), "a copy needs nobody else's turn"
    assert house.copies.warnings() == []
    assert house.repository.service_copies.numbers()[0] == 2


def test_a_copy_that_takes_long_is_made_less_often(house: House) -> None:
    """For a tenth of the time at most, and nobody who ends a service waits for it."""
    now = [0.0]

    def slow() -> list[dict[str, object]]:
        now[0] += 60
        return [{"name": f"at {now[0]}"}]

    keeper = CopyKeeper(house.records, house.repository, slow, lambda: now[0])
    made = []
    for _ in range(200):
        keeper(lambda: None)
        made.append(house.repository.service_copies.numbers()[0])
        now[0] += 3
    assert (made[0], made[-1]) == (1, 2)
    keeper.keep_last(timedelta(seconds=59))
    assert house.repository.service_copies.numbers()[0] == 2
    keeper.keep_last(timedelta(seconds=60))
    assert house.repository.service_copies.numbers()[0] == 3


def test_a_burst_of_changes_is_one_copy_and_a_handful_is_kept(house: House) -> None:
    for _ in range(20):
        house.tokens.create("p1")
    house.copies.keep()
    house.copies.keep()
    assert house.repository.service_copies.numbers() == [1]
    for number in range(2, 2 + 2 * KEPT):
        house.tokens.create("p1")
        house.copies.keep()
        assert house.repository.service_copies.numbers()[0] == number
    assert len(house.repository.service_copies.numbers()) == KEPT
    house.open()
    house.copies.keep()
    assert house.repository.service_copies.numbers()[0] == 1 + 2 * KEPT, "a restart changes nothing"


def test_a_store_that_is_away_is_told_and_made_good_later(house: House) -> None:
    house.tokens.create("p1")
    real, house.store.put = house.store.put, _away  # type: ignore[method-assign]
    house.copies.keep()
    assert ["could not be copied" in line for line in house.copies.warnings()] == [True]
    house.store.put = real  # type: ignore[method-assign]
    house.copies.keep()
    assert house.copies.warnings() == []
    assert house.repository.service_copies.numbers() == [1]


def _away(*_: object) -> bool:
    raise Unavailable("the store is away")


def test_where_nothing_may_be_deleted_old_copies_stay(house: House) -> None:
    house.store.delete = _away  # type: ignore[method-assign,assignment]
    for _ in range(KEPT + 2):
        house.tokens.create("p1")
        house.copies.keep()
    assert house.copies.warnings() == []
    assert len(house.repository.service_copies.numbers()) == KEPT + 2


def test_a_new_service_does_not_write_over_what_a_lost_one_left(house: House) -> None:
    """Started on the repository before anybody has recovered, it would hide tokens and servers behind its nothing."""
    house.tokens.create("p1")
    house.copies.keep()
    _lose_everything(house)
    house.tokens.create("p1")
    house.copies.keep()
    assert house.repository.service_copies.numbers() == [1]
    assert ["what another service knew (service/1)" in line for line in house.copies.warnings()] == [True]
    assert _recover(house)[0] == Succession(1, 1, ())
    house.copies.keep()
    assert house.copies.warnings() == []
    assert len(house.tokens.list()) == 2


def test_a_damaged_copy_hides_no_older_one_and_is_told(house: House) -> None:
    token = house.tokens.create("p1")
    house.copies.keep()
    house.tokens.create("p1")
    house.copies.keep()
    sealed = bytearray(house.store.get("service/2"))
    for at in (0, 50, len(sealed) - 1):
        bad = bytearray(sealed)
        bad[at] ^= 1
        house.store.delete("service/2")
        house.store.put("service/2", bytes(bad))
        assert [error.message for error in scrub(house.store) if "service/2" in error.message]
        found = newest_copy(house.repository)
        assert found is not None
        assert (found.number, len(found.damaged)) == (1, 1)
    _lose_everything(house)
    taken, _ = _recover(house)
    assert taken is not None
    assert (taken.number, taken.tokens) == (1, 1)
    assert "service/2" in taken.damaged[0]
    house.tokens.caller(token.secret)
    house.store.delete("service/1")
    with pytest.raises(Damaged, match="service/2"):
        newest_copy(house.repository)


def test_a_sound_copy_passes_the_scrub_and_its_place_cannot_be_taken(house: House) -> None:
    """Old copies cannot be shown as new ones: the name is sealed in."""
    house.copies.keep()
    house.tokens.create("p1")
    house.copies.keep()
    assert list(scrub(house.store)) == []
    house.store.put("service/3", house.store.get("service/1"))
    found = newest_copy(house.repository)
    assert found is not None
    assert found.number == 2


def test_an_older_log_beside_a_newer_copy_is_refused(house: House) -> None:
    server = house.server()
    house.protect(server)
    house.copies.keep()
    head = house.repository.log.digest()[0]
    _lose_everything(house)
    for number in range(head - 1, head + 1):
        house.store.delete(f"log/{number}")
    house.open()
    with pytest.raises(Damaged, match=f"log/{head} is missing"):
        _recover(house)


def test_the_records_know_the_newest_digest_too(house: House) -> None:
    """So the cache may go, and an older history is still found out."""
    house.protect(house.server())
    house.copies.keep()
    repository = house.repository.keyring.repository_id
    with house.records.read() as tx:
        assert remembered.newest_digest(tx, repository) == house.repository.log.digest()
        known = remembered.newest_digest(tx, repository)
    with house.records.begin() as tx:
        remembered.keep_digest(tx, repository, 1, bytes(32))
        assert remembered.newest_digest(tx, repository) == known, "never backwards"
    house.repository.log.require(*known)
    with pytest.raises(Damaged, match="another history"):
        house.repository.log.require(known[0], bytes(32))
    with pytest.raises(Damaged, match="is missing"):
        house.repository.log.require(known[0] + 1, known[1])


@pytest.mark.long_on_postgres
def test_power_cut_anywhere_in_copying_and_recovering(house: House) -> None:
    """A copy is there or not; whatever of a recovery is done is whole, and the next time does the rest."""
    server = house.server()
    made = {house.protect(server).id, house.protect(server).id}
    house.tokens.create("p1")
    house.server_definitions = list(_SERVERS)
    _until_done(house, house.copies.keep, lambda: house.server_definitions.extend([]))
    assert newest_copy(house.repository) is not None
    for at in count(1):
        _lose_everything(house)
        house.cut_power_at(at)
        try:
            _recover(house)
            break
        except PowerCut:
            house.crash_and_restart()
        _recover(house)
        assert {backup.id for backup in house.all_backups()} == made
        assert len(house.tokens.list()) == 1
    assert at > 4


def _until_done(house: House, do: Callable[[], None], after: Callable[[], None]) -> None:
    for at in count(1):
        house.cut_power_at(at)
        try:
            do()
            return
        except PowerCut:
            house.crash_and_restart()
            assert all(isinstance(found, ServiceCopy) for _, found in house.repository.service_copies.newest_first())
            after()
            do = house.copies.keep


def test_what_a_newer_release_has_added_is_passed_over(house: House) -> None:
    """Parts and members that we do not know are ignored; a shape that we cannot read falls back on the manifests."""
    server = house.server()
    backup = house.protect(server, name="first")
    house.copies.keep()
    found = newest_copy(house.repository)
    assert found is not None
    kept = found.copy.parts["backups"][0]
    for number, changed in ((2, {**kept, "mood": "good"}), (3, {**kept, "volumes": 7}), (4, {"id": 1})):
        parts = {**found.copy.parts, "backups": [changed], "moods": [{"id": "p"}]}
        assert house.repository.service_copies.put(replace(found.copy, parts=parts), number)
        _lose_everything(house)
        assert _recover(house)[1] == [Settlement.ADOPTED]
        assert house.backup(backup.id).name == "first"


def test_a_repository_without_a_copy_is_adopted_as_before(house: House) -> None:
    backup = house.protect(house.server())
    _lose_everything(house)
    assert _recover(house) == (None, [Settlement.ADOPTED])
    assert house.backup(backup.id).name == backup.name


@pytest.mark.long_on_postgres
def test_caches_can_go_while_backups_and_restores_run(house: House, tmp_path: Path) -> None:
    """The cache folder is deleted again and again under threads that look things up and add to it."""
    import threading

    servers = [house.server(name=f"web-{at}", seed=at) for at in range(3)]
    house.start()
    stop = threading.Event()

    def delete() -> None:
        while not stop.is_set():
            shutil.rmtree(house.folder / "cache", ignore_errors=True)
            stop.wait(0.03)

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        for turn in range(4):
            made = []
            for at, server in enumerate(servers):
                house.scribble(server, 10 * turn + at)
                made.append((server, house.protect(server, wait=False), house.disks(server)))
            house.drain()
            for server, backup, _ in made:
                assert house.backup(backup.id).restorable, house.backup(backup.id).failure
                house.scribble(server, 77)
            restores = [house.restore(house.backup(backup.id), wait=False) for _, backup, _ in made]
            for (server, _, wanted), restore in zip(made, restores, strict=True):
                ended = house.wait_for(restore.id)
                assert (ended.state, ended.failure) == (RestoreState.SUCCESS, None)
                assert house.disks(server) == wanted
    finally:
        stop.set()
        thread.join()


def test_policies_quotas_and_tags_come_back_and_schedules_go_on_from_then(house: House) -> None:
    """Whole, with ids, so that clients go on; what a deleted policy was does not come back, and nothing is run late."""
    server = house.server()
    operation = OperationChange(pattern="RRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30", keep=Keep(max_backups=3))
    listed = (ProtectedServer(server.id, server.name),)
    wanted = PolicyChange(
        name="nightly", servers=listed, selection=Selection(tags=(Tag("a", "b"),)), operation=operation,
        tags=(Tag("tier", "web"),), parameters={"common": {"x": [1]}},
    )  # fmt: skip
    policy = house.service.policies.create(house.caller, PROJECT, wanted)
    gone = house.service.policies.create(house.caller, PROJECT, replace(wanted, name="gone", servers=()))
    house.service.policies.run(house.caller, PROJECT, PolicyRunRequest(policy.id))
    house.drain()
    made = house.all_backups()
    house.copies.keep()
    house.service.policies.delete(house.caller, PROJECT, gone.id)
    with house.records.begin() as tx:
        quotas.set_limits(tx, PROJECT, 7, None)
    house.copies.keep()
    assert house.repository.service_copies.numbers() == [2, 1], "a quota and a deletion are changes"

    _lose_everything(house)
    before = utc_now()
    taken, _ = _recover(house)
    assert taken == Succession(2, 0, (), policies=1)
    (back,) = house.service.policies.list(house.caller, PROJECT, None, Window()).items
    assert replace(back, considered_until=policy.considered_until) == policy
    assert back.considered_until >= before
    assert [each.quota for each in house.service.quotas.quotas(house.caller, PROJECT)] == [-1, 7]
    (backup,) = house.all_backups()
    assert (backup.policy_id, backup.tags) == (policy.id, made[0].tags)
    with pytest.raises(Exception, match="bound to policy"):
        house.service.policies.create(house.caller, PROJECT, replace(wanted, name="other"))
    house.service.policies.delete(house.caller, PROJECT, back.id)
    assert _recover(house)[0] == Succession(2, 0, ()), "the service that it is knows better"
    assert house.service.policies.list(house.caller, PROJECT, None, Window()).items == ()
