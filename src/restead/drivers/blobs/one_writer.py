"""A store in which two puts of one name can both win, made safe by letting one data folder write, and saying so.

Some object stores look whether a name is taken, and write afterwards (OpenStack Swift is one).  Nothing that a client
can do makes that atomic between machines.  So the first put of all finds out, by racing; and where two win:

- a *claim*, an object of the store, names the one data folder that may write.  It is looked at before every put and
  delete: whoever was replaced writes no more.  A claim is taken over by an operator only, by putting the next one.
- the processes and threads of that data folder take turns for each name, by a lock on a file in it.

What remains: a takeover does not wait for a put that the old writer has sent already, so the old one is ended first;
and of two who begin on an empty store at once both wait a moment, and look again whose claim has stayed.

    writers/1, writers/2, …    text (JSON, padded with spaces) and its BLAKE3-256; the highest number counts

Whoever lists the store through here does not see them: they are no part of the repository.
"""

import fcntl
import itertools
import json
import os
import secrets
import struct
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from restead.domain.errors import Damaged, NotFound, Unavailable
from restead.ports import BlobStore, Buffer, LocksObjects

_FOLDER = "writers/"
_RACERS, _RACES = 64, 8
_LEAST = 128  # bytes of text, so that with its digest it passes for a whole object wherever objects are scrubbed
_DIGEST = 32
_SETTLING = 3.0  # seconds from putting a claim to believing it: longer than a put of its size is under way
_FLOCK = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid
_MOST_LOCKS = 1 << 31


@dataclass(frozen=True, slots=True)
class Writer:
    """A data folder on a host, as a claim names it.  *id* is its own: a copy on another host is another writer."""

    id: str
    host: str
    folder: str

    def __str__(self) -> str:
        return f"data folder {self.folder} on host {self.host}"


class OneWriter:
    """A BlobStore over one that may let several puts of a name win.  Reading costs nothing more."""

    def __init__(
        self, store: BlobStore, address: str, me: Writer, lock_file: Path, *, settling: float = _SETTLING
    ) -> None:
        self._store = store
        self._address = address
        self._me = me
        self._lock_file = lock_file
        self._settling = settling
        self._settled = threading.Lock()
        self._many: bool | None = None  # what is known: any number may write
        self._number = 0  # of the newest claim that was seen

    def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
        if self._many_may_write():
            return self._store.put(name, data)
        with self._turn(name):
            return not self._is_taken(name) and self._store.put(name, data)

    def put_file(self, name: str, fd: int) -> bool:
        if self._many_may_write():
            return self._store.put_file(name, fd)
        with self._turn(name):
            return not self._is_taken(name) and self._store.put_file(name, fd)

    def get(self, name: str) -> bytes:
        return self._store.get(name)

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        return self._store.get_range(name, offset, length)

    def get_range_into(self, name: str, offset: int, buffer: memoryview) -> None:
        self._store.get_range_into(name, offset, buffer)  # type: ignore[attr-defined]

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        return ((name, size) for name, size in self._store.list(prefix) if not name.startswith(_FOLDER))

    def delete(self, name: str) -> None:
        if not self._many_may_write():
            self._require_claim()
        self._store.delete(name)

    def locked_until(self, name: str) -> str:
        return self._store.locked_until(name) if isinstance(self._store, LocksObjects) else ""

    # ------------------------------------------------------------------ claims

    def writer(self) -> Writer | None:
        """Return the only one who may write; None if any number may, or nobody has written yet."""
        self._look()
        return None if self._many or not self._number else self._holder

    def check(self) -> bool:
        """Tell whether we are the only one who may write; False if any number may, or nobody has written yet.

        Raises:
            Unavailable: it is another.
        """
        holder = self.writer()
        if holder is not None:
            self._require(holder)
        return holder is not None

    def take_over(self) -> Writer | None:
        """Be the only writer from here on; return who was, None if any number may write.

        Raises:
            Unavailable: another took it at the same moment.
        """
        if self._many_may_write(claim=False):
            return None
        with self._settled:
            self._look()
            before = self._holder
            if before != self._me:
                self._claim()
        return before

    def _many_may_write(self, *, claim: bool = True) -> bool:
        """Find out once, by what the store says or by racing; take a claim that nobody has."""
        with self._settled:
            if self._many is None:
                self._look()
            if self._many is None and not self._number:
                if self._two_can_win():
                    self._claim()
                else:
                    self._store.put(f"{_FOLDER}1", _encode({"writers": "any"}))
                    self._many = True
            if claim and not self._many:
                self._require(self._holder)
            return bool(self._many)

    def _look(self) -> None:
        """Know the newest claim.  Asked for one by one: a listing may be old.

        The one that is known is read again: in a store like this a racing put may have replaced it.
        """
        for number in itertools.count(max(1, self._number)):
            name = f"{_FOLDER}{number}"
            try:
                found = _decode(self._store.get(name), name)
            except NotFound:
                if number <= self._number:
                    raise Damaged(f"{name} is missing, though it was there before") from None
                return
            self._number, self._many = number, found is None
            if found is not None:
                self._holder = found

    def _require_claim(self) -> None:
        with self._settled:
            self._look()
            self._require(self._holder)

    def _require(self, holder: Writer) -> None:
        if holder != self._me:
            raise Unavailable(
                f"{self._address} lets two puts of one name win, so one data folder alone writes to it: {holder}. "
                f"This is {self._me}. If that one is ended for good: restead repository claim"
            )

    def _claim(self) -> None:
        name = f"{_FOLDER}{self._number + 1}"
        about = {"writers": "one", "id": self._me.id, "host": self._me.host, "folder": self._me.folder}
        self._store.put(name, _encode(about))
        time.sleep(self._settling)
        self._look()  # of two who claim at once both may have won; the one that stands there has it
        if self._number == 0:
            raise Unavailable(f"{self._address} took {name} and does not show it")
        self._require(self._holder)

    def _two_can_win(self) -> bool:
        """Race puts of one name.  A store that passes may still be one: but eight times 64 have been told apart."""
        with ThreadPoolExecutor(_RACERS) as pool:
            for _ in range(_RACES):
                name = f"{_FOLDER}race-{secrets.token_hex(8)}"
                bodies = [_encode({"racer": number}) for number in range(_RACERS)]
                won = list(pool.map(lambda body, name=name: self._store.put(name, body), bodies))
                with suppress(Unavailable):  # who may not delete leaves it there
                    self._store.delete(name)
                if won.count(True) != 1:
                    return True
        return False

    # ------------------------------------------------------------------ turns

    def _is_taken(self, name: str) -> bool:
        try:
            self._store.get_range(name, 0, 1)
        except NotFound:
            return False
        except Damaged:  # it is empty
            return True
        return True

    @contextmanager
    def _turn(self, name: str) -> Iterator[None]:
        """Let one process and thread of this data folder put *name*, if the claim is still ours."""
        fd = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # A lock of the open file (not of the process), on one byte for each name: threads wait for each other too.
            place = zlib.crc32(name.encode()) % _MOST_LOCKS
            fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, place, 1, 0))
            self._require_claim()
            yield
        finally:
            os.close(fd)


def _encode(about: Mapping[str, object]) -> bytes:
    text = json.dumps(about).encode().ljust(_LEAST)
    return text + blake3(text).digest()


def _decode(body: bytes, name: str) -> Writer | None:
    """Return the only writer, None if any number may write.  Raises Damaged."""
    text = body[:-_DIGEST]
    if blake3(text).digest() != body[-_DIGEST:]:
        raise Damaged(f"{name} is damaged: its {len(body)} bytes do not match their digest")
    about = json.loads(text)
    return None if about["writers"] == "any" else Writer(about["id"], about["host"], about["folder"])
