"""Scrubbing: every bit of every stored object, checked by somebody who has no key.

A pack's name is the digest of its bytes; every other object ends in one.  What a store has lost, or swapped for
another sound object, only somebody with the key can see.
"""

from collections.abc import Callable, Iterator

from blake3 import blake3

from restead.domain.errors import Damaged, NotFound
from restead.ports import BlobStore
from restead.repository.seal import scrub as scrub_sealed

PIECE = 4 << 20  # bytes read at once


def _go_on() -> None:
    """A check that always lets the work go on."""


def scrub(store: BlobStore, *, check: Callable[[], None] = _go_on) -> Iterator[Damaged]:
    """Yield what is wrong with the stored objects, one finding for each that is damaged.

    An object that is deleted meanwhile is no finding.  *check* is called for every 4 MiB and ends the work by raising.
    """
    for name, size in store.list(""):
        check()
        try:
            if name.startswith("packs/"):
                _scrub_pack(store, name, size, check)
            else:
                scrub_sealed(store.get(name), name)
        except NotFound:
            continue
        except Damaged as error:
            yield error


def _scrub_pack(store: BlobStore, name: str, size: int, check: Callable[[], None]) -> None:
    digest = blake3()
    for at in range(0, size, PIECE):
        check()
        digest.update(store.get_range(name, at, min(PIECE, size - at)))
    if digest.hexdigest() != name.rpartition("/")[2]:
        raise Damaged(f"{name} is damaged: its {size} bytes hash to {digest.hexdigest()}")
