"""Scrubbing: every bit of every stored object, checked by somebody who has no key.

A pack's name is the digest of its bytes; every other object ends in one.  What a store has lost, or swapped for
another sound object, only somebody with the key can see.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from blake3 import blake3

from restead.domain.errors import Damaged, NotFound
from restead.ports import BlobStore
from restead.repository.journal import Journal
from restead.repository.seal import scrub as scrub_sealed

PIECE = 4 << 20  # bytes read at once
_CONTROL = ("keyring/", "log/", "snapshot/", "service/", "index/")  # small, and all of it is read

Spend = Callable[[int], None]
"""Called before so many bytes are read: it waits if that would be too fast, and ends the work by raising."""


def spend_freely(_length: int) -> None:
    """Nothing holds the work up."""


def tell_nobody(_done: int, _total: int) -> None:
    """How far it is, that nobody asked for."""


def scrub(
    store: BlobStore,
    *,
    spend: Spend = spend_freely,
    journal: Journal | None = None,
    told: Callable[[int, int], None] = tell_nobody,
    at_once: int = 1,
) -> Iterator[Damaged]:
    """Yield what is wrong with the stored objects, one finding for each that is damaged.

    An object that is deleted meanwhile is no finding.  *journal*: what was looked at before an interruption is not
    looked at again, but its findings are yielded again.  *told*: bytes that are done, and of all.  *at_once*: so many
    objects are looked at at one time, each with a piece in memory.
    """
    journal = journal or Journal()
    yield from map(Damaged, journal.findings.values())
    sizes = sorted(store.list(""))  # some 200 bytes of memory for each object
    total = sum(size for _, size in sizes)
    done = sum(size for name, size in sizes if journal.has(name))
    left = [(name, size) for name, size in sizes if not journal.has(name)]
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for (name, size), found in _looked_at(store, left, spend, pool, at_once):
                if found is not None:
                    journal.note(name, found.message)
                    yield found
                done += size
                journal.done(name, size)
                told(done, total)
        finally:
            pool.shutdown(cancel_futures=True)


_Listed = tuple[str, int]  # name and bytes


def _looked_at(
    store: BlobStore, left: Sequence[_Listed], spend: Spend, pool: ThreadPoolExecutor, at_once: int
) -> Iterator[tuple[_Listed, Damaged | None]]:
    """Yield what is wrong with each object, in their order."""

    def look(name: str, size: int) -> Damaged | None:
        try:
            scrub_object(store, name, size, spend)
        except NotFound:
            return None
        except Damaged as error:
            return error
        return None

    under_way = deque[Future[Damaged | None]]()
    for at, each in enumerate(left):
        while len(under_way) < min(at_once, len(left) - at):
            under_way.append(pool.submit(look, *left[at + len(under_way)]))
        yield each, under_way.popleft().result()


def scrub_control(store: BlobStore, spend: Spend) -> Iterator[tuple[str, Damaged]]:
    """Yield what is wrong with all objects that are no packs, with their names."""
    for prefix in _CONTROL:
        for name, size in sorted(store.list(prefix)):
            try:
                scrub_object(store, name, size, spend)
            except NotFound:
                continue
            except Damaged as error:
                yield name, error


def scrub_object(store: BlobStore, name: str, size: int, spend: Spend) -> None:
    """Check every bit of one object.  Raises NotFound, Damaged."""
    if name.startswith("packs/"):
        _scrub_pack(store, name, size, spend)
    else:
        spend(size)
        scrub_sealed(store.get(name), name)


def _scrub_pack(store: BlobStore, name: str, size: int, spend: Spend) -> None:
    digest = blake3()
    for at in range(0, size, PIECE):
        length = min(PIECE, size - at)
        spend(length)
        digest.update(store.get_range(name, at, length))
    if digest.hexdigest() != name.rpartition("/")[2]:
        raise Damaged(f"{name} is damaged: its {size} bytes hash to {digest.hexdigest()}")
