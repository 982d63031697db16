"""What happens to stored objects: bits flip, ends are lost, objects are exchanged, and go."""

import random

from restead.domain.ids import ManifestId
from restead.ports import BlobStore
from restead.repository import Repository
from restead.repository.pack import Thing
from restead.repository.seal import Kind


def flip(store: BlobStore, name: str, place: int, bit: int = 0) -> None:
    """Change one bit of an object."""
    data = bytearray(store.get(name))
    data[place] ^= 1 << bit
    replace(store, name, bytes(data))


def replace(store: BlobStore, name: str, data: bytes) -> None:
    """Let an object hold other bytes."""
    store.delete(name)
    store.put(name, data)


def things(repository: Repository, project: str = "p1") -> list[tuple[str, Thing]]:
    """Return everything that stands in packs: the pack's object, and the line of its table of contents."""
    room = repository._room(project)  # type: ignore[arg-type]
    found = []
    for name, size in sorted(room.shelf.store.list(room.shelf.prefix)):
        pack = bytes.fromhex(name.rpartition("/")[2])
        found += [(name, thing) for thing in room.reader.packs.contents(pack, size)]
    return found


def spoil(repository: Repository, store: BlobStore, wanted: set[bytes]) -> None:
    """Damage every copy of these things."""
    for pack, thing in things(repository):
        if thing.name in wanted:
            flip(store, pack, thing.offset + thing.length // 2, 3)


def some_things(
    repository: Repository, manifest: ManifestId, luck: random.Random, *, chunks: int, pages: int
) -> set[bytes]:
    """Return names of so many chunks and pages that are stored, the manifest's top page not among them."""
    top = repository.manifest(manifest).root.top
    of_kind = {
        kind: sorted({thing.name for _, thing in things(repository) if thing.kind is kind and thing.name != top})
        for kind in (Kind.CHUNK, Kind.PAGE)
    }
    picked = luck.sample(of_kind[Kind.CHUNK], min(chunks, len(of_kind[Kind.CHUNK])))
    return {*picked, *luck.sample(of_kind[Kind.PAGE], min(pages, len(of_kind[Kind.PAGE])))}
