"""Actors that work on one repository, one call to the store at a time, in an order that a seed decides.

Each actor has a thread, and a baton goes round: who has it makes one call to the store and gives it back.  So every
interleaving of calls can be had, and a seed gives the same one again.  An actor may die at any call (PowerCut).
"""

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.fakes.power import PowerCut

from restead.drivers.blobs.memory import MemoryBlobs
from restead.ports import Buffer


@dataclass
class Actor:
    """Somebody who works in a thread of his own while he has the baton."""

    name: str
    work: Callable[[], object]
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    dies: bool = False
    done: bool = False
    error: BaseException | None = None


class Baton:
    """Gives the baton to one actor after the other."""

    def __init__(self, luck: random.Random, *, deaths: float) -> None:
        self._luck = luck
        self._deaths = deaths  # how likely it is that an actor dies at a call
        self._back = threading.Semaphore(0)
        self._mine = threading.local()

    def call(self) -> None:
        """A call to the store is about to be made: wait for the baton."""
        actor: Actor | None = getattr(self._mine, "actor", None)
        if actor is None:
            return  # the test itself looks at something
        if not actor.dies:
            self._back.release()
            actor.go.acquire()
        if actor.dies:
            raise PowerCut(actor.name)

    def run(self, actors: Sequence[Actor]) -> None:
        """Return when all actors have ended or died.  Raises what is no ordinary end of one of them."""
        threads = [threading.Thread(target=self._live, args=(actor,), daemon=True) for actor in actors]
        for thread in threads:
            thread.start()
        holder: Actor | None = None
        while living := [actor for actor in actors if not actor.done]:
            if holder is None or holder.done or self._luck.random() < 0.4:
                holder = self._luck.choice(living)
            holder.dies = holder.dies or self._luck.random() < self._deaths
            holder.go.release()
            assert self._back.acquire(timeout=60), f"{holder.name} does not give the baton back"
        for thread in threads:
            thread.join()
        for actor in actors:
            if actor.error is not None:
                raise actor.error

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
            actor.done = True
            self._back.release()


class BatonStore:
    """A store that waits for the baton before each call.  A put may be given up, and land later all the same."""

    def __init__(self, store: MemoryBlobs, baton: Baton, late: list[tuple[str, bytes]], luck: random.Random) -> None:
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
                self._late.append((name, whole))
            raise
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
