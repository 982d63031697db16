"""Shapes of what clients send about policies, and what they mean in our words."""

import re
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from restead.api.auth import PROVIDER_ID, check_provider
from restead.api.body import parse
from restead.api.requests import Flag, Id, Shape, TagShape, Text, tags_of
from restead.domain.backup import SERVER_TYPE, ProtectedServer
from restead.domain.errors import Code, InvalidRequest
from restead.domain.ids import ServerId, VolumeId, canonical_id
from restead.domain.policy import Keep, OperationChange, PolicyChange, Selection
from restead.domain.schedule import LONGEST_PATTERN
from restead.service.policies import PolicyRunRequest

_INTEGER = re.compile(r"-?[0-9]{1,16}", re.ASCII)
_NAMED = r"^[A-Za-z0-9_-]{1,255}$"
_TIMEZONE = r"^UTC[+-](0[0-9]|1[0-4]):[0-5][0-9]$"


def _number(value: object) -> object:
    """CSBS, requests: a number may be text that is exactly one; and JSON has one kind of number."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def between(least: int, largest: int) -> Any:
    """Return what makes an integer of a number or of text that is one."""
    number = {"type": "integer", "minimum": least, "maximum": largest}
    text = {"type": "string", "enum": sorted({str(least), "7"})}  # of the texts that are one, two
    return (Field(ge=least, le=largest), BeforeValidator(_number), WithJsonSchema({"anyOf": [number, text]}))


Count = Annotated[int, *between(-1, 99_999)]
Calendar = Annotated[int, *between(0, 100)]
Minutes = Annotated[int, *between(0, 1440)]
Description = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^<>\x00]*$")]
Name = Annotated[str, StringConstraints(pattern=_NAMED)]


class ResourceExtraInfo(Shape):
    """Disks that backups of the server leave out."""

    exclude_volumes: list[Id] | None = None


class ResourceShape(Shape):
    """A server that a policy lists."""

    id: Id
    type: Text
    name: Text
    extra_info: ResourceExtraInfo | None = None


class DefinitionShape(Shape):
    """What to keep, for each server."""

    max_backups: Count | None = None
    retention_duration_days: Count | None = None
    permanent: Flag | None = None
    day_backups: Calendar | None = None
    week_backups: Calendar | None = None
    month_backups: Calendar | None = None
    year_backups: Calendar | None = None
    timezone: Annotated[str, StringConstraints(pattern=_TIMEZONE)] | None = None
    window_minutes: Minutes | None = None


class TriggerProperties(Shape):
    """When: iCalendar, of which the RRULE lines are read."""

    pattern: Annotated[str, StringConstraints(max_length=LONGEST_PATTERN)]


class TriggerShape(Shape):
    """What starts it."""

    properties: TriggerProperties


class OperationShape(Shape):
    """What is done, when, and what is kept of it."""

    name: Name | None = None
    description: Description | None = None
    enabled: Flag | None = None
    operation_type: Literal["backup"]
    operation_definition: DefinitionShape
    trigger: TriggerShape


class OperationChangeShape(Shape):
    """What to change of it."""

    id: Id
    name: Name | None = None
    description: Description | None = None
    enabled: Flag | None = None
    operation_definition: DefinitionShape | None = None
    trigger: TriggerShape | None = None


class SelectionShape(Shape):
    """Which servers it takes besides those it lists: all, or those that have all of these tags; neither: none."""

    all: Flag | None = None
    tags: Annotated[list[TagShape], Field(max_length=10)] | None = None


Parameters = dict[str, Any]


class PolicyShape(Shape):
    """A policy to be."""

    name: Name
    description: Description | None = None
    provider_id: Annotated[Text, Field(json_schema_extra={"const": PROVIDER_ID})]
    parameters: Parameters | None = None
    resources: list[ResourceShape]
    scheduled_operations: Annotated[list[OperationShape], Field(min_length=1, max_length=1)]
    tags: Annotated[list[TagShape], Field(min_length=1, max_length=10)] | None = None
    selection: SelectionShape | None = None


class PolicyCreate(Shape):
    """Make a policy."""

    policy: PolicyShape


class PolicyChangeShape(Shape):
    """What to change of a policy; what is absent stays as it is."""

    name: Name | None = None
    description: Description | None = None
    parameters: Parameters | None = None
    resources: list[ResourceShape] | None = None
    scheduled_operations: Annotated[list[OperationChangeShape], Field(min_length=1, max_length=1)] | None = None
    selection: SelectionShape | None = None


class PolicyUpdate(Shape):
    """Change a policy."""

    policy: PolicyChangeShape


class RunParameters(Shape):
    """Which servers of the policy; all of them if absent."""

    auto_trigger: Flag | None = None
    resources: list[Id] | None = None


class RunShape(Shape):
    """The policy to run."""

    plan_id: Id
    parameters: RunParameters | None = None


class PolicyRunCreate(Shape):
    """Run a policy now."""

    checkpoint: RunShape


def new_policy(body: bytes) -> PolicyChange:
    """Return the policy that the caller wants.  Raises InvalidRequest."""
    policy = parse(PolicyCreate, body).policy
    check_provider(policy.provider_id)
    operation = policy.scheduled_operations[0]
    return PolicyChange(
        name=policy.name,
        description=policy.description or "",
        servers=_servers(policy.resources),
        selection=_selection(policy.selection),
        parameters=_parameters(policy.parameters),
        tags=tags_of(policy.tags or [], "policy.tags"),
        operation=OperationChange(
            name=operation.name,
            description=operation.description,
            enabled=operation.enabled,
            keep=_keep(operation.operation_definition),
            pattern=operation.trigger.properties.pattern,
        ),
    )


def policy_change(body: bytes) -> PolicyChange:
    """Return what the caller wants changed.  Raises InvalidRequest."""
    policy = parse(PolicyUpdate, body).policy
    change = PolicyChange(
        name=policy.name,
        description=policy.description,
        servers=None if policy.resources is None else _servers(policy.resources),
        selection=_selection(policy.selection),
        parameters=_parameters(policy.parameters),
    )
    if policy.scheduled_operations is None:
        return change
    operation = policy.scheduled_operations[0]
    definition, trigger = operation.operation_definition, operation.trigger
    made = OperationChange(
        id=operation.id,
        name=operation.name,
        description=operation.description,
        enabled=operation.enabled,
        keep=None if definition is None else _keep(definition),
        pattern=None if trigger is None else trigger.properties.pattern,
    )
    return PolicyChange(change.name, change.description, change.servers, change.selection, change.parameters, made)


def policy_run(body: bytes) -> PolicyRunRequest:
    """Return which policy the caller wants run.  Raises InvalidRequest."""
    run = parse(PolicyRunCreate, body).checkpoint
    given = run.parameters or RunParameters()
    servers = tuple(map(ServerId, given.resources or ()))
    return PolicyRunRequest(run.plan_id, auto_trigger=given.auto_trigger is True, server_ids=servers)


def _servers(shapes: list[ResourceShape]) -> tuple[ProtectedServer, ...]:
    times = Counter(canonical_id(shape.id) for shape in shapes)
    for shape in shapes:
        if shape.type != SERVER_TYPE:
            raise InvalidRequest(
                f"resources of type {shape.type[:64]!r} cannot be backed up, only {SERVER_TYPE}",
                code=Code.TYPE_NOT_PROTECTABLE,
            )
        if (found := times[canonical_id(shape.id)]) > 1:
            raise InvalidRequest(f"policy.resources: server {shape.id} appears {found} times")
    return tuple(
        ProtectedServer(ServerId(shape.id), shape.name, tuple(dict.fromkeys(map(VolumeId, _excluded(shape)))))
        for shape in shapes
    )


def _excluded(shape: ResourceShape) -> list[str]:
    return (shape.extra_info and shape.extra_info.exclude_volumes) or []


def _selection(shape: SelectionShape | None) -> Selection | None:
    """Return what is selected; nothing selected is an answer of its own, which takes a selection away."""
    if shape is None:
        return None
    if shape.all and shape.tags:
        raise InvalidRequest("policy.selection: either all or tags")
    return Selection(bool(shape.all), tags_of(shape.tags or [], "policy.selection.tags"))


def _parameters(sent: Parameters | None) -> Parameters | None:
    """CSBS, section 10.7: "accepted and stored if it has a member `common`"."""
    common = (sent or {}).get("common")
    return {"common": common} if isinstance(common, dict) else None


def _keep(shape: DefinitionShape) -> Keep:
    sent: dict[str, Any] = {name: getattr(shape, name) for name in Keep.__slots__}
    # CSBS, section 10.1: 0 is "treated as not set"; false is said as it was sent.
    kept: dict[str, Any] = {name: value for name, value in sent.items() if value or value is False}
    keep = Keep(**kept)
    if keep.calendar and keep.timezone is None:
        raise InvalidRequest(
            f"operation_definition.timezone: is mandatory with {', '.join(f'{name}_backups' for name in keep.calendar)}"
        )
    return keep
