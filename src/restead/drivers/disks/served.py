"""An open qcow2 disk: `ServedSource` to read, `ServedTarget` to write as well, both served by `qemu-nbd`.

A target does not keep space: nobody can promise that what is written into a hole of an image, or over what a snapshot
inside it shares, finds room.  `zero_at(keep_space=True)` of the client would not do: it leaves a shared or a compressed
cluster without a place of its own, and nothing in the protocol tells which those are.  Written zeroes have one.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from restead.domain.errors import Unavailable
from restead.domain.extent import Extent
from restead.domain.ids import VolumeId
from restead.drivers.disks.changed import changed_in
from restead.drivers.disks.coarse import Stretch
from restead.drivers.disks.generation import changed_since, generation_of, identity_of, is_another
from restead.drivers.disks.qcow2_bitmaps import StoredBitmaps
from restead.drivers.disks.qcow2_room import DeviceRoom
from restead.drivers.nbd import NbdClient

_NO_SPACE = os.strerror(errno.ENOSPC)

Buffer = bytes | bytearray | memoryview
Open = Callable[[], AbstractContextManager[NbdClient]]


class ServedSource:
    """An image open for reading; it stands alone, so that its file's times tell whether it was written.

    A device notes no times: what is known of an image on one is what its bitmaps tell.
    """

    def __init__(
        self, volume_id: VolumeId, client: NbdClient, fd: int, bitmaps: StoredBitmaps, room: DeviceRoom | None
    ) -> None:
        """*bitmaps*: those that were in the image when it was opened.  *room*: of an image on a device."""
        self._bitmaps = bitmaps
        self._room = room
        self._id = volume_id
        self._client = client
        self._fd = fd  # the image's file or device; owned by whoever opened it

    @property
    def size(self) -> int:
        """Bytes of the disk, not of the file."""
        return self._client.size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* with the bytes from *offset* on.  Raises Unavailable."""
        self._client.read_into(offset, buffer)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Yield in order what may hold data and what reads as zeroes, as the image says.  Raises Unavailable."""
        return self._client.extents(offset, length)

    def identity(self) -> str:
        """Return the numbers of the image's file: another one under the same path has others."""
        return identity_of(self._fd)

    def is_another(self, identity: str) -> bool:
        """Tell whether this is surely not the disk that had that identity."""
        return is_another(self._fd, identity)

    def generation(self) -> str:
        """Return a name for what the image holds now; "" if its device or file system does not note every write."""
        return generation_of(self._fd) if self._room is None else ""

    def changed_since(self, generation: str) -> Sequence[tuple[int, int]] | None:
        """Return nothing if the file is what it was in that generation; else what its bitmaps say; None: anything."""
        unchanged = changed_since(self._fd, generation) if self._room is None else None
        if unchanged is not None:
            return unchanged
        dirty = self._bitmaps.since(generation)
        return None if dirty is None else changed_in(self, [dirty])


class ServedTarget(ServedSource):
    """An image open for writing, by us alone; it is read past caches."""

    def __init__(
        self,
        volume_id: VolumeId,
        client: NbdClient,
        fd: int,
        bitmaps: StoredBitmaps,
        room: DeviceRoom | None,
        *,
        open_again: Open,
        changed: Callable[[], str],
        strangers: Callable[[], bool],
    ) -> None:
        """*open_again*: serves the image once more, to read, with nothing of it in memory.

        *changed*: says why what is open is not the server's disk any more, "" while it is.  *strangers*: tells whether
        anybody else may have written to it since it was opened.
        """
        super().__init__(volume_id, client, fd, bitmaps, room)
        self._again = _Readers(open_again)
        self._changed = changed
        self._strangers = strangers
        self._lost = ""  # why nothing can be said any more about what the disk holds
        self._written = False  # since the last flush

    def close(self) -> None:
        """Close what was opened to read it past caches."""
        self._again.outdate()

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._check_trusted()
        super().read_into(offset, buffer)

    def reread_into(self, offset: int, buffer: memoryview) -> None:
        """As `read_into`, from the medium itself: by a process that has read the image's tables from there as well."""
        self._check_trusted()
        with self._again.borrowed() as reader:
            reader.read_into(offset, buffer)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        self._check_trusted()
        return super().extents(offset, length)

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of *data*; it may still be in memory when this returns (`flush`).  Raises Unavailable."""
        self._check_trusted()
        with self._writing():
            self._client.write_at(offset, data)

    def zero_at(self, offset: int, length: int) -> None:
        """Make that stretch read as zeroes; whole clusters are given back.  Raises Unavailable."""
        self._check_trusted()
        with self._writing():
            self._client.zero_at(offset, length)

    @property
    def limited(self) -> bool:
        """Whether the image is on a device, where it cannot grow."""
        return self._room is not None

    def require_room(self, stretches: Iterable[Stretch]) -> None:
        """Return if other data may find room in these stretches.  Raises InvalidRequest, Unavailable."""
        if self._room is None:
            return
        if self._written:  # what is in the memory of qemu-nbd alone does not show in the tables
            self.flush()
        try:
            self._room.require(self._id, stretches)
        except (OSError, ValueError) as error:
            raise Unavailable(f"disk {self._id}: the tables of its image cannot be read", detail=str(error)) from error

    def flush(self) -> None:
        """Return only when everything written, and the image's tables, are on stable storage.

        Raises:
            Unavailable: it is not, and every later call raises too; or the disk was replaced or removed meanwhile.
        """
        self._check_trusted()
        self._written = False  # before: what is written from here on may not be in this flush
        try:
            self._client.flush()
        except Unavailable as error:
            self._lost = f"{error.message}; what it holds is unknown"
            raise
        # Always: what this thread wrote, another may have flushed a moment ago, and not come as far as this yet.
        self._again.outdate()
        if why := self._changed():
            self._lost = f"disk {self._id} {why} while it was written"
            raise Unavailable(self._lost)

    def generation(self) -> str:
        """Return a name for what the image holds now, flushed; "" if anybody else may have written to it.

        One who reads it past caches has opened it as well and may have been anybody.  If closing it changes the file
        once more (bitmaps, marks of cleanness), nothing has that name later.
        """
        if self._written:
            self.flush()
        found = super().generation()
        return "" if self._strangers() else found

    def changed_since(self, generation: str) -> Sequence[tuple[int, int]] | None:
        # What is in the memory of qemu-nbd alone does not show in the file's times.
        return None if self._written else super().changed_since(generation)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._written = True
        try:
            yield
        except Unavailable as error:
            if self._room is None or _NO_SPACE not in error.message:
                raise
            raise Unavailable(f"{error.message}: it is a qcow2 image, which has filled its device of "
                              f"{self._room.size} bytes", detail=error.detail) from error
        finally:
            self._written = True  # a flush in between may not have met it

    def _check_trusted(self) -> None:
        if self._lost:
            raise Unavailable(self._lost)


class _Readers:
    """Readers of the image's medium: one at a time that is new enough; those that are not end with their last user."""

    def __init__(self, open_again: Open) -> None:
        self._open = open_again
        self._lock = threading.Lock()
        self._current: _Reader | None = None

    @contextmanager
    def borrowed(self) -> Iterator[NbdClient]:
        with self._lock:
            if self._current is None:
                self._current = _Reader(self._open())
            reader = self._current
            reader.users += 1
        try:
            yield reader.client
        finally:
            self._let_go(reader)

    def outdate(self) -> None:
        """Let nobody be served by the reader there is who begins from now on."""
        with self._lock:
            reader, self._current = self._current, None
            if reader is not None:
                reader.users += 1
        if reader is not None:
            self._let_go(reader)

    def _let_go(self, reader: "_Reader") -> None:
        with self._lock:
            reader.users -= 1
            unused = reader.users == 0 and reader is not self._current
        if unused:
            reader.close()


class _Reader:
    def __init__(self, opening: AbstractContextManager[NbdClient]) -> None:
        self._opening = opening
        self.client = opening.__enter__()
        self.users = 0

    def close(self) -> None:
        self._opening.__exit__(None, None, None)
