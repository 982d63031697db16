"""The log: snapshots, damage that is never believed, older histories, power cuts."""

import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.repository.log_parts import (
    KEYS,
    REPOSITORY,
    P,
    fields,
    filled,
    objects,
    store_of,
    the_log,
)

from restead.domain.errors import Damaged
from restead.drivers.blobs import LocalBlobs, MemoryBlobs
from restead.ports import BlobStore
from restead.repository import snapshot
from restead.repository.log import (
    End,
    Log,
    Open,
    State,
)
from restead.repository.seal import Kind, seal

# Snapshots


def test_replays_with_and_without_snapshots_arrive_at_the_same_state() -> None:
    with_snapshots, without = MemoryBlobs(), MemoryBlobs()
    log = filled(with_snapshots, every=1)
    log.refresh()
    for name, _ in with_snapshots.list("log/"):
        without.put(name, with_snapshots.get(name))
    state = the_log(without).refresh()
    assert log.refresh() == state
    for number in range(1, state.head + 1):
        put_snapshot(without, number, with_snapshots)
        assert the_log(without).refresh() == state


def put_snapshot(store: BlobStore, number: int, source: BlobStore) -> None:
    name, short = f"snapshot/{number}", MemoryBlobs()
    for n in range(1, number + 1):
        short.put(f"log/{n}", source.get(f"log/{n}"))
    plain = snapshot.encode(the_log(short).refresh())
    store.put(name, seal(KEYS, REPOSITORY, Kind.SNAPSHOT, name.encode(), plain))
    the_log(store).check_snapshot(number)


def test_snapshots_are_put_every_so_often_and_anybody_can_check_them() -> None:
    store = MemoryBlobs()
    log = filled(store, every=5)
    log.refresh()
    found = sorted(name for name, _ in store.list("snapshot/"))
    assert found == ["snapshot/10"]
    log.check_snapshot(10)


def test_equal_states_are_equal_bytes() -> None:
    one, two = filled(MemoryBlobs()).refresh(), filled(MemoryBlobs()).refresh()
    same = State(**{**fields(two), "digest": one.digest})
    assert snapshot.encode(one) == snapshot.encode(same)
    assert snapshot.decode(snapshot.encode(one), f"snapshot/{one.head}") == one


def test_a_snapshot_that_is_put_wrongly_by_a_key_holder_is_found_by_checking() -> None:
    store = MemoryBlobs()
    state = filled(store).refresh()
    wrong = State(**{**fields(state), "condemned": frozenset()})
    name = f"snapshot/{state.head}"
    store.put(name, seal(KEYS, REPOSITORY, Kind.SNAPSHOT, name.encode(), snapshot.encode(wrong)))
    with pytest.raises(Damaged, match="does not say what the log says"):
        the_log(store).check_snapshot(state.head)


def test_a_snapshot_of_another_history_is_damage() -> None:
    store, other = MemoryBlobs(), MemoryBlobs()
    filled(store)
    filled(other, every=12).refresh()
    store.put("snapshot/12", other.get("snapshot/12"))
    with pytest.raises(Damaged, match="snapshot/12 does not follow from log/12"):
        the_log(store).refresh()


def test_stale_listings_change_nothing() -> None:
    store = MemoryBlobs()
    store.freeze_listing()
    log = filled(store, every=3)
    assert the_log(store).refresh() == log.refresh()
    store.thaw_listing()
    store.freeze_listing()
    log.append(Open("more", P))
    assert the_log(store).refresh() == log.refresh()


# Damage


def test_every_flipped_byte_of_every_object_is_damage_that_names_it() -> None:
    found, _ = objects(every=12)
    chance = random.Random(3)
    for name in ("log/1", "log/2", "log/12", "snapshot/12"):
        # Behind a snapshot earlier entries are not read again.
        others = {n: d for n, d in found.items() if not n.startswith("snapshot/") or name in ("log/12", "snapshot/12")}
        for at in range(len(found[name])):
            flipped = bytearray(found[name])
            flipped[at] ^= 1 << chance.randrange(8)
            with pytest.raises(Damaged, match=name):
                the_log(store_of({**others, name: bytes(flipped)})).refresh()


def test_every_cut_entry_is_damage_that_names_it() -> None:
    found, _ = objects()
    for name, data in found.items():
        for length in {0, 1, 47, 48, 95, 96, len(data) // 2, len(data) - 1}:
            with pytest.raises(Damaged, match=name):
                the_log(store_of({**found, name: data[:length]})).refresh()


def test_every_missing_entry_but_the_last_is_damage_that_names_it() -> None:
    found, state = objects()
    for missing in range(1, state.head):
        left = {name: data for name, data in found.items() if name != f"log/{missing}"}
        with pytest.raises(Damaged, match=rf"log/{missing} is missing, log/{state.head} exists"):
            the_log(store_of(left)).refresh()


def test_every_two_swapped_entries_are_damage() -> None:
    found, _ = objects()
    names = sorted(found)
    for one in names:
        for two in names:
            if one < two:
                with pytest.raises(Damaged, match="forged or swapped"):
                    the_log(store_of({**found, one: found[two], two: found[one]})).refresh()


def test_an_entry_from_a_fork_of_the_same_repository_is_damage() -> None:
    """Sealed rightly, for the right number, by a holder of the keys: only the chain tells."""
    found, _ = objects()
    others, _ = objects()
    for number in range(1, 12):
        with pytest.raises(Damaged, match=rf"log/({number}|{number + 1}) does not follow on log/"):
            the_log(store_of({**found, f"log/{number}": others[f"log/{number}"]})).refresh()


def test_damage_met_while_running_is_damage_every_time() -> None:
    store = MemoryBlobs()
    log = filled(store)
    store.put("log/13", b"x" * 200)
    for _ in range(2):
        with pytest.raises(Damaged, match="log/13"):
            log.refresh()
        with pytest.raises(Damaged, match="log/13"):
            log.append(Open("a", P))


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b'{"event":"explode","id":"","previous":""}', "says 'explode', which this program does not know"),
        (b"{}", "holds no log entry"),
        (b"[]", "holds no log entry"),
        (b"not json", "holds no log entry"),
        (b"\xff", "holds no log entry"),
        (b'{"event":"end","id":"","previous":"","session":"one"}', "holds no log entry"),
        (b'{"event":"delete","id":"","previous":"xyz","manifests":[]}', "holds no log entry"),
        (b'{"event":"commit","id":"","previous":"","session":1,"manifests":[["aa"]],"pins":[]}', "holds no log entry"),
    ],
)
def test_what_is_sealed_rightly_and_makes_no_sense_is_damage(payload: bytes, says: str) -> None:
    store = MemoryBlobs()
    store.put("log/1", seal(KEYS, REPOSITORY, Kind.LOG, b"log/1", payload))
    with pytest.raises(Damaged, match=f"log/1 .*{says}"):
        the_log(store).refresh()


@pytest.mark.parametrize("plain", [b"{}", b"[]", b"", b'{"head":0}'])
def test_a_snapshot_that_makes_no_sense_is_damage(plain: bytes) -> None:
    store = store_of(objects()[0])
    store.put("snapshot/12", seal(KEYS, REPOSITORY, Kind.SNAPSHOT, b"snapshot/12", plain))
    with pytest.raises(Damaged, match="snapshot/12"):
        the_log(store).refresh()


# The witness


def test_an_older_history_is_found_by_who_kept_a_newer_digest(tmp_path: Path) -> None:
    found, state = objects()
    the_log(store_of(found), tmp_path / "witness").refresh()
    for head in range(state.head):
        older = {name: data for name, data in found.items() if int(name.removeprefix("log/")) <= head}
        assert the_log(store_of(older)).refresh().head == head  # nobody else can tell
        with pytest.raises(Damaged, match="log/12 is missing, though it was there before"):
            the_log(store_of(older), tmp_path / "witness").refresh()


def test_another_history_is_found_by_who_kept_a_digest(tmp_path: Path) -> None:
    found, _ = objects()
    the_log(store_of(found), tmp_path / "witness").refresh()
    others = store_of(objects()[0])
    the_log(others).append(Open("longer", P))
    with pytest.raises(Damaged, match="log/12 is not what was seen here before"):
        the_log(others, tmp_path / "witness").refresh()


def test_a_store_that_is_put_back_while_we_run_is_found() -> None:
    store = MemoryBlobs()
    log = filled(store)
    last = store.get("log/12")
    store.delete("log/12")
    with pytest.raises(Damaged, match="log/12 is missing, though it was there before"):
        log.refresh()
    store.put("log/12", objects()[0]["log/12"])
    with pytest.raises(Damaged, match="log/12 is not what was seen here before"):
        log.refresh()
    store.delete("log/12")
    store.put("log/12", last)
    assert log.refresh().head == 12


def test_the_witness_follows_every_append(tmp_path: Path) -> None:
    store = MemoryBlobs()
    log = the_log(store, tmp_path / "witness")
    log.append(Open("a", P))
    log.append(End(1))
    store.delete("log/2")
    with pytest.raises(Damaged, match="log/2 is missing, though"):
        the_log(store, tmp_path / "witness").refresh()
    assert (tmp_path / "witness").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["witness"]


def test_a_witness_of_another_repository_or_of_nothing_is_told(tmp_path: Path) -> None:
    the_log(store_of(objects()[0]), tmp_path / "witness").refresh()
    with pytest.raises(Damaged, match=r"belongs to repository 7272.*, this is 7373"):
        Log(MemoryBlobs(), KEYS, b"s" * 16, tmp_path / "witness").refresh()
    for content in ("{", "{}", "[]", '{"repository":"72","number":"x","digest":""}'):
        (tmp_path / "witness").write_text(content)
        with pytest.raises(Damaged, match="witness holds no digest"):
            the_log(MemoryBlobs(), tmp_path / "witness").refresh()


def test_a_slower_process_never_takes_the_witness_back(tmp_path: Path) -> None:
    store = MemoryBlobs()
    slow = the_log(store, tmp_path / "witness")
    slow.append(Open("a", P))
    fast = the_log(store, tmp_path / "witness")
    fast.append(Open("b", P))
    before = (tmp_path / "witness").read_text()
    slow._witness.keep(1, b"x" * 32)
    assert (tmp_path / "witness").read_text() == before


def test_the_newest_digest_can_be_told() -> None:
    state = (log := filled(MemoryBlobs())).refresh()
    assert log.digest() == (state.head, state.digest)


# Power cuts


def test_what_was_appended_before_a_power_cut_is_there_after_it() -> None:
    from tests.drivers.crash_disk import CrashDisk, PowerCut

    cut_at, finished = 0, False
    while not finished:
        cut_at += 1
        with tempfile.TemporaryDirectory() as before, tempfile.TemporaryDirectory() as after:
            disk, said = CrashDisk(Path(before), cut_at=cut_at), []
            try:
                log = the_log(LocalBlobs(Path(before), calls=disk), every=2)
                for n in range(3):
                    said.append(log.append(Open(str(n), P)))
                    log.refresh()
                finished = True
            except PowerCut:
                pass
            keep: Callable[[Path], bool] = (lambda _: True) if cut_at % 2 else (lambda _: False)
            disk.left_behind(Path(after), keep)
            disk.close_all()
            log = the_log(LocalBlobs(Path(after)), every=2)
            state = log.refresh()
            assert len(said) <= state.head <= len(said) + 1
            assert [s.label for s in state.sessions.values()] == [str(n) for n in range(state.head)]
            assert log.append(Open("life goes on", P)) == state.head + 1
    assert cut_at > 20
