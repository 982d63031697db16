"""Short logs to test with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from restead.domain.ids import ManifestId, ProjectId
from restead.drivers.blobs import MemoryBlobs
from restead.ports import BlobStore
from restead.repository import events
from restead.repository.log import (
    Commit,
    Condemn,
    Delete,
    End,
    Event,
    Hold,
    Log,
    Open,
    Progress,
    Release,
    State,
)
from restead.repository.seal import Kind, seal


@dataclass
class Keys:
    sealing_keys: Mapping[int, bytes]
    newest: int


KEYS = Keys({1: b"\x07" * 32}, 1)
REPOSITORY = b"r" * 16
P = ProjectId("project")
ROOT = b"\x0a" * 32
PACK = b"\x0b" * 32


def the_log(store: BlobStore, remembered: Path | None = None, every: int = 1000) -> Log:
    return Log(store, KEYS, REPOSITORY, remembered, snapshot_every=every)


def m(text: str) -> ManifestId:
    return ManifestId(text)


def put_raw(store: BlobStore, log: Log, event: Event) -> None:
    """Put an entry as a writer does that checks nothing."""
    number, digest = log.refresh().head + 1, log.refresh().digest
    payload = events.encode(events.Entry(bytes(16), digest, event))
    assert store.put(f"log/{number}", seal(KEYS, REPOSITORY, Kind.LOG, f"log/{number}".encode(), payload))


def filled(store: BlobStore, every: int = 1000) -> Log:
    """A short log in which every kind of entry occurs."""
    log = the_log(store, every=every)
    one = log.append(Open("backup 1", P))
    log.append(Commit(one, [(ROOT, "vda"), (ROOT[::-1], "vdb")]))  # 2.0 and 2.1
    log.append(End(one))
    two = log.append(Open("restore 1", P, [m("2.0")]))
    log.append(Commit(two, [], [m("2.0")]))
    three = log.append(Open("backup 2", P, [m("2.0")]))
    log.append(Progress(three, [(ROOT, "vda")]))  # 7.0
    log.append(Hold(m("2.1"), "policy"))
    log.append(Hold(m("2.1"), "operator"))
    log.append(Release(m("2.1"), "policy"))
    log.append(Condemn([PACK, PACK[::-1]]))
    log.append(Delete([m("2.0")]))
    return log


def fields(state: State) -> dict[str, object]:
    return {name: getattr(state, name) for name in State.__dataclass_fields__}


def objects(every: int = 1000) -> tuple[dict[str, bytes], State]:
    store = MemoryBlobs()
    log = filled(store, every)
    state = log.refresh()
    return {name: store.get(name) for name, _ in store.list("")}, state


def store_of(found: Mapping[str, bytes]) -> MemoryBlobs:
    store = MemoryBlobs()
    for name, data in found.items():
        store.put(name, data)
    return store
