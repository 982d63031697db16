"""Scrubbing: every bit of every stored object, checked by somebody who has no key.

A pack's name is the digest of its bytes; every other object ends in one.  What a store has lost, or swapped for
another sound object, only somebody with the key can see.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from functools import partial

from blake3 import blake3

from restead.domain.errors import Damaged, NotFound
from restead.ports import BlobStore
from restead.repository.ahead import fetched_ahead
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
    threads: int = 1,
) -> Iterator[Damaged]:
    """Yield what is wrong with the stored objects, one finding for each that is damaged.

    An object that is deleted meanwhile is no finding.  *journal*: what was looked at before an interruption is not
    looked at again, but its findings are yielded again.  *told*: bytes that are done, and of all.  Each of the
    *threads* holds a piece of 4 MiB.
    """
    journal = journal or Journal()
    yield from map(Damaged, journal.findings.values())
    sizes = sorted(store.list(""))  # some 200 bytes of memory for each object
    yield from look_at(
        sizes, partial(scrub_object, store), spend=spend, journal=journal, told=told, threads=threads
    )


def look_at(
    sizes: Sequence[tuple[str, int]],
    look: Callable[[str, int, Spend], None],
    *,
    spend: Spend,
    journal: Journal,
    told: Callable[[int, int], None],
    threads: int,
) -> Iterator[Damaged]:
    """Look at these objects, which are sorted by name, but for those that the journal has; yield what is wrong.

    Several are looked at at once, but they are done in order: so the journal can say how far it is with one name.
    What *spend* raises, or the caller does, ends the looks that are under way at their next piece.
    """
    total = sum(size for _, size in sizes)
    done = sum(size for name, size in sizes if journal.has(name))
    pause = _Ending(spend)

    def one(item: tuple[str, int]) -> Damaged | None:
        try:
            pause(0)
            look(*item, pause)
        except NotFound:
            return None
        except Damaged as error:
            return error
        except BaseException as error:
            pause.end(error)
            raise
        return None

    left = [((name, size), size) for name, size in sizes if not journal.has(name)]
    try:
        for (name, size), wrong in fetched_ahead(left, one, count=threads, budget=total, stop=pause.end):
            if wrong is not None:
                journal.note(name, wrong.message)
            done += size
            journal.done(name, size)
            told(done, total)
            if wrong is not None:
                yield wrong
    except CancelledError as over:
        raise pause.reason or over from None


class _Ending:
    """Spends for several threads, until it is ended; *reason* is what ended it first, if a look did."""

    def __init__(self, spend: Spend) -> None:
        self._spend = spend
        self._over = False
        self.reason: BaseException | None = None

    def __call__(self, length: int) -> None:
        if self._over:
            raise CancelledError
        self._spend(length)

    def end(self, reason: BaseException | None = None) -> None:
        if not isinstance(reason, CancelledError):
            self.reason = self.reason or reason
        self._over = True


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


def scrub_object(store: BlobStore, name: str, size: int, spend: Spend, *, piece: int = PIECE) -> None:
    """Check every bit of one object.  Raises NotFound, Damaged."""
    if name.startswith("packs/"):
        _scrub_pack(store, name, size, spend, piece)
    else:
        spend(size)
        scrub_sealed(store.get(name), name)


def _scrub_pack(store: BlobStore, name: str, size: int, spend: Spend, piece: int) -> None:
    digest = blake3()
    for at in range(0, size, piece):
        length = min(piece, size - at)
        spend(length)
        digest.update(store.get_range(name, at, length))
    if digest.hexdigest() != name.rpartition("/")[2]:
        raise Damaged(f"{name} is damaged: its {size} bytes hash to {digest.hexdigest()}")
