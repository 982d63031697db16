"""How an operator describes a server whose disks are images: nouns, and the text of `--disk`.

Nothing here looks at the disks themselves; `registry` does, when a server is added.
"""

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from restead.domain.errors import InvalidRequest
from restead.domain.ids import ProjectId, ServerId, VolumeId
from restead.drivers.disks.definition import FORMATS, DiskDefinition
from restead.drivers.disks.looks import how_to_convert

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")  # no leading "-": ids are arguments of power commands
_DISK_PARTS = ("path", "id", "name", "format", "boot", "shared")
_MAX_NAME = 255  # characters
_MAX_MEMORY = 16 << 20  # MiB
_MAX_QEMU_DISKS = 24  # each takes one of the 32 places of a PCI bus, some of which the machine needs itself
_MAX_CPUS = 255  # largest count QEMU's machine "pc" takes


NO_SERVER_ID = ServerId("")


class Power(StrEnum):
    """Who starts and stops the server."""

    NONE = "none"  # nobody we know: it counts as stopped
    COMMAND = "command"  # an executable that the operator names
    QEMU = "qemu"  # we do: a QEMU process


@dataclass(frozen=True, slots=True)
class ServerDefinition:
    """A server as its operator described it."""

    name: str
    project: ProjectId
    disks: tuple[DiskDefinition, ...]
    id: ServerId = NO_SERVER_ID  # empty: a new UUID is given when it is added
    power: Power = Power.NONE
    power_command: Path | None = None  # with Power.COMMAND: called as `COMMAND start|stop|status SERVER_ID`
    memory: int = 0  # MiB; 0: not stated
    cpus: int = 0  # 0: not stated
    zone: str = ""
    arch: str = "x86_64"
    addresses: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()  # key and value

    @property
    def boot_first(self) -> tuple[DiskDefinition, ...]:
        """The disks, boot disk first, the others in the order they were given."""
        return tuple(sorted(self.disks, key=lambda disk: not disk.boot))


def is_id(text: str) -> bool:
    """Tell whether *text* can be the id of a server, a disk or a project."""
    return _ID.fullmatch(text) is not None


def check(definition: ServerDefinition) -> None:
    """Return if every member of *definition* can be meant as it is written; disks are not looked at.

    Raises:
        InvalidRequest: naming the member and what it holds.
    """
    where = f"server {definition.name!r}"
    _check_text(where, "name", definition.name, least=1)
    _check_text(where, "zone", definition.zone)
    _check_id(where, "project", definition.project)
    if definition.id:
        _check_id(where, "id", definition.id)
    _check_number(where, "memory in MiB", definition.memory, _MAX_MEMORY)
    _check_number(where, "number of cpus", definition.cpus, _MAX_CPUS)
    for address in definition.addresses:
        _check_address(where, address)
    _check_tags(where, definition)
    _check_power(where, definition)
    _check_disks(where, definition)


def _check_disks(where: str, definition: ServerDefinition) -> None:
    if not definition.disks:
        raise InvalidRequest(f"{where} has 0 disks, needs 1 or more")
    if (boots := sum(disk.boot for disk in definition.disks)) > 1:
        raise InvalidRequest(f"{where} has {boots} boot disks, needs 1")
    for disk in definition.disks:
        here = f"disk {disk.path} of {where}"
        if disk.id:
            _check_id(here, "id", disk.id)
        _check_text(here, "name", disk.name)
        if disk.format not in ("", *FORMATS):
            raise InvalidRequest(f"{here} has format {disk.format!r}, which is not read: "
                                 f"{how_to_convert(disk.format, disk.path)}")
        if disk.format == "qcow2" and disk.shared:
            raise InvalidRequest(f"{here} is said to be shared and to be qcow2: two machines that write to one image "
                                 "destroy it")


def _check_power(where: str, definition: ServerDefinition) -> None:
    if (definition.power is Power.COMMAND) != (definition.power_command is not None):
        raise InvalidRequest(f"{where} has power {definition.power.value} and power command "
                             f"{definition.power_command}: a command is needed with power command and only there")
    if definition.power is Power.QEMU and definition.arch != "x86_64":
        raise InvalidRequest(f"{where} has architecture {definition.arch}; power qemu serves x86_64")
    if definition.power is Power.QEMU and len(definition.disks) > _MAX_QEMU_DISKS:
        raise InvalidRequest(f"{where} has {len(definition.disks)} disks; power qemu serves at most {_MAX_QEMU_DISKS}")
    if not re.fullmatch(r"[a-z0-9_]{1,32}", definition.arch):
        raise InvalidRequest(f"{where} has architecture {definition.arch!r}, which is none")


def _check_tags(where: str, definition: ServerDefinition) -> None:
    keys = [key for key, _ in definition.tags]
    for key, value in definition.tags:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,36}", key) or not re.fullmatch(r"[A-Za-z0-9_-]{0,43}", value):
            raise InvalidRequest(f"{where}: tag {key}={value} is not 1 to 36 = 0 to 43 characters of A-Z a-z 0-9 _ -")
        if keys.count(key) > 1:
            raise InvalidRequest(f"{where}: tag {key} is given {keys.count(key)} times")


def _check_id(where: str, what: str, text: str) -> None:
    if not is_id(text):
        raise InvalidRequest(f"{where}: {what} {text!r} is not 1 to 64 of A-Z a-z 0-9 _ - (the first no -)")


def _check_text(where: str, what: str, text: str, *, least: int = 0) -> None:
    if not least <= len(text) <= _MAX_NAME:
        raise InvalidRequest(f"{where}: {what} has {len(text)} characters, may have {least} to {_MAX_NAME}")
    if not text.isprintable():
        raise InvalidRequest(f"{where}: {what} {text!r} holds characters that do not print")


def _check_number(where: str, what: str, number: int, most: int) -> None:
    if not 0 <= number <= most:
        raise InvalidRequest(f"{where}: {what} is {number}, may be 1 to {most}")


def _check_address(where: str, address: str) -> None:
    try:
        ipaddress.ip_address(address)
    except ValueError as error:
        raise InvalidRequest(f"{where}: address {address!r} is no IP address") from error


# ------------------------------------------------------------------ the text of --disk


def disk_from_text(text: str) -> DiskDefinition:
    """Read `path=FILE[,id=UUID][,name=N][,format=raw|qcow2][,boot][,shared]`; a comma inside a value is written `,,`.

    A relative path is taken from the current folder.

    Raises:
        InvalidRequest: a part is unknown, given twice or has no value; there is no path.
    """
    given: dict[str, str] = {}
    for part in re.split(r"(?<!,),(?!,)", text):
        key, equals, value = part.replace(",,", ",").partition("=")
        if part and not equals and key not in _DISK_PARTS:
            raise InvalidRequest(f"disk {text!r}: cannot read part {part!r}; if it is the file, say path={part}")
        if key not in _DISK_PARTS or bool(equals) == (key in {"boot", "shared"}):
            raise InvalidRequest(f"disk {text!r}: cannot read part {part!r}")
        if key in given:
            raise InvalidRequest(f"disk {text!r}: {key} is given twice")
        given[key] = value
    if not given.get("path"):
        raise InvalidRequest(f"disk {text!r}: there is no path=FILE")
    return DiskDefinition(
        path=Path(given["path"]).absolute(), id=VolumeId(given.get("id", "")), name=given.get("name", ""),
        format=given.get("format", ""), boot="boot" in given, shared="shared" in given,
    )  # fmt: skip
