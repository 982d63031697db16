"""A server's definition as JSON, exactly: what is unknown, missing or of the wrong type is refused, never guessed."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

from restead.domain.errors import Damaged, Unavailable
from restead.domain.ids import ProjectId, ServerId, VolumeId
from restead.drivers.disks.definition import FORMATS, DiskDefinition
from restead.drivers.images.definition import Power, ServerDefinition

# A file with a higher number was written by a newer restead.  2: disks may have another format than raw, which a
# restead that knows 1 would read and write as if they were raw.
SCHEMA, SCHEMA_RAW = 2, 1


def to_json(definition: ServerDefinition) -> dict[str, object]:
    """Return the definition as plain JSON values, with the schema's number."""
    raw = all(disk.format == "raw" for disk in definition.disks)
    plain: dict[str, object] = {"schema": SCHEMA_RAW if raw else SCHEMA, **asdict(definition)}
    plain["power_command"] = str(definition.power_command) if definition.power_command else None
    plain["power"] = definition.power.value
    plain["addresses"] = list(definition.addresses)
    tags = plain.pop("tags")  # left out if there are none: an older restead reads it then
    if tags:
        plain["tags"] = dict(definition.tags)
    plain["disks"] = [{**asdict(disk), "path": str(disk.path)} for disk in definition.disks]
    return plain


def from_json(plain: object, source: str) -> ServerDefinition:
    """Read what `to_json` wrote; *source* names it in errors.

    Raises:
        Unavailable: a newer restead wrote it (a higher schema, a member we do not know).
        Damaged: a member is missing or of the wrong type.
    """
    if not isinstance(plain, dict):
        raise Damaged(f"server definition {source} is {type(plain).__name__}, not an object")
    if plain.get("schema") not in (SCHEMA_RAW, SCHEMA):
        raise Unavailable(f"server definition {source} has schema {plain.get('schema')!r}, "
                          f"this restead reads up to {SCHEMA}")
    members = {name: value for name, value in plain.items() if name != "schema"}
    _refuse_unknown(members, ServerDefinition, source)
    try:
        return _server(members, source)
    except (KeyError, TypeError, ValueError) as error:
        detail = f"{type(error).__name__}: {error}"
        raise Damaged(f"server definition {source} cannot be read", detail=detail) from error


def _server(members: Mapping[str, object], source: str) -> ServerDefinition:
    disks, addresses, command = members["disks"], members["addresses"], members["power_command"]
    tags = members.get("tags", {})
    if not isinstance(disks, list) or not isinstance(addresses, list) or not isinstance(tags, dict):
        raise TypeError("disks and addresses must be lists, tags an object")
    return ServerDefinition(
        name=_text(members, "name"), project=ProjectId(_text(members, "project")), id=ServerId(_text(members, "id")),
        disks=tuple(_disk(disk, source) for disk in disks), power=Power(_text(members, "power")),
        power_command=None if command is None else Path(_text(members, "power_command")),
        memory=_integer(members, "memory"), cpus=_integer(members, "cpus"), zone=_text(members, "zone"),
        arch=_text(members, "arch"), addresses=tuple(str(address) for address in addresses),
        tags=tuple((str(key), str(value)) for key, value in tags.items()),
    )  # fmt: skip


def _disk(members: object, source: str) -> DiskDefinition:
    if not isinstance(members, dict):
        raise TypeError("a disk must be an object")
    _refuse_unknown(members, DiskDefinition, source)
    if members["format"] not in FORMATS:
        raise Unavailable(f"server definition {source} has a disk of format {members['format']!r}, "
                          f"this restead reads {' and '.join(FORMATS)}")
    return DiskDefinition(
        path=Path(_text(members, "path")), id=VolumeId(_text(members, "id")), name=_text(members, "name"),
        format=_text(members, "format"), boot=_flag(members, "boot"), shared=_flag(members, "shared"),
    )  # fmt: skip


def _refuse_unknown(members: Mapping[str, object], kind: type, source: str) -> None:
    known = {field.name for field in fields(kind)}
    if unknown := sorted(set(members) - known):
        names = ", ".join(unknown)
        raise Unavailable(f"server definition {source} has unknown members {names}: a newer restead wrote it")


def _text(members: Mapping[str, object], name: str) -> str:
    value = members[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text")
    return value


def _integer(members: Mapping[str, object], name: str) -> int:
    value = members[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number")
    return value


def _flag(members: Mapping[str, object], name: str) -> bool:
    value = members[name]
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be true or false")
    return value
