"""Keyring, log and snapshots are what docs/format.md says: the published vectors, read by a stranger and by us."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.repository import control_decoder as stranger

from restead.domain.ids import ProjectId
from restead.drivers.blobs import MemoryBlobs
from restead.repository import events, keyring_file, snapshot
from restead.repository.keyring import KeyFile, Keyring, Passphrase, RecoveryKey
from restead.repository.log import Log, State
from restead.repository.seal import Header, Kind, derive_key, seal_under, sealing_key, unseal

VECTORS = json.loads((Path(__file__).parents[2] / "docs/format/control.json").read_text())
OBJECTS = {name: bytes.fromhex(data) for name, data in VECTORS["objects"].items()}
SECRETS = VECTORS["secrets"]
NEWEST = max(int(name.removeprefix("keyring/")) for name in OBJECTS if name.startswith("keyring/"))
HEAD = max(int(name.removeprefix("log/")) for name in OBJECTS if name.startswith("log/"))


@pytest.fixture
def store() -> MemoryBlobs:
    store = MemoryBlobs()
    for name, data in OBJECTS.items():
        store.put(name, data)
    return store


@pytest.fixture
def read() -> stranger.Keyring:
    """The newest keyring as a stranger reads it."""
    secret = bytes.fromhex(SECRETS["key file"])
    return stranger.keyring(OBJECTS[f"keyring/{NEWEST}"], NEWEST, "key file", secret)


@pytest.fixture
def ours(store: MemoryBlobs) -> Keyring:
    return Keyring.open(store, KeyFile(bytes.fromhex(SECRETS["key file"])))


def test_object_keys_are_as_published() -> None:
    vector = VECTORS["object_key"]
    given = bytes.fromhex(vector["sealing_key"]), vector["kind"], bytes.fromhex(vector["salt"])
    assert stranger.object_key(*given).hex() == vector["key"]
    assert derive_key(given[0], Kind(given[1]), given[2]).hex() == vector["key"]


def test_a_sealed_object_is_as_published() -> None:
    vector = VECTORS["sealed_object"]
    key, repository, sealed = (bytes.fromhex(vector[name]) for name in ("sealing_key", "repository", "sealed"))
    contents = bytes.fromhex(vector["contents"])
    assert stranger.unsealed(sealed, stranger.INDEX, {3: key}, repository, vector["identity"]) == contents
    header = Header.decode(sealed, Kind.INDEX, "the vector")
    assert seal_under(header, key, repository, vector["identity"].encode(), contents) == sealed


def test_a_recovery_key_is_printed_as_published() -> None:
    vector = VECTORS["recovery_key"]
    assert stranger.recovery_key(vector["printed"]).hex() == vector["key"]
    assert RecoveryKey(bytes.fromhex(vector["key"])).printed() == vector["printed"]


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        ("passphrase", Passphrase),
        ("key file", lambda text: KeyFile(bytes.fromhex(text))),
        ("recovery key", lambda text: RecoveryKey(bytes.fromhex(text))),
    ],
)
def test_every_secret_opens_the_published_keyring(
    store: MemoryBlobs, kind: str, ours: Callable[[str], Passphrase | KeyFile | RecoveryKey]
) -> None:
    secret = SECRETS[kind] if kind == "passphrase" else bytes.fromhex(SECRETS[kind])
    read = stranger.keyring(OBJECTS[f"keyring/{NEWEST}"], NEWEST, kind, secret)
    opened = Keyring.open(store, ours(SECRETS[kind]))
    opened.check()
    assert opened.repository_id == read.repository
    assert opened.chunk_size == read.body["chunk_size"] == 262144
    assert opened.control.sealing_keys == read.control
    assert {project: keys.name_key.hex() for project, keys in opened.projects.items()} == {
        ProjectId(project): keys["name"] for project, keys in read.body["projects"].items()
    }
    assert opened.recovery_confirmed is True


def test_a_stranger_finds_the_chain_of_the_keyring(read: stranger.Keyring) -> None:
    assert read.body["first"] == 1
    assert read.body["previous"] == OBJECTS[f"keyring/{NEWEST - 1}"][-32:].hex()


def test_a_stranger_replays_the_published_log(read: stranger.Keyring, ours: Keyring, store: MemoryBlobs) -> None:
    """Its state is, byte for byte, what the published snapshot holds, and what we make of the log."""
    state = stranger.replay(OBJECTS, read.control, read.repository)
    told = stranger.canonical(vars(state))
    name = f"snapshot/{HEAD}"
    assert stranger.unsealed(OBJECTS[name], stranger.SNAPSHOT, read.control, read.repository, name) == told
    store.delete(name)
    assert snapshot.encode(Log(store, ours.control, ours.repository_id).refresh()) == told
    assert told.count(b'"ended"') == 1  # the vector is worth something: every table has something in it
    for field in ("sessions", "manifests", "retained", "holds", "condemnations", "condemned"):
        assert getattr(state, field)


def test_a_stranger_and_we_agree_after_every_entry(read: stranger.Keyring, ours: Keyring) -> None:
    some = MemoryBlobs()
    for head in range(1, HEAD + 1):
        some.put(f"log/{head}", OBJECTS[f"log/{head}"])
        shown = {name: some.get(name) for name, _ in some.list("")}
        told = stranger.canonical(vars(stranger.replay(shown, read.control, read.repository)))
        assert snapshot.encode(Log(some, ours.control, ours.repository_id).refresh()) == told


def test_every_event_occurs_in_the_published_log(read: stranger.Keyring) -> None:
    said = {
        json.loads(stranger.unsealed(OBJECTS[name], stranger.LOG, read.control, read.repository, name))["event"]
        for name in (f"log/{n}" for n in range(1, HEAD + 1))
    }
    assert said == {"open", "commit", "progress", "end", "delete", "hold", "release", "condemn", "removed"}


def test_the_published_snapshot_is_read_and_is_right(ours: Keyring, store: MemoryBlobs) -> None:
    log = Log(store, ours.control, ours.repository_id)
    log.check_snapshot(HEAD)
    assert log.refresh().head == HEAD


def test_we_still_write_what_was_published(ours: Keyring) -> None:
    """Opened, decoded, encoded and sealed again with the same salt, every object has the same bytes."""
    for name, data in OBJECTS.items():
        kind = {"log": Kind.LOG, "snapshot": Kind.SNAPSHOT, "keyring": Kind.KEYRING}[name.partition("/")[0]]
        header = Header.decode(data, kind, name)
        if kind is Kind.KEYRING:
            contents = keyring_file.decode(data, name).unlocked(ours._secret)
            assert keyring_file.encode(contents, ours._secret, header) == data
            continue
        plain = unseal(ours.control, ours.repository_id, kind, name.encode(), data)
        again = events.encode(events.decode(plain, name)) if kind is Kind.LOG else _state_again(plain, name)
        key = sealing_key(ours.control, header.key_number, name)
        assert seal_under(header, key, ours.repository_id, name.encode(), again) == data


def _state_again(plain: bytes, name: str) -> bytes:
    state: State = snapshot.decode(plain, name)
    return snapshot.encode(state)
