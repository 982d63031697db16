"""The doors to everything outside the process.

A port exists only where something outside is reached.  Every method's first line is its contract;
`tests/conformance/` holds one suite for each port, which every driver and every fake passes.  Optional
abilities are separate Protocols, found with `isinstance`.

Buffers that are handed in are filled or read completely, or the call raises: there is no short count.
All methods may be called from several threads at once unless they say otherwise.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, TypeVar, runtime_checkable

from restead.domain.caller import Caller
from restead.domain.extent import Extent
from restead.domain.ids import ProjectId, ServerId, VolumeId
from restead.domain.notice import Answer, Notice
from restead.domain.server import Server

Result = TypeVar("Result")
Buffer = bytes | bytearray | memoryview


class BlobStore(Protocol):
    """Immutable objects under names like `packs/3f…`: what the repository lives in.

    Names are 1-200 characters of `[a-z0-9/._-]`, without empty, `.` or `..` parts.
    Every method raises Unavailable when the store does not answer.
    """

    def put(self, name: str, data: Buffer | Sequence[Buffer]) -> bool:
        """Store *data* durably under *name* unless the name is taken; tell whether we stored it.

        Atomic: of many racing puts of one name exactly one returns True, and nobody ever sees a part.
        False says nothing about what stands there.  After an error the put may still have happened.
        """
        ...

    def put_file(self, name: str, fd: int) -> bool:
        """As `put`, with the whole contents of the open regular file *fd* (its position does not matter)."""
        ...

    def get(self, name: str) -> bytes:
        """Return the whole object.  Raises NotFound."""
        ...

    def get_range(self, name: str, offset: int, length: int) -> bytes:
        """Return exactly *length* bytes from *offset* on.  Raises NotFound; Damaged if the object is too short."""
        ...

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (name, size in bytes) of every object whose name starts with *prefix*, in no order.

        An object that is put or deleted meanwhile may be listed or not.
        """
        ...

    def delete(self, name: str) -> None:
        """Make sure the object does not exist; deleting what is not there succeeds."""
        ...


@runtime_checkable
class ReadsIntoBuffers(Protocol):
    """A store that can read a range into memory of the caller's, without a copy."""

    def get_range_into(self, name: str, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* from *offset* on.  Raises as `get_range`."""
        ...


@runtime_checkable
class LocksObjects(Protocol):
    """A store that refuses to delete some objects for a time, whoever asks."""

    def locked_until(self, name: str) -> str:
        """Return until when nobody can delete the object, as the store says it; "" if it says nothing."""
        ...


class BlockSource(Protocol):
    """A disk, or a disk as it was at one moment, open for reading."""

    @property
    def size(self) -> int:
        """Bytes, fixed while it is open."""
        ...

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill *buffer* with the bytes from *offset* on.  Raises Unavailable on an I/O error, naming the place."""
        ...

    def extents(self, offset: int, length: int) -> Iterator[Extent]:
        """Yield in order what of that stretch may hold data and what is surely zero, covering all of it."""
        ...


class BlockTarget(BlockSource, Protocol):
    """A disk open for writing, by us alone."""

    def write_at(self, offset: int, data: Buffer) -> None:
        """Write all of *data* at *offset*.  Writing the same bytes twice is fine."""
        ...

    def zero_at(self, offset: int, length: int) -> None:
        """Make that stretch read as zeroes, giving its space back where the disk can."""
        ...

    def flush(self) -> None:
        """Return only when everything written is on stable storage.

        A flush that failed is never repeated and believed: after an error the disk's contents are unknown.
        """
        ...


@runtime_checkable
class KeepsSpace(Protocol):
    """A target on which zeroes and free space are two things: what was overwritten once can be put back.

    Without it a stretch that was zeroed may have given its space to somebody else, and a disk that has to become what
    it was before may find none.
    """

    def blank_at(self, offset: int, length: int) -> None:
        """Make that stretch read as zeroes; the space it has stays its own."""
        ...

    def reserve(self, offset: int, length: int) -> None:
        """Allocate the space of that stretch, whose contents do not change, where the disk can do so.

        Raises Unavailable if there is not enough; then as little as possible of it stays allocated.
        """
        ...

    def punch(self, offset: int, length: int) -> None:
        """Give back the space of that stretch, which is zero and stays so, as far as the disk can.

        Raises Unavailable, naming the place, if anything in it is not zero: nothing but space is ever given back.
        """
        ...


@runtime_checkable
class LimitsSpace(Protocol):
    """A target that may have an end to its space, which is its own: what finds none is known before it is written."""

    @property
    def limited(self) -> bool:
        """Whether it has; else nothing is known."""
        ...

    def require_room(self, stretches: Iterable[tuple[int, int]]) -> None:
        """Return if other data may find room in these stretches, (offset, length) in order; nothing is changed.

        Raises InvalidRequest, with both numbers, if it surely does not.
        """
        ...


@runtime_checkable
class ReadsPastCaches(Protocol):
    """A disk that can be read as its medium holds it, whatever lies in memory."""

    def reread_into(self, offset: int, buffer: memoryview) -> None:
        """As `read_into`, from the medium itself.  What was not flushed may be missing in it."""
        ...


@runtime_checkable
class TracksChanges(Protocol):
    """A disk, open as a source or a target, that knows by itself where it was written since an earlier moment."""

    def generation(self) -> str:
        """Return a name for what the disk holds now.

        "" if a later write could go unnoticed; of a target also if anybody else may have written since it was opened.
        """
        ...

    def changed_since(self, generation: str) -> Sequence[tuple[int, int]] | None:
        """Return (offset, length) of all that may hold other bytes than then; None: anything may.

        What is left out is certainly the same, whoever has written to the disk, and whatever crashed meanwhile.
        """
        ...


@runtime_checkable
class HasIdentity(Protocol):
    """An open disk that can be told from another one which has taken its name."""

    def identity(self) -> str:
        """Return what is the same at each opening of this disk, whatever it holds, and another for every other disk.

        A machine that was started again may call the same disk otherwise: ask `is_another`.
        """
        ...

    def is_another(self, identity: str) -> bool:
        """Tell whether this is surely not the disk that had that identity, perhaps before the machine started again."""
        ...


class Consistency(StrEnum):
    """How true to the guest a moment is (CSBS, `extend_info.consistency`)."""

    CRASH = "crash"
    FILESYSTEM = "filesystem"
    OFFLINE = "offline"


class Moment(Protocol):
    """Several disks of a server at one moment, open for reading."""

    @property
    def taken_at(self) -> datetime:
        """The moment the data shows, aware, UTC."""
        ...

    @property
    def consistency(self) -> Consistency: ...

    @property
    def sources(self) -> Mapping[VolumeId, BlockSource]:
        """An open source for each disk that was asked for."""
        ...


@runtime_checkable
class PausesGuest(Protocol):
    """A moment of a running server, for which its guest stood still a little."""

    @property
    def pause(self) -> timedelta:
        """How long it did, as measured."""
        ...


class Servers(Protocol):
    """The machines of a cloud."""

    def server(self, project_id: ProjectId, server_id: ServerId) -> Server:
        """Describe a server as it is now.  Raises NotFound if the project has none of that id."""
        ...

    def servers(self, project_id: ProjectId) -> list[Server]:
        """Describe all servers of a project, by name."""
        ...

    def stop(self, project_id: ProjectId, server_id: ServerId, *, grace: timedelta) -> None:
        """Return when the server is stopped: asked politely first, forced after *grace*.

        Stopping a stopped server succeeds.  Raises Unavailable if it would not stop.
        """
        ...

    def start(self, project_id: ProjectId, server_id: ServerId) -> None:
        """Return when the server is running.  Starting a running server succeeds.

        Raises Unavailable if it would not start, with the reason.
        """
        ...


class Volumes(Protocol):
    """The disks of a cloud's servers.  Opening is exclusive: while a target is open nobody else can write to it,
    and no server can start on it; while a moment is open nobody changes what it shows."""

    def open_moment(
        self, project_id: ProjectId, server_id: ServerId, volume_ids: Sequence[VolumeId]
    ) -> AbstractContextManager[Moment]:
        """Open these disks of the server for reading, all at one moment.

        Raises NotFound (server or disk is gone), Unavailable (a disk is in use or does not open).
        """
        ...

    def open_target(
        self, project_id: ProjectId, server_id: ServerId, volume_id: VolumeId
    ) -> AbstractContextManager[BlockTarget]:
        """Open a disk of a stopped server for writing.

        Raises NotFound, Unavailable (somebody has it open; it is mounted or used for swap; it does not open).
        """
        ...


@runtime_checkable
class RetiresGenerations(Protocol):
    """`Volumes` whose disks note where they are written, at some cost for each generation that is asked about."""

    def retire(self, project_id: ProjectId, server_id: ServerId, kept: Mapping[VolumeId, str]) -> None:
        """Stop noting what was written since any generation of these disks but the one kept."""
        ...


class Identity(Protocol):
    """Who stands behind a token."""

    def caller(self, token: str) -> Caller:
        """Return the caller.  Raises Unauthenticated (unknown, expired, revoked) or Unavailable."""
        ...


class Notifier(Protocol):
    """A way to somebody who is told what happens."""

    def send(self, notices: Sequence[Notice]) -> Answer:
        """Bring these notices, one at least, to them as one, and return what came of it; within a minute.

        Never raises for what the receiver does or leaves undone: that is the answer, whose text holds no secret.
        TAKEN only if they have said so; else they may have got it all the same, and tell doubles by the notices' ids.
        """
        ...


class Run(Protocol):
    """The durable engine as a workflow sees it: a story whose finished steps are not told twice."""

    def step(self, name: str, do: Callable[[], Result]) -> Result:
        """Return what *do* returned when this step was first finished, calling it only if it never was.

        The result is JSON.  It is durable, under this run's lease, before it is returned.  An
        Unavailable is tried again a few times; a run whose lease has moved is ended by LeaseLost.
        """
        ...

    def tell(self, kind: str, subject: str = "", **numbers: object) -> None:
        """Append an event to the story, in the order told."""
        ...

    def check(self) -> None:
        """Return if the run may still write: it was not cancelled and its lease is its own; else raise."""
        ...
