"""Shapes of request bodies, and what they mean in our words.

Members we do not know are ignored at every level, because clients send more than they need.  `null` is the
same as leaving a member out.  A boolean may be text that is exactly one, except in a restore: guessing
wrong there starts a server.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from restead.api.auth import PROVIDER_ID, check_provider
from restead.api.body import parse
from restead.api.paging import moment_of
from restead.domain.backup import SERVER_TYPE, BackupRequest, Tag
from restead.domain.caller import Action
from restead.domain.errors import InvalidRequest
from restead.domain.ids import BackupId, CheckpointId, ServerId, VolumeBackupId, VolumeId
from restead.domain.restore import Mapping, RestoreRequest, check_distinct
from restead.service import Target

_FASTEST = 2**53  # bytes per second; every JSON reader can count so far
_NAME = r"^[A-Za-z0-9_-]{0,255}$"
_NO_NUL = r"^[^\x00]*$"
_TAG_KEY, _TAG_VALUE = "[A-Za-z0-9_-]{1,36}", "[A-Za-z0-9_-]{0,43}"
_TEXTS = {"true": True, "True": True, "false": False, "False": False}


def _flag(value: object) -> object:
    return _TEXTS.get(value, value) if isinstance(value, str) else value


def _whole(value: object) -> object:
    """JSON has one kind of number: 5.0 is the integer 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _trimmed(value: object) -> object:
    return value.strip(" ") if isinstance(value, str) else value


def _tag_part(pattern: str) -> object:
    """Trimmed before its pattern is looked at; the document says so in the pattern itself."""
    return WithJsonSchema({"type": "string", "pattern": f"^ *{pattern} *$"})


Id = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
Text = Annotated[str, StringConstraints(max_length=255, pattern=_NO_NUL)]
Flag = Annotated[
    bool,
    BeforeValidator(_flag),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "enum": list(_TEXTS)}]}),
]


class Shape(BaseModel):
    """Strict: nothing is converted that the contract does not say is."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class TagShape(Shape):
    """A tag; blanks at both ends are taken off."""

    key: Annotated[str, BeforeValidator(_trimmed), Field(pattern=f"^{_TAG_KEY}$"), _tag_part(_TAG_KEY)]
    value: Annotated[str, BeforeValidator(_trimmed), Field(pattern=f"^{_TAG_VALUE}$"), _tag_part(_TAG_VALUE)]


class ProtectExtraInfo(Shape):
    """Disks to leave out."""

    exclude_volumes: list[Id] | None = None


class Protect(Shape):
    """How to back the server up."""

    backup_name: Annotated[str, StringConstraints(pattern=_NAME)] | None = None
    description: Annotated[str, StringConstraints(max_length=255, pattern=r"^[^<>\x00]*$")] | None = None
    incremental: Flag | None = None
    resource_type: Text | None = None
    tags: Annotated[list[TagShape], Field(min_length=1, max_length=10)] | None = None
    consistency: Literal["best", "filesystem"] | None = None
    extra_info: ProtectExtraInfo | None = None


class ProtectRequest(Shape):
    """Back up one server now."""

    protect: Protect


class MappingShape(Shape):
    """Which disk backup overwrites which disk."""

    backup_id: Id
    volume_id: Id


class RestoreTargets(Shape):
    """The server to restore and which of its disks."""

    server_id: Id
    volumes: Annotated[list[MappingShape], Field(min_length=1)]


class RestoreParameters(Shape):
    """What to restore onto what.  Booleans are JSON booleans here and nothing else."""

    checkpoint_item_id: Id
    power_on: bool
    targets: RestoreTargets
    allow_partial: bool | None = None
    safety: bool | None = None
    salvage: bool | None = None
    verify: Literal["stream", "readback"] | None = None


class RestoreShape(Shape):
    """A restoration task to be."""

    provider_id: Annotated[Text, Field(json_schema_extra={"const": PROVIDER_ID})]
    checkpoint_id: Id
    restore_target: Text | None = None
    parameters: RestoreParameters


class RestoreCreate(Shape):
    """Write the data of a backup to the disks of a server."""

    restore: RestoreShape


class PlanParameters(RestoreParameters):
    """As for a restore, and whether the disks are read for exact numbers."""

    compare: bool | None = None


class PlanShape(RestoreShape):
    """A restoration task that might be."""

    parameters: PlanParameters


class RestorePlanRequest(Shape):
    """Tell what a restore would do."""

    restore: PlanShape


class Nothing(Shape):
    """No members are asked for."""


class UndoShape(Shape):
    """Bring back what a restore has overwritten."""

    power_on: bool


class ThrottleShape(Shape):
    """How fast restores may read and write disks, or running servers be read; 0, or left out: as fast as they can."""

    bytes_per_second: Annotated[int, Field(ge=0, le=_FASTEST), BeforeValidator(_whole)] | None = None


class RestoreAction(Shape):
    """Exactly one of what can be done with a restore."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [name], "properties": {name: {"type": "object"}}}
                for name in ("cancel", "undo", "throttle")
            ]
        }
    )

    cancel: Nothing | None = None
    undo: UndoShape | None = None
    throttle: ThrottleShape | None = None


class RestoresAction(Shape):
    """What can be done with all restores together."""

    throttle: ThrottleShape


class ServersAction(Shape):
    """What can be done with a server, or with all of them together."""

    throttle: ThrottleShape


class HoldShape(Shape):
    """Until when nobody can delete the backup: UTC; later than now, and than it is held already."""

    until: Annotated[
        str, WithJsonSchema({"type": "string", "format": "csbs-time", "examples": ["2027-03-02T00:00:00"]})
    ]


class BackupAction(Shape):
    """What can be done with a backup."""

    hold: HoldShape


class ProtectableEntry(Shape):
    """A server that might be backed up."""

    resource_id: Id
    resource_type: Text


class RestorableTarget(Shape):
    """The server that might be restored, and which of its disks."""

    resource_id: Id
    resource_type: Text
    volumes: Annotated[list[MappingShape], Field(min_length=1)]


class RestorableEntry(Shape):
    """A restore that might be asked for."""

    checkpoint_item_id: Id
    target: RestorableTarget


class CapabilityRequest(Shape):
    """Exactly one of the two questions."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [name], "properties": {name: {"type": "array"}}}
                for name in ("check_protectable", "check_restorable")
            ]
        }
    )

    check_protectable: Annotated[list[ProtectableEntry], Field(min_length=1, max_length=100)] | None = None
    check_restorable: Annotated[list[RestorableEntry], Field(min_length=1, max_length=100)] | None = None


def backup_request(server_id: str, body: bytes) -> BackupRequest:
    """Return what the caller wants backed up.  Raises InvalidRequest."""
    protect = parse(ProtectRequest, body).protect
    excluded = (protect.extra_info and protect.extra_info.exclude_volumes) or []
    return BackupRequest(
        server_id=ServerId(server_id),
        server_type=SERVER_TYPE if protect.resource_type is None else protect.resource_type,
        name=protect.backup_name or "",
        description=protect.description or "",
        full=protect.incremental is False,
        consistency=protect.consistency or "best",
        tags=tags_of(protect.tags or [], "protect.tags"),
        excluded=tuple(VolumeId(id) for id in dict.fromkeys(excluded)),
    )


def tags_of(shapes: list[TagShape], where: str) -> tuple[Tag, ...]:
    """Return the tags that were sent as *where*.  Raises InvalidRequest if a key appears twice."""
    keys = [shape.key for shape in shapes]
    for key in keys:
        if keys.count(key) > 1:
            raise InvalidRequest(f"{where}: key {key} appears {keys.count(key)} times, it may appear once")
    return tuple(Tag(shape.key, shape.value) for shape in shapes)


def restore_request(body: bytes, default_target: str) -> RestoreRequest:
    """Return what the caller wants restored: conditions 1 and 2 of CSBS section 9.3 hold.

    *default_target*: the address to keep as `restore_target` if none was sent.

    Raises:
        InvalidRequest: naming the member that is wrong, or that is not supported yet.
    """
    return _restore_request(parse(RestoreCreate, body).restore, default_target)


def plan_request(body: bytes, default_target: str) -> tuple[RestoreRequest, bool]:
    """Return the restore that is to be planned, and whether disks shall be compared.  Raises as `restore_request`."""
    plan = parse(RestorePlanRequest, body).restore
    return _restore_request(plan, default_target), plan.parameters.compare is True


def hold_until(body: bytes) -> datetime:
    """Return until when the caller wants a backup held.  Raises InvalidRequest."""
    return moment_of(parse(BackupAction, body).hold.until, "hold.until")


def restore_action(body: bytes) -> RestoreAction:
    """Return what the caller wants done with a restore.  Raises InvalidRequest unless it is exactly one thing."""
    action = parse(RestoreAction, body)
    if sum(each is not None for each in (action.cancel, action.undo, action.throttle)) != 1:
        raise InvalidRequest("exactly one of cancel, undo and throttle is asked for")
    return action


def restore_action_asked(body: bytes) -> Action:
    """Return what a caller has to be allowed for it; to cancel, if nobody can tell."""
    try:
        action = restore_action(body)
    except InvalidRequest:
        return Action.RESTORES_CANCEL
    if action.undo is not None:
        return Action.RESTORES_UNDO
    return Action.RESTORES_CANCEL if action.throttle is None else Action.RESTORES_THROTTLE


def _restore_request(restore: RestoreShape, default_target: str) -> RestoreRequest:
    parameters = restore.parameters
    mappings = _mappings(parameters.targets.volumes)
    check_provider(restore.provider_id)
    sent = ((name, getattr(parameters, name)) for name in ("allow_partial", "safety", "salvage", "verify"))
    return RestoreRequest(
        checkpoint_id=CheckpointId(restore.checkpoint_id),
        backup_id=BackupId(parameters.checkpoint_item_id),
        server_id=ServerId(parameters.targets.server_id),
        mappings=mappings,
        power_on=parameters.power_on,
        restore_target=default_target if restore.restore_target is None else restore.restore_target,
        extensions=tuple((name, value) for name, value in sent if value is not None),
    )


def _mappings(shapes: list[MappingShape]) -> tuple[Mapping, ...]:
    mappings = tuple(Mapping(VolumeBackupId(s.backup_id), VolumeId(s.volume_id)) for s in shapes)
    check_distinct(mappings)
    return mappings


def restore_target(entry: RestorableEntry) -> tuple[BackupId, Target]:
    """Return the restore that the entry asks about.  Raises InvalidRequest if a disk stands in it twice."""
    target = entry.target
    mappings = _mappings(target.volumes)
    return BackupId(entry.checkpoint_item_id), Target(ServerId(target.resource_id), target.resource_type, mappings)
