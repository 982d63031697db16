"""Made docs/format/control.json, once: `python -m tests.repository.make_control_vectors > docs/format/control.json`.

Real code, with randomness that is always the same.  The file it made is what format 1 is: it is kept, not made again.
"""

import json
import os
from datetime import UTC, datetime
from unittest import mock

from blake3 import blake3

from restead.domain.ids import ManifestId, ProjectId
from restead.drivers.blobs import MemoryBlobs
from restead.repository.keyring import Cost, KeyFile, Keyring, Passphrase, RecoveryKey
from restead.repository.log import Commit, Condemn, Delete, End, Hold, Log, Open, Progress, Release, Removed
from restead.repository.seal import Header, Kind, derive_key, seal_under

WORDS, KEY_FILE, RECOVERY = "Ærlig talt – ståltråd", bytes(range(32)), bytes(range(100, 132))


class Stream:
    """Bytes that look random and are always the same."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, size: int) -> bytes:
        self.calls += 1
        return blake3(b"test vector %d" % self.calls).digest(length=size)


def id_(text: str) -> ManifestId:
    return ManifestId(text)


def keyring(store: MemoryBlobs) -> Keyring:
    made = Keyring.create(store, Passphrase(WORDS), chunk_size=262144, label="vault", cost=Cost(2, 64, 1))
    made.add_wrapping(KeyFile(KEY_FILE), label="this machine")
    made.add_wrapping(RecoveryKey(RECOVERY), label="safe")
    made.confirm_recovery(RecoveryKey(RECOVERY), datetime(2026, 11, 1, 12, tzinfo=UTC))
    made.project(ProjectId("4229d7a45436489f8c3dc2b1d35d4987"))
    made.project(ProjectId("projekt-ö"))
    return made


def log(store: MemoryBlobs, made: Keyring) -> None:
    p, q = sorted(made.projects)
    told = Log(store, made.control, made.repository_id, snapshot_every=20)
    root, pack = [bytes([n]) * 32 for n in range(1, 6)], [bytes([n]) * 32 for n in range(160, 164)]
    said = [
        Open("backup 1", p),  # 1
        Commit(1, [(root[0], "vda"), (root[1], "vdb")]),  # 2: 2.0, 2.1
        End(1),  # 3
        Open("backup 2 – größer", q),  # 4
        Progress(4, [(root[2], "vda")]),  # 5: 5.0
        End(4),  # 6
        Open("backup 2 again", q, [id_("5.0")]),  # 7
        Open("restore", p, [id_("2.0"), id_("2.1")]),  # 8
        Commit(8, [(root[3], "safety")], [id_("2.0")]),  # 9: 9.0
        Hold(id_("2.1"), "policy"),  # 10
        Hold(id_("2.1"), "operator"),  # 11
        Condemn([pack[1], pack[0]]),  # 12: waits for 7
        Delete([id_("2.0")]),  # 13
        End(8),  # 14: its pin stays
        Commit(7, [(root[4], "vda")]),  # 15: 15.0, takes 5.0 over
        Condemn([pack[2]]),  # 16: waits for nobody
        Removed(12),  # 17
        Release(id_("2.1"), "policy"),  # 18
        Open("verification", p, [id_("9.0"), id_("2.1")]),  # 19
        Delete([id_("9.0")]),  # 20
    ]
    for event in said:
        told.append(event)
    told.refresh()


def vectors() -> dict[str, object]:
    store = MemoryBlobs()
    header = Header(Kind.INDEX, 3, bytes(range(32, 64)))
    with mock.patch.object(os, "urandom", Stream()):
        log(store, keyring(store))
    return {
        "object_key": {
            "sealing_key": (b"\x11" * 32).hex(), "kind": 6, "salt": header.salt.hex(),
            "key": derive_key(b"\x11" * 32, Kind.INDEX, header.salt).hex(),
        },
        "sealed_object": {
            "sealing_key": (b"\x11" * 32).hex(), "repository": (b"\x22" * 16).hex(), "identity": "index/t/1",
            "contents": b"contents".hex(),
            "sealed": seal_under(header, b"\x11" * 32, b"\x22" * 16, b"index/t/1", b"contents").hex(),
        },
        "recovery_key": {"key": RECOVERY.hex(), "printed": RecoveryKey(RECOVERY).printed()},
        "secrets": {"passphrase": WORDS, "key file": KEY_FILE.hex(), "recovery key": RECOVERY.hex()},
        "objects": {name: store.get(name).hex() for name, _ in sorted(store.list(""))},
    }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(vectors(), indent=1, sort_keys=True))
