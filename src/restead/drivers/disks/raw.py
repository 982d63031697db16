"""An open disk: `DiskSource` to read, `DiskTarget` to write as well.  `opening` makes them.

Both are used by many threads at once: reads and writes carry their offset, and SEEK_DATA and SEEK_HOLE answer from the
offset they are given, so the descriptor's own position, which threads would race for, is never used.
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from restead.domain.errors import Unavailable
from restead.domain.extent import Extent
from restead.domain.ids import VolumeId
from restead.drivers.disks.generation import changed_since, generation_of, identity_of, is_another
from restead.drivers.disks.rawio import PastCaches, RawIo
from restead.drivers.disks.space import blank, give_back, reserve_holes
from restead.drivers.disks.zeroes import zero_device, zero_file

Buffer = bytes | bytearray | memoryview

_LOOK = 1 << 20  # bytes looked at together before space is given back
_ZEROES = bytes(_LOOK)


class DiskSource:
    """A file or device open for reading; its size is that at opening."""

    def __init__(
        self, volume_id: VolumeId, fd: int, raw: RawIo, size: int, *, is_device: bool, past: PastCaches | None = None
    ) -> None:
        self._past = past or PastCaches(fd, None, size)
        self._id = volume_id
        self._fd = fd  # without O_DIRECT; owned by whoever opened it
        self._raw = raw
        self._size = size
        self._is_device = is_device

    @property
    def size(self) -> int:
        """Bytes."""
        return self._size

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* with the bytes from *offset* on.

        Raises:
            Unavailable: an I/O error, or the disk has become shorter.
        """
        self._read(self._raw, offset, buffer)

    def reread_into(self, offset: int, buffer: memoryview) -> None:
        """As `read_into`, from the medium itself; what was not flushed may be missing."""
        self._read(self._past, offset, buffer)

    def _read(self, way: RawIo | PastCaches, offset: int, buffer: memoryview) -> None:
        view = buffer.cast("B")
        self._check_range(offset, len(view))
        try:
            way.read(offset, view)
        except OSError as error:
            raise self._failed("read", offset, len(view), error) from error
        except EOFError as error:
            raise Unavailable(f"disk {self._id} held {self._size} bytes when it was opened and {error}; "
                              f"read of {len(view)} bytes at {offset}") from error

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Yield in order what may hold data and what is a hole, asking the file system as it is consumed.

        Raises:
            Unavailable: the file system answers with an error.
        """
        self._check_range(offset, length)
        if self._is_device:  # a device cannot be asked for holes: all of it may be data
            return iter([Extent(offset, length, data=True)] if length else [])
        return self._file_extents(offset, offset + length)

    def identity(self) -> str:
        """Return the numbers of the file or device: another one under the same path has others."""
        return identity_of(self._fd)

    def is_another(self, identity: str) -> bool:
        """Tell whether this is surely not the disk that had that identity."""
        return is_another(self._fd, identity)

    def generation(self) -> str:
        """Return a name for what the file holds now, "" for a device: it does not note when it is written."""
        return "" if self._is_device else generation_of(self._fd)

    def changed_since(self, generation: str) -> Sequence[tuple[int, int]] | None:
        """Return nothing if the file is what it was in that generation, None if it may have changed anywhere."""
        return None if self._is_device else changed_since(self._fd, generation)

    def _file_extents(self, at: int, end: int) -> Iterator[Extent]:
        while at < end:
            data = self._seek(at, os.SEEK_DATA, end)
            if data > at:
                yield Extent(at, data - at, data=False)
            if data < end:
                hole = self._seek(data, os.SEEK_HOLE, end)
                yield Extent(data, hole - data, data=True)
                data = hole
            at = data

    def _seek(self, at: int, whence: int, end: int) -> int:
        """Return where data (or a hole) begins at or behind *at*, at most *end*."""
        try:
            found = os.lseek(self._fd, at, whence)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the file's end
                return end
            if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):  # no holes here: all is data
                return at if whence == os.SEEK_DATA else end
            raise self._failed("search for data", at, end - at, error) from error
        return min(found, end)

    def _check_range(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self._size:
            raise ValueError(f"disk {self._id} holds {self._size} bytes, {length} at {offset} were asked for")

    def _failed(self, deed: str, offset: int, length: int, error: OSError) -> Unavailable:
        return Unavailable(f"disk {self._id}: {deed} of {length} bytes at {offset}: {error.strerror or error}")


class DiskTarget(DiskSource):
    """A file or device open for writing, by us alone; it keeps space and is read past caches."""

    def __init__(
        self,
        volume_id: VolumeId,
        fd: int,
        raw: RawIo,
        size: int,
        *,
        is_device: bool,
        past: PastCaches | None = None,
        changed: Callable[[], str] = lambda: "",
        strangers: Callable[[], bool] = lambda: True,
    ) -> None:
        """*changed*: says why what is open is not the server's disk any more, "" while it is.

        *strangers*: tells whether anybody else may have written to it since it was opened.
        """
        super().__init__(volume_id, fd, raw, size, is_device=is_device, past=past)
        self._changed = changed
        self._strangers = strangers
        self._lost = ""  # why nothing can be said any more about what the disk holds

    def generation(self) -> str:
        """As of a source; "" too if anybody else may have written to it since it was opened."""
        found = super().generation()
        return "" if self._strangers() else found

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._check_trusted()
        super().read_into(offset, buffer)

    def reread_into(self, offset: int, buffer: memoryview) -> None:
        self._check_trusted()
        super().reread_into(offset, buffer)

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        self._check_trusted()
        return super().extents(offset, length)

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of *data* at *offset*; it may still be in memory when this returns (`flush`).

        Raises:
            Unavailable: an I/O error (no space left, …), naming the place; or a flush failed before.
        """
        view = memoryview(data).cast("B")
        self._check_range(offset, len(view))
        self._check_trusted()
        with self._named("write", offset, len(view)):
            self._raw.write(offset, view)

    def zero_at(self, offset: int, length: int) -> None:
        """Make that stretch read as zeroes: a hole where the disk can have one, written zeroes elsewhere.

        Raises:
            Unavailable: as `write_at`.
        """
        self._check_range(offset, length)
        self._check_trusted()
        if length == 0:
            return
        with self._named("zeroing", offset, length):
            zero = zero_device if self._is_device else zero_file
            zero(self._fd, self._raw, offset, length)

    def blank_at(self, offset: int, length: int) -> None:
        """Make that stretch read as zeroes; what is allocated of it stays so, and a hole stays a hole.

        Raises:
            Unavailable: as `write_at`.
        """
        for extent in self.extents(offset, length):
            if extent.data:
                with self._named("blanking", extent.offset, extent.length):
                    blank(self._fd, self._raw, extent.offset, extent.length)

    def reserve(self, offset: int, length: int) -> None:
        """Allocate what of that stretch of a file is a hole; a device has its space, or cannot be asked for it.

        To be called before anything is written there by another thread.

        Raises:
            Unavailable: there is not enough space.
        """
        holes = ((one.offset, one.length) for one in self.extents(offset, length) if not one.data)
        with self._named("reserving", offset, length):
            reserve_holes(self._fd, self._raw, holes)

    def punch(self, offset: int, length: int) -> None:
        """Give back the space of that stretch, having looked that all of it is zero.

        Raises:
            Unavailable: it is not, or an I/O error.
        """
        self._check_zero(offset, length)
        with self._named("giving back", offset, length):
            give_back(self._fd, offset, length)

    def flush(self) -> None:
        """Return only when everything written is on stable storage.

        Raises:
            Unavailable: it is not; from now on every call raises, because the kernel forgets which pages it
                could not write: a second flush would succeed and prove nothing.  Or the disk was replaced, removed
                or cut meanwhile: what was written is not what the server would start from.
        """
        self._check_trusted()
        try:
            os.fsync(self._fd)
        except OSError as error:
            self._lost = f"disk {self._id}: flush: {error.strerror}; what it holds is unknown"
            raise Unavailable(self._lost) from error
        if why := self._changed():
            self._lost = f"disk {self._id} {why} while it was written"
            raise Unavailable(self._lost)

    def _check_trusted(self) -> None:
        if self._lost:
            raise Unavailable(self._lost)

    def _check_zero(self, offset: int, length: int) -> None:
        for extent in self.extents(offset, length):
            for at in range(extent.offset, extent.end, _LOOK) if extent.data else ():
                count = min(_LOOK, extent.end - at)
                buffer = bytearray(count)
                self.read_into(at, memoryview(buffer))
                if buffer != _ZEROES[:count]:
                    raise Unavailable(f"disk {self._id}: {count} bytes at {at} are not zero; their space is kept")

    @contextmanager
    def _named(self, deed: str, offset: int, length: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failed(deed, offset, length, error) from error
