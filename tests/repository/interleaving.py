"""Actors that work on one repository, one call to the store at a time, in an order that a seed decides.

Each actor has a thread, and a baton goes round: before each call to the store, who has it goes on or hands it to
another.  So every interleaving of calls can be had, and a seed gives the same one again.  An actor may die at any call
(PowerCut).
"""

import os
import random
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

from tests.fakes.power import PowerCut

from restead.drivers.blobs.memory import MemoryBlobs
from restead.ports import Buffer

Late = tuple[MemoryBlobs, str, bytes]  # a put that may still land

PATIENCE = 120  # seconds in which all actors of a case come to their end


def _shut() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(eq=False)
class Actor:
    """Somebody who works in a thread of his own while he has the baton."""

    name: str
    work: Callable[[], object]
    go: threading.Lock = field(default_factory=_shut)  # a bare lock: handing on costs little more than the switch
    dies: bool = False
    error: BaseException | None = None


class Baton:
    """Goes from one actor to the other."""

    def __init__(
        self, luck: random.Random, *, deaths: float, turns: float = 0, stops: Collection[int] | None = None
    ) -> None:
        """*deaths*, *turns*: how likely it is at a call that an actor dies, or that anybody else goes on.

        *stops*: instead of turns, each does all he wants before the next one begins, but at calls of these numbers
        whoever has the baton is stopped halfway until all others have come to their end.
        """
        self._luck = luck
        self._deaths = deaths
        self._turns = turns
        self._stops = stops
        self._calls = 0
        self._living: list[Actor] = []
        self._over = _shut()
        self._mine = threading.local()

    def call(self) -> None:
        """A call to the store is about to be made: go on, or let others go first."""
        actor: Actor | None = getattr(self._mine, "actor", None)
        if actor is None:
            return  # the test itself looks at something
        if not actor.dies:
            holder = self._next(actor)
            if holder is not actor:
                holder.go.release()
                actor.go.acquire()
        if actor.dies:
            raise PowerCut(actor.name)

    def run(self, actors: Sequence[Actor]) -> None:
        """Return when all actors have ended or died.  Raises what is no ordinary end of one of them."""
        self._living = list(actors)
        threads = [threading.Thread(target=self._live, args=(actor,), daemon=True) for actor in actors]
        for thread in threads:
            thread.start()
        self._next(None).go.release()
        assert self._over.acquire(timeout=PATIENCE), f"one of {[one.name for one in self._living]} does not go on"
        for actor in actors:
            if actor.error is not None:
                raise actor.error

    def _next(self, holder: Actor | None) -> Actor:
        self._calls += 1
        if self._stops is not None:
            if holder is not None and self._calls in self._stops:
                self._living.remove(holder)
                self._living.append(holder)
            holder = self._living[0]
        elif holder is None or self._luck.random() < self._turns:
            holder = self._luck.choice(self._living)
        holder.dies = holder.dies or self._luck.random() < self._deaths
        return holder

    def _live(self, actor: Actor) -> None:
        actor.go.acquire()
        self._mine.actor = actor
        try:
            if not actor.dies:
                actor.work()
        except PowerCut:
            pass
        except BaseException as error:  # noqa: BLE001 - raised by `run`
            error.add_note(f"in {actor.name}")
            actor.error = error
        finally:
            self._living.remove(actor)
            if self._living:
                self._next(None).go.release()
            else:
                self._over.release()


class BatonStore:
    """A store that waits for the baton before each call.  A put may land later, given up or done again."""

    def __init__(self, store: MemoryBlobs, baton: Baton, late: list[Late], luck: random.Random) -> None:
        self._store = store
        self._baton = baton
        self._late = late
        self._luck = luck

    def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
        whole = bytes(data) if isinstance(data, Buffer) else b"".join(data)
        try:
            self._baton.call()
        except PowerCut:
            if self._luck.random() < 0.3:
                self._late.append((self._store, name, whole))
            raise
        if self._luck.random() < 0.03:  # tried twice: the first try is under way still
            self._late.append((self._store, name, whole))
        return self._store.put(name, whole)

    def put_file(self, name: str, fd: int) -> bool:
        return self.put(name, os.pread(fd, os.fstat(fd).st_size, 0))

    def get(self, name: str) -> bytes:
        self._baton.call()
        return self._store.get(name)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        self._baton.call()
        return self._store.get_range(name, offset, length)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        self._baton.call()
        return self._store.list(prefix)

    def delete(self, name: str) -> None:
        self._baton.call()
        self._store.delete(name)
