"""Defining a lost domain again from what a backup keeps: never over anything that is there."""

import os
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from restead.domain.errors import InvalidRequest, Unavailable
from restead.domain.ids import VolumeId
from restead.drivers.disks.device_image import lacks_image, make_image, unmake_image
from restead.drivers.disks.environment import clean_environment
from restead.drivers.disks.guard import Guard
from restead.drivers.libvirt.connection import is_error, library, translated
from restead.drivers.libvirt.kept import Kept, StateFile, nvram_file, tpm_folder, write_state
from restead.drivers.libvirt.machine import Machine, MachineDisk, read_machine
from restead.drivers.libvirt.options import LibvirtOptions

_LIMIT = 60.0  # seconds


def recreate(
    connection: Any, kept: Kept, sizes: Mapping[VolumeId, int], options: LibvirtOptions, guard: Guard,
    say: Callable[[str], None],
) -> Machine:  # fmt: skip
    """Define the domain, with empty disks where there are none, and its state where there is none.

    *sizes*: of the disks in the backup.  *say*: what was done and what is missing.  When it raises nothing was done.

    Raises:
        InvalidRequest: there is such a domain; a disk cannot be made where it was, or a device is in use otherwise.
        Unavailable: libvirt refuses, or something cannot be written.
    """
    machine = read_machine(kept.xml)
    if options.host:
        raise InvalidRequest(f"domain {machine.name} is defined again on the machine that its disks are on, "
                             f"{options.host}, alone")
    _require_lost(connection, machine)
    missing = [disk for disk in machine.disks if not disk.strange and not Path(disk.path).exists()]
    for disk in missing:
        _require_makeable(disk, sizes)
    said: list[str] = []
    with ExitStack() as undoing:
        for disk in missing:
            _make_disk(disk, sizes[disk.id], options.qemu_img, undoing)
            said.append(f"disk {disk.target} was missing: {disk.path} is empty, restore the backup into it")
        for disk in _without_image(machine, sizes):
            made = make_image(disk.definition, sizes[disk.id], guard)
            undoing.callback(unmake_image, disk.definition, made, guard)
            said.append(f"disk {disk.target} was blank: {disk.path} is an empty image, restore the backup into it")
        for path, state in _states(machine, kept, options).items():
            said.append(_put(path, state, undoing))
        with translated(f"domain {machine.name} is not defined"):
            connection.defineXML(kept.xml)
        undoing.pop_all()
    for line in (*said, *(f"the backup does not hold {each}" for each in kept.left_out)):
        say(line)
    return machine


def _require_lost(connection: Any, machine: Machine) -> None:
    libvirt = library()
    for look, word in ((connection.lookupByUUIDString, machine.uuid), (connection.lookupByName, machine.name)):
        try:
            found = look(word)
        except libvirt.libvirtError as error:
            if is_error(error, "VIR_ERR_NO_DOMAIN"):
                continue
            raise Unavailable(f"domain {word}: {error.get_error_message()}", detail=str(error)) from error
        raise InvalidRequest(f"there is a domain {found.name()} ({found.UUIDString()}): nothing is lost that could be "
                             f"defined again as {machine.name} ({machine.uuid})")


def _require_makeable(disk: MachineDisk, sizes: Mapping[VolumeId, int]) -> None:
    path = Path(disk.path)
    if path.is_symlink():
        raise InvalidRequest(f"disk {disk.target} is {path}, a link to {path.readlink()}, which is not there: put it "
                             "there, or remove the link, first")
    if path.is_relative_to("/dev"):
        raise InvalidRequest(f"disk {disk.target} is {path}, which is not there: make that device first")
    if not path.parent.is_dir():
        raise InvalidRequest(f"disk {disk.target} is {path}, whose folder is not there: make that first")
    if disk.id not in sizes:
        raise InvalidRequest(f"disk {disk.target} is missing ({path}) and not in the backup: put it there first")


def _without_image(machine: Machine, sizes: Mapping[VolumeId, int]) -> list[MachineDisk]:
    """Return the disks in the backup that are to be images on devices which hold none."""
    there = [disk for disk in machine.disks if disk.id in sizes and not disk.strange and Path(disk.path).exists()]
    return [disk for disk in there if lacks_image(disk.definition)]


def _make_disk(disk: MachineDisk, size: int, qemu_img: str, undoing: ExitStack) -> None:
    try:
        fd = os.open(disk.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        undoing.callback(Path(disk.path).unlink, missing_ok=True)  # not before: what came there meanwhile is not ours
        with os.fdopen(fd, "wb") as file:
            if disk.format == "raw":
                file.truncate(size)
        if disk.format == "qcow2":
            subprocess.run([qemu_img, "create", "-q", "-f", "qcow2", disk.path, str(size)], check=True, timeout=_LIMIT,
                           stdin=subprocess.DEVNULL, capture_output=True, env=clean_environment())  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"disk {disk.target} cannot be made: {disk.path}", detail=str(error)) from error


def _states(machine: Machine, kept: Kept, options: LibvirtOptions) -> dict[Path, StateFile]:
    found = {}
    if kept.nvram is not None:
        found[nvram_file(machine, options)] = kept.nvram
    if kept.tpm:
        folder = tpm_folder(machine, options)
        for name, state in kept.tpm.items():
            path = folder / name
            if ".." in path.parts or not path.is_relative_to(folder):
                raise InvalidRequest(f"the backup holds a file {name!r} that is none of a TPM's")
            found[path] = state
    return found


def _put(path: Path, state: StateFile, undoing: ExitStack) -> str:
    try:
        write_state(path, state)
    except FileExistsError:
        return f"{path} is there and was left as it is"
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}") from error
    undoing.callback(path.unlink, missing_ok=True)
    return f"{path} holds what the backup kept"
