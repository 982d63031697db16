"""The servers an operator has described: one JSON file for each in `<data>/servers/`, private to its owner.

Files rather than rows, so that `restead server add` works on a data folder whether or not a service runs:
every file is written beside its place, synced and renamed into it, and every call reads what is there now.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from restead.domain.errors import Code, Damaged, InvalidRequest, NotFound, Unavailable
from restead.domain.ids import ServerId, VolumeId, canonical_id, new_id, same_id
from restead.drivers.disks.backing import backing_of, measure
from restead.drivers.disks.definition import DiskDefinition
from restead.drivers.disks.looks import how_to_convert, looks_like
from restead.drivers.disks.qcow2_opening import size_of_image
from restead.drivers.images.definition import ServerDefinition, check, is_id
from restead.drivers.images.stored import from_json, to_json

_SECTOR = 512  # bytes: the smallest unit a guest addresses a disk by


class Registry:
    """The definitions in a folder, which is made at the first write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()  # two ways to one folder must not lead to two names for one thing

    def add(self, definition: ServerDefinition) -> ServerDefinition:
        """Check everything, fill in what was left out (ids, names, the boot disk) and store it durably.

        Raises:
            InvalidRequest: something is wrong with it, with a disk, or an id or a disk is another server's.
        """
        check(definition)
        _check_command(definition)
        with self._locked():
            others = self.definitions()
            server_id = ServerId(definition.id or new_id())
            if any(same_id(other.id, server_id) for other in others):
                raise InvalidRequest(f"there is a server {server_id} already")
            complete = replace(definition, id=server_id, disks=_complete_disks(definition, others))
            self._write(complete)
        return complete

    def put_back(self, definition: ServerDefinition) -> bool:
        """Store a complete definition durably as it is, disks or not, unless there is one of that id; tell whether.

        Raises:
            InvalidRequest: a member of it cannot be meant as it is written.
        """
        check(definition)
        with self._locked():
            if any(same_id(other.id, definition.id) for other in self.definitions()):
                return False
            self._write(definition)
        return True

    def remove(self, server_id: ServerId) -> None:
        """Forget a server and its logs, durably; its disks are not touched.  Raises NotFound."""
        with self._locked():
            try:
                self._path(server_id).unlink()
            except FileNotFoundError:
                raise not_found(server_id) from None
            for left_over in self._folder.glob(f"{self.stem(server_id).name}.*"):
                left_over.unlink()
            _sync_folder(self._folder)

    @contextmanager
    def held(self, server_id: ServerId) -> Iterator[None]:
        """Be the only one, in whatever process, that changes this server's power; waits.  Raises NotFound."""
        try:
            fd = os.open(self._path(server_id), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise not_found(server_id) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def definition(self, server_id: ServerId) -> ServerDefinition:
        """Return a server's definition.  Raises NotFound; Unavailable or Damaged if its file cannot be read."""
        try:
            return _read(self._path(server_id))
        except FileNotFoundError:
            raise not_found(server_id) from None

    def definitions(self) -> list[ServerDefinition]:
        """Return all definitions, by name and id."""
        found = []
        for path in self._folder.glob("*.json"):
            try:
                found.append(_read(path))
            except FileNotFoundError:  # removed since it was listed
                continue
        return sorted(found, key=lambda one: (one.name, one.id))

    def stem(self, server_id: ServerId) -> Path:
        """Return the path that begins the names of all files of a server; ids hold no dot."""
        if not is_id(server_id):  # never a way out of the folder
            raise not_found(server_id)
        return self._folder / canonical_id(server_id)

    def _path(self, server_id: ServerId) -> Path:
        return self.stem(server_id).with_suffix(".json")

    def _write(self, definition: ServerDefinition) -> None:
        path = self._path(definition.id)
        text = json.dumps(to_json(definition), indent=2, ensure_ascii=False)
        new = path.with_suffix(".new")  # ids hold no dot: no other file is called so, and we hold the lock
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(fd)
        new.rename(path)
        _sync_folder(self._folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync_folder(self._folder.parent)
        fd = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def not_found(server_id: ServerId) -> NotFound:
    """Return the error that says there is no such server, or none the caller may know of."""
    return NotFound(f"there is no server {server_id}", code=Code.SERVER_NOT_FOUND)


def _read(path: Path) -> ServerDefinition:
    try:
        plain = json.loads(path.read_bytes())
    except ValueError as error:
        raise Damaged(f"server definition {path.name} is no JSON", detail=str(error)) from error
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unavailable(f"server definition {path.name} cannot be read: {error.strerror}") from error
    return from_json(plain, path.name)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_command(definition: ServerDefinition) -> None:
    command = definition.power_command
    if command is None:
        return
    if not command.is_absolute():
        raise InvalidRequest(f"power command {command} of server {definition.name!r} is no absolute path")
    if not (command.is_file() and os.access(command, os.X_OK)):
        raise InvalidRequest(f"power command {command} of server {definition.name!r} is no executable file")


def _complete_disks(definition: ServerDefinition, others: Sequence[ServerDefinition]) -> tuple[DiskDefinition, ...]:
    """Return the disks with ids, names and a boot disk, all of them proven usable and nobody else's."""
    no_boot = not any(disk.boot for disk in definition.disks)
    complete: list[DiskDefinition] = []
    for number, disk in enumerate(definition.disks):
        check_backing(disk)
        for known in complete:
            if _same_disk(disk, known):
                raise InvalidRequest(f"disks {disk.path} and {known.path} of server {definition.name!r} are one disk")
        disk = _among_others(disk, others)
        if any(same_id(disk.id, known.id) for known in complete):
            raise InvalidRequest(f"server {definition.name!r} has 2 disks with id {disk.id}")
        boot = disk.boot or (no_boot and number == 0)
        complete.append(replace(disk, name=disk.name or disk.path.name, format=disk.format or "raw", boot=boot))
    return tuple(complete)


def check_backing(disk: DiskDefinition) -> None:
    """Return if the disk is there and can be one.  Raises InvalidRequest."""
    if not disk.path.is_absolute():
        raise InvalidRequest(f"disk {disk.path} is no absolute path")
    try:
        str(disk.path).encode()
    except UnicodeEncodeError:  # neither the definition nor an answer could carry it
        raise InvalidRequest(f"disk {str(disk.path)!r} has a name that is no UTF-8: link to it by another") from None
    try:
        backing = backing_of(disk.path)
        size = measure(backing)
    except OSError as error:
        raise InvalidRequest(f"disk {disk.path} cannot be used: {error.strerror or error}") from error
    if disk.format == "qcow2":
        _check_image(disk)
        return
    looks = looks_like(backing)
    hint = f". It looks like {looks}: {_advice(looks, disk.path)}" if looks else ""
    if size == 0 or size % _SECTOR:
        raise InvalidRequest(f"disk {disk.path} holds {size} bytes; a disk is a multiple of {_SECTOR} bytes, "
                             f"not 0{hint}")
    if looks and not disk.format:
        raise InvalidRequest(f"disk {disk.path} is not said to be of any format{hint}. If it is raw, and a guest has "
                             "written that there, say so: format=raw")


def _check_image(disk: DiskDefinition) -> None:
    try:
        size_of_image(disk)
    except ValueError as error:
        raise InvalidRequest(f"disk {disk.path} {error}") from error
    except OSError as error:
        raise InvalidRequest(f"disk {disk.path} cannot be used: {error.strerror or error}") from error


def _advice(looks: str, path: Path) -> str:
    return "if it is, say so: format=qcow2" if looks == "qcow2" else how_to_convert(looks, path)


def _among_others(disk: DiskDefinition, others: Sequence[ServerDefinition]) -> DiskDefinition:
    """Return the disk with its id, after comparing it with all disks of other servers."""
    for other in others:
        for theirs in other.disks:
            same = _same_disk(disk, theirs)
            if same and not (disk.shared and theirs.shared):
                raise InvalidRequest(f"disk {disk.path} is disk {theirs.id} of server {other.id} already, "
                                     "and not both say that it is shared")
            if same and not disk.id:
                disk = replace(disk, id=theirs.id)
            if same != same_id(disk.id, theirs.id):
                raise InvalidRequest(f"disk {disk.path} has id {disk.id or 'none'}, disk {theirs.path} "
                                     f"of server {other.id} has id {theirs.id}: one disk has one id")
    return disk if disk.id else replace(disk, id=VolumeId(new_id()))


def _same_disk(one: DiskDefinition, other: DiskDefinition) -> bool:
    try:
        return backing_of(one.path).key == backing_of(other.path).key
    except OSError:  # the other's backing is gone: names are all there is to compare
        return one.path == other.path
