"""Made the golden repositories in tests/data, once each: `python -m tests.repository.make_golden keys tests/data/…`.

What they hold is what format 1 is: they are kept, not made again.  Another one is another function in `GOLDEN`: it
fills a store and returns the manifests that it promises, with the bytes of their disks.
"""

import hashlib
import json
import random
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.fakes.disks import MemoryDisk

from restead.domain.ids import ManifestId, ProjectId
from restead.drivers.blobs.local import LocalBlobs
from restead.repository import DiskDescription, KeyFile, Passphrase, RecoveryKey, Repository, Window
from restead.repository.keyring import Cost

ABOUT = DiskDescription("data", datetime(2026, 11, 26, 9, 15, tzinfo=UTC), "offline", {"name": "gölden"})
AT = datetime(2026, 11, 26, 10, tzinfo=UTC)
WORDS, RECOVERY = "Ærlig talt – golden", RecoveryKey(bytes(range(50, 82)))
CHEAP = Cost(passes=1, memory=64, lanes=1)
Promised = dict[ManifestId, bytes]


def disk(seed: int, size: int = 40_000) -> MemoryDisk:
    """Half of it does not shrink, a quarter does, a quarter is zero."""
    half, quarter = size // 2, size // 4
    text = b"the same words again " * (quarter // 21)
    return MemoryDisk.of(random.Random(seed).randbytes(half) + text + bytes(size - half - len(text)))


def save(repository: Repository, project: str, *disks: MemoryDisk, parent: ManifestId | None = None) -> Promised:
    reads = [] if parent is None else [parent]
    with repository.session(ProjectId(project), label="golden", reads=reads) as session:
        saved = [
            session.save(each, parent=parent, description=ABOUT, label=f"disk-{at}") for at, each in enumerate(disks)
        ]
        ids = session.commit(saved)
    return {id: bytes(each.data) for id, each in zip(ids, disks, strict=True)}


def keys(repository: Repository) -> Promised:
    """Every kind of key, one that was removed, two rotations with backups before, between and after."""
    ring = repository.keyring
    changing = disk(1)
    promised = save(repository, "project-a", changing, disk(2, 5_001))
    first = next(iter(promised))
    ring.add_wrapping(Passphrase(WORDS), label="words", cost=CHEAP, at=AT)
    leaves = ring.add_wrapping(Passphrase("of somebody who left"), label="left", cost=CHEAP, at=AT)
    ring.add_wrapping(RECOVERY, label="paper", at=AT)
    ring.rotate()
    changing.write_at(9_000, b"after the first rotation" * 50)
    promised |= save(repository, "project-a", changing, parent=first)
    ring.remove_wrapping(leaves.id)
    repository.erasing.finish()
    ring.rotate()
    return promised | save(repository, "project-b", disk(3))


def erased(repository: Repository) -> Promised:
    """Two projects, of which one was erased, and then had one backup more."""
    ring = repository.keyring
    ring.add_wrapping(Passphrase(WORDS), label="words", cost=CHEAP, at=AT)
    ring.add_wrapping(RECOVERY, label="paper", at=AT)
    promised = save(repository, "project-a", disk(4))
    save(repository, "project-b", disk(5), disk(6))
    repository.erasing.erase(ProjectId("project-b"))
    return promised | save(repository, "project-b", disk(7))


def collected(repository: Repository) -> Promised:
    """After two collections: packs that nobody needed are gone, one that was mostly garbage was rewritten."""
    repository.keyring.add_wrapping(Passphrase(WORDS), label="words", cost=CHEAP, at=AT)
    repository.keyring.add_wrapping(RECOVERY, label="paper", at=AT)
    changing = disk(8)
    first = save(repository, "project-a", changing, disk(9))
    changing.write_at(0, random.Random(10).randbytes(16_000))
    promised = save(repository, "project-a", changing, parent=next(iter(first)))
    repository.delete(list(first))
    gone = save(repository, "project-b", disk(11))
    promised |= save(repository, "project-b", disk(12))
    repository.delete(list(gone))
    before = {name for name, _ in repository._store.list("packs/")}
    for _ in range(2):
        repository.collect()
    after = {name for name, _ in repository._store.list("packs/")}
    assert before - after, "packs were removed"
    assert after - before, "a pack was rewritten"
    return promised | save(repository, "project-a", changing, parent=next(iter(promised)))


GOLDEN: dict[str, Callable[[Repository], Promised]] = {"keys": keys, "erased": erased, "collected": collected}


def make(name: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    store, key = LocalBlobs(folder / "store"), KeyFile.create(folder / "key")
    Repository.create(store, key, chunk_size=4096, label="first", at=AT)
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch)
        repository = Repository.open(store, key, cache=cache / "cache", scratch=cache, window=Window(2, 2))
        promised = GOLDEN[name](repository)
    expected = {
        "manifests": {
            id: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for id, data in promised.items()
        },
        "passphrase": WORDS,
        "recovery_key": RECOVERY.printed(),
    }
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]))
