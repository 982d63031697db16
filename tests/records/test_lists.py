"""Lists: filters, orders, pages."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.records.rows import T0, Clock, P, Q, add_backup, add_restore, server

from restead.domain.backup import SERVER_TYPE
from restead.domain.errors import InvalidRequest, NotFound
from restead.domain.listing import BackupFilter, CheckpointFilter, Order, RestoreFilter, Window
from restead.domain.restore import Restore
from restead.domain.states import BackupState, Event
from restead.records import Records, backups, checkpoints, restores


@pytest.fixture
def filled(records: Records, clock: Clock) -> Records:
    """Five backups of project p, a second apart, and one of project q."""
    with records.begin() as tx:
        add_backup(tx, "b0", server("s0", zone="Z1", private_address="10.0.0.1"))
    clock.forward(1)
    with records.begin() as tx:
        add_backup(tx, "b1", server("s1", zone="z1", public_address="10.0.0.1"))
    clock.forward(1)
    with records.begin() as tx:
        add_backup(tx, "b2", server("s2", name="Straße 100%"), name="UPPER_lower")
    clock.forward(1)
    with records.begin() as tx:
        add_backup(tx, "b3", server("EE27F809-6fb5-40ae-ac46-c932bb4ee8fe"), protected=False)
    clock.forward(1)
    with records.begin() as tx:
        add_backup(tx, "b4", server("s4"), checkpoint="c-b0")
        add_backup(tx, "q0", server("s0", Q))
    return records


def _ids(records: Records, wanted: BackupFilter, window: Window = Window(order=(Order("id", False),))) -> list[str]:
    with records.read() as tx:
        page = backups.list_backups(tx, P, wanted, window)
        assert backups.count(tx, P, wanted) == len(page.items) or page.more or window.marker or window.offset
    return [backup.id for backup in page.items]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (BackupFilter(), ["b0", "b1", "b2", "b3", "b4"]),
        (BackupFilter(status="protecting"), ["b3"]),
        (BackupFilter(status="waiting_restore"), []),
        (BackupFilter(status="deleted"), []),
        (BackupFilter(name="per_LOW"), ["b2"]),
        (BackupFilter(name="%"), []),
        (BackupFilter(name="_"), ["b2"]),
        (BackupFilter(resource_name="STRASSE 100%"), ["b2"]),
        (BackupFilter(resource_name="name of S"), ["b0", "b1", "b4"]),
        (BackupFilter(resource_id="ee27f809-6FB5-40ae-ac46-c932bb4ee8fe"), ["b3"]),
        (BackupFilter(resource_id="S0"), []),
        (BackupFilter(resource_types=("other", SERVER_TYPE)), ["b0", "b1", "b2", "b3", "b4"]),
        (BackupFilter(resource_types=("other",)), []),
        (BackupFilter(checkpoint_id="c-b0"), ["b0", "b4"]),
        (BackupFilter(policy_id="plan-b1"), ["b1"]),
        (BackupFilter(zone="Z1"), ["b0"]),
        (BackupFilter(address="10.0.0.1"), ["b0", "b1"]),
        (BackupFilter(image_type="backup"), ["b0", "b1", "b2", "b3", "b4"]),
        (BackupFilter(image_type="image"), []),
        (BackupFilter(start=T0 + timedelta(seconds=1), end=T0 + timedelta(seconds=2)), ["b1", "b2"]),
        (BackupFilter(status="available", zone="Z1", name="b0"), ["b0"]),
    ],
)
def test_filters_combine_and_mean_what_the_contract_says(
    filled: Records, wanted: BackupFilter, expected: list[str]
) -> None:
    assert _ids(filled, wanted) == expected


def test_another_projects_things_are_not_there(filled: Records) -> None:
    with filled.read() as tx:
        with pytest.raises(NotFound):
            backups.backup(tx, P, "q0")
        with pytest.raises(NotFound):
            checkpoints.checkpoint(tx, P, "c-q0")
        assert len(backups.list_backups(tx, None, BackupFilter(), Window()).items) == 6


def test_the_newest_come_first_and_a_time_not_known_yet_is_the_oldest(filled: Records) -> None:
    assert _ids(filled, BackupFilter(), Window()) == ["b4", "b3", "b2", "b1", "b0"]
    assert _ids(filled, BackupFilter(), Window(order=(Order("protected_at", False),)))[0] == "b3"


@pytest.mark.parametrize("marker", ["nothing", "q0", ""])
def test_an_unknown_marker_is_refused_also_another_projects(filled: Records, marker: str) -> None:
    with pytest.raises(InvalidRequest, match="marker"):
        _ids(filled, BackupFilter(), Window(marker=marker))


def test_an_unknown_sort_key_is_refused(filled: Records) -> None:
    with pytest.raises(InvalidRequest, match="sort"):
        _ids(filled, BackupFilter(), Window(order=(Order("size"),)))


def test_a_page_follows_an_entry_that_was_deleted_meanwhile(filled: Records) -> None:
    with filled.begin() as tx:
        backups.move(tx, "b2", Event.DELETE)
        backups.move(tx, "b2", Event.DELETED)
    assert _ids(filled, BackupFilter(), Window(marker="b2")) == ["b1", "b0"]
    with filled.read() as tx, pytest.raises(NotFound):
        backups.backup(tx, P, "b2")


@pytest.mark.parametrize("seed", range(10))
def test_pages_never_overlap_and_leave_nothing_out(records: Records, clock: Clock, seed: int) -> None:
    """Any order by any keys, any page size, with many ties; an offset counts from the marker."""
    chance = random.Random(seed)
    with records.begin() as tx:
        for number in range(30):
            add_backup(tx, f"b{number:02}", name=chance.choice("xyz"), protected=chance.random() < 0.7)
    keys = ["created_at", "updated_at", "name", "status", "protected_at", "id"]
    order = tuple(Order(key, chance.random() < 0.5) for key in chance.sample(keys, chance.randrange(1, 4)))
    everything = _ids(records, BackupFilter(), Window(order=order))
    assert sorted(everything) == [f"b{number:02}" for number in range(30)]
    limit = chance.randrange(1, 12)
    paged: list[str] = []
    while len(paged) < 30:
        window = Window(limit, paged[-1] if paged else None, order=order)
        paged += _ids(records, BackupFilter(), window)
    assert paged == everything
    assert _ids(records, BackupFilter(), Window(5, everything[3], offset=2, order=order)) == everything[6:11]


def test_more_tells_whether_any_follow(filled: Records) -> None:
    with filled.read() as tx:
        assert backups.list_backups(tx, P, BackupFilter(), Window(limit=4)).more
        assert not backups.list_backups(tx, P, BackupFilter(), Window(limit=5)).more
        assert not backups.list_backups(tx, P, BackupFilter(), Window(limit=10**6)).more


def test_checkpoints_filter_by_state_plan_and_time(filled: Records) -> None:
    def ids(**wanted: object) -> list[str]:
        window = Window(order=(Order("id", False),))
        with filled.read() as tx:
            page = checkpoints.list_checkpoints(tx, P, CheckpointFilter(**wanted), window)  # type: ignore[arg-type]
        return [checkpoint.id for checkpoint in page.items]

    assert ids() == ["c-b0", "c-b1", "c-b2", "c-b3"]
    assert ids(status="protecting") == ["c-b3"]
    assert ids(plan_id="plan-b2") == ["c-b2"]
    assert ids(start=T0 + timedelta(seconds=1), end=T0 + timedelta(seconds=1)) == ["c-b1"]


def test_a_checkpoint_follows_its_backups(filled: Records) -> None:
    def state() -> BackupState:
        with filled.read() as tx:
            return checkpoints.checkpoint(tx, P, "c-b0").state

    assert state() is BackupState.AVAILABLE
    for id, event, expected in (
        ("b0", Event.DELETE, BackupState.DELETING),
        ("b0", Event.DELETED, BackupState.AVAILABLE),
        ("b4", Event.DELETE, BackupState.DELETING),
        ("b4", Event.FAILED, BackupState.ERROR),
        ("b4", Event.DELETE, BackupState.DELETING),
    ):
        with filled.begin() as tx:
            backups.move(tx, id, event)
        assert state() is expected
    with filled.begin() as tx:
        backups.move(tx, "b4", Event.DELETED)
    with pytest.raises(NotFound):
        state()


def test_a_disk_backup_has_its_backups_state_but_never_restores(filled: Records) -> None:
    with filled.begin() as tx:
        moved = backups.move(tx, "b0", Event.RESTORE)
    assert moved.state is BackupState.RESTORING
    assert {volume.state for volume in moved.volumes} == {BackupState.AVAILABLE}


def test_the_parent_is_the_newest_good_backup_of_the_disk_in_the_project(records: Records, clock: Clock) -> None:
    disk = server("s0").volumes[0].id
    for id in ("old", "new", "newest"):
        with records.begin() as tx:
            add_backup(tx, id, server("s0"))
        clock.forward(1)
    with records.begin() as tx:
        add_backup(tx, "other", server("s0", Q))
        assert backups.parent(tx, P, disk) == "newest.0"
        backups.move(tx, "newest", Event.DELETE)
        assert backups.parent(tx, P, disk) == "new.0"
        assert backups.parent(tx, P, "unknown") is None


def test_usage_counts_every_backup_once(filled: Records) -> None:
    with filled.read() as tx:
        assert backups.usage(tx, P) == (5, 4 * 2 * 100)
        assert backups.usage(tx, "nobody") == (0, 0)


def test_restores_filter_by_what_they_are_about(records: Records, clock: Clock) -> None:
    with records.begin() as tx:
        first = add_restore(tx, "r0", add_backup(tx, "b0"), server("EE27F809-6fb5-40ae-ac46-c932bb4ee8fe"))
        restores.move(tx, "r0", Event.RESTORED, _finished)
    clock.forward(1)
    with records.begin() as tx:
        add_restore(tx, "r1", add_backup(tx, "b1"))

    def ids(**wanted: object) -> list[str]:
        with records.read() as tx:
            page = restores.list_restores(tx, P, RestoreFilter(**wanted), Window())  # type: ignore[arg-type]
        return [restore.id for restore in page.items]

    assert ids() == ["r1", "r0"]
    assert ids(status="success") == ["r0"]
    assert ids(checkpoint_id="c-b1") == ["r1"]
    assert ids(backup_id="b0") == ["r0"]
    assert ids(server_id=first.request.server_id.lower()) == ["r0"]
    assert ids(status="fail") == []


def _finished(restore: Restore) -> Restore:
    return replace(restore, progress=100)
