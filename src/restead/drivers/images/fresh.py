"""Image files that are made here: written beside their place, and put there when all of them are whole.

Until then a file is called FILE.part, so that nobody takes a part of a disk for the disk: not even after a power cut.
Whatever stands in a place, or appears there meanwhile, is left as it is.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from restead.domain.errors import InvalidRequest, Unavailable
from restead.domain.ids import VolumeId
from restead.drivers.disks.definition import DiskDefinition
from restead.drivers.disks.qcow2 import empty_image
from restead.drivers.disks.raw import DiskTarget
from restead.drivers.disks.served import ServedTarget

Buffer = bytes | bytearray | memoryview

_PIECE = 64 << 10  # bytes; a run of zeroes that is not written is a whole number of them, as QEMU's clusters are
_ZEROES = bytes(_PIECE)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


@dataclass(frozen=True, slots=True)
class NewImage:
    """An image that is to be made."""

    path: Path  # absolute; nothing may be there
    format: str
    size: int  # bytes of the disk


class Fresh:
    """One image under way, all zero at first."""

    def __init__(self, image: NewImage) -> None:
        """Make the file.

        Raises:
            InvalidRequest: something is in its place or beside it, or its folder is not there.
            Unavailable: it cannot be made, or its file system cannot hold so large a file.
        """
        self.image = image
        self._part = image.path.with_name(f"{image.path.name}.part")
        if os.path.lexists(image.path):
            raise _taken(image.path)
        try:
            fd = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError as error:
            raise InvalidRequest(
                f"{self._part} is there: {image.path.name} is being made, or that was cut short; then remove it"
            ) from error
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InvalidRequest(f"{image.path} cannot be made: there is no folder {image.path.parent}") from error
        except OSError as error:
            raise _cannot(image, error) from error
        try:
            status = os.fstat(fd)
            self._key = status.st_dev, status.st_ino
            self._begin(fd)
        except BaseException:
            self._part.unlink()
            raise
        finally:
            os.close(fd)  # whoever opens the disk must find it open for writing nowhere

    @property
    def disk(self) -> DiskDefinition:
        """The image as a disk, which errors call by the path it is to have."""
        return DiskDefinition(self._part, VolumeId(str(self.image.path)), self.image.path.name, self.image.format)

    def sync(self) -> None:
        """Return when all that was written is on stable storage.  Raises Unavailable."""
        try:
            fd = os.open(self._part, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
                status = os.fstat(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise _cannot(self.image, error) from error
        if (status.st_dev, status.st_ino) != self._key:
            raise Unavailable(f"{self._part} was replaced by another while it was written")

    def put(self) -> None:
        """Let it be in its place as well; `drop` takes it from beside it.

        Raises:
            InvalidRequest: something came there meanwhile.
            Unavailable: an error of the file system.
        """
        try:
            try:
                os.link(self._part, self.image.path)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                os.close(os.open(self.image.path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
                self._part.rename(self.image.path)
        except FileExistsError as error:
            raise _taken(self.image.path) from error
        except OSError as error:
            raise _cannot(self.image, error) from error

    def take_back(self) -> None:
        """Remove it from its place, if it is there."""
        self._remove(self.image.path)

    def drop(self) -> None:
        """Remove what is beside its place, if it is there."""
        self._remove(self._part)

    def _remove(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            status = path.lstat()
            if (status.st_dev, status.st_ino) == self._key:  # what somebody has put there is his
                path.unlink()

    def _begin(self, fd: int) -> None:
        try:
            if self.image.format == "raw":
                os.truncate(fd, self.image.size)
            else:
                os.pwrite(fd, empty_image(self.image.size), 0)
        except OSError as error:
            raise _cannot(self.image, error) from error


@contextmanager
def fresh_images(images: Sequence[NewImage]) -> Iterator[list[Fresh]]:
    """Make images; when the block is left well they are durable and in their places, else nothing of them is there.

    Raises:
        InvalidRequest: something is in one's place, or has come there.
        Unavailable: an error of the file system.
    """
    made: list[Fresh] = []
    try:
        for image in images:
            made.append(Fresh(image))
        yield made
        for one in made:
            one.sync()
        _put(made)
    finally:
        for one in made:
            one.drop()


class SparseTarget:
    """A disk that was all zero when it was opened: runs of zeroes in what is written to it stay holes."""

    def __init__(self, target: DiskTarget | ServedTarget) -> None:
        self._target = target
        self.size = target.size
        self.read_into = target.read_into
        self.reread_into = target.reread_into
        self.extents = target.extents
        self.zero_at = target.zero_at
        self.flush = target.flush

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write of *data* what is not zero; never over what was written before.  Raises Unavailable."""
        view = memoryview(data).cast("B")
        for start, end in _not_zero(offset, view):
            self._target.write_at(offset + start, view[start:end])


def _not_zero(offset: int, view: memoryview) -> Iterator[tuple[int, int]]:
    """Yield (start, end) in *view*, which stands at *offset*, of runs of pieces that are not all zero."""
    begin = -1
    for start, end in pairwise((0, *range(_PIECE - offset % _PIECE, len(view), _PIECE), len(view))):
        if _is_zero(view[start:end]):
            if begin >= 0:
                yield begin, start
            begin = -1
        elif begin < 0:
            begin = start
    if begin >= 0:
        yield begin, len(view)


def _is_zero(piece: memoryview) -> bool:
    # The first and the last byte answer most of the time; a copy is compared faster than what is only looked at.
    return not any(piece[:1]) and not any(piece[-1:]) and bytes(piece) == _ZEROES[: len(piece)]


def _put(made: Sequence[Fresh]) -> None:
    done: list[Fresh] = []
    try:
        for one in made:
            done.append(one)  # before: what is in its place is taken back, whatever comes between
            one.put()
        for folder in {one.image.path.parent for one in made}:
            _sync_folder(folder)
    except BaseException:
        for one in done:
            one.take_back()
        raise


def _sync_folder(folder: Path) -> None:
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise Unavailable(f"folder {folder} cannot be brought to stable storage: {error.strerror}") from error


def _taken(path: Path) -> InvalidRequest:
    return InvalidRequest(f"{path} is there already: nothing is overwritten")


def _cannot(image: NewImage, error: OSError) -> Unavailable:
    return Unavailable(f"{image.path} of {image.size} bytes cannot be made: {error.strerror}", detail=str(error))
