"""A policy as clients read it."""

from dataclasses import asdict
from typing import Annotated, Any, NotRequired

from typing_extensions import TypedDict

from restead.api.answers import Link, Time, one_of, status, time, time_or_null
from restead.api.auth import PROVIDER_ID
from restead.api.backup_view import TagView
from restead.api.checkpoints import ResourceView, resource_view
from restead.domain.backup import Backup
from restead.domain.policy import Policy, Selection
from restead.domain.retention import Verdict
from restead.service.policies import RetentionPreview


class PolicyParameters(TypedDict):
    """Kept as they were sent, without effect."""

    common: dict[str, Any]


class DefinitionView(TypedDict):
    """What is kept; what was not set is left out."""

    max_backups: NotRequired[int]
    retention_duration_days: NotRequired[int]
    permanent: NotRequired[bool]
    day_backups: NotRequired[int]
    week_backups: NotRequired[int]
    month_backups: NotRequired[int]
    year_backups: NotRequired[int]
    timezone: NotRequired[str]
    window_minutes: NotRequired[int]
    plan_id: str
    provider_id: str


class PropertiesView(TypedDict):
    """When, byte for byte as it was sent, and from when days are counted."""

    pattern: str
    start_time: str
    format: str


class TriggerView(TypedDict):
    """What starts it."""

    id: str
    name: str
    type: str
    properties: PropertiesView


class ScheduledOperationView(TypedDict):
    """The one thing that a policy does."""

    id: str
    name: str
    description: str
    enabled: bool
    operation_type: Annotated[str, one_of("backup")]
    operation_definition: DefinitionView
    trigger_id: str
    trigger: TriggerView


class SelectionView(TypedDict):
    """Which servers it takes besides those it lists."""

    all: bool
    tags: list[TagView]


class PolicyView(TypedDict):
    """When which servers are backed up, and what is kept."""

    id: str
    project_id: str
    provider_id: str
    name: str
    description: str
    status: Annotated[str, one_of("suspended")]
    created_at: Time
    parameters: PolicyParameters
    resources: list[ResourceView]
    scheduled_operations: list[ScheduledOperationView]
    tags: list[TagView]
    selection: NotRequired[SelectionView]


class PolicyBody(TypedDict):
    """One policy."""

    policy: PolicyView


class PolicyList(TypedDict):
    """A page of policies."""

    policies: list[PolicyView]
    policies_links: NotRequired[list[Link]]


class KeptView(TypedDict):
    """What becomes of a backup, and why."""

    checkpoint_item_id: str
    name: str
    resource_id: str
    resource_name: str
    status: str
    created_at: Time
    protected_at: Time | None
    removed: bool
    reasons: list[str]


class RetentionView(TypedDict):
    """What becomes of all that the policy has made."""

    at: Time
    after_a_run: bool
    backups: list[KeptView]


class RetentionBody(TypedDict):
    """A preview of retention."""

    retention: RetentionView


def retention_view(preview: RetentionPreview) -> RetentionView:
    """Return a preview of retention as clients read it."""
    return {
        "at": time(preview.at),
        "after_a_run": preview.after_a_run,
        "backups": [_kept(backup, verdict) for backup, verdict in preview.verdicts],
    }


def _kept(backup: Backup, verdict: Verdict) -> KeptView:
    return {
        "checkpoint_item_id": backup.id,
        "name": backup.name,
        "resource_id": backup.server.id,
        "resource_name": backup.server.name,
        "status": status(backup.state),
        "created_at": time(backup.created_at),
        "protected_at": time_or_null(backup.protected_at),
        "removed": verdict.removed,
        "reasons": list(verdict.reasons),
    }


def view(policy: Policy) -> PolicyView:
    """Return a policy as clients read it."""
    found: PolicyView = {
        "id": policy.id,
        "project_id": policy.project_id,
        "provider_id": PROVIDER_ID,
        "name": policy.name,
        "description": policy.description,
        "status": "suspended",  # CSBS, section 3.4: "from creation to deletion", clients wait for exactly this word
        "created_at": time(policy.created_at),
        "parameters": {"common": policy.parameters.get("common", {})},
        "resources": [resource_view(server) for server in policy.servers],
        "scheduled_operations": [_operation(policy)],
        "tags": [{"key": tag.key, "value": tag.value} for tag in policy.tags],
    }
    if policy.selection is not None:
        found["selection"] = _selection(policy.selection)
    return found


def _operation(policy: Policy) -> ScheduledOperationView:
    kept = {name: value for name, value in asdict(policy.keep).items() if value is not None}
    definition: Any = {**kept, "plan_id": policy.id, "provider_id": PROVIDER_ID}
    return {
        "id": policy.operation_id,
        "name": policy.operation_name,
        "description": policy.operation_description,
        "enabled": policy.enabled,
        "operation_type": "backup",
        "operation_definition": definition,
        "trigger_id": policy.trigger_id,
        "trigger": {
            "id": policy.trigger_id,
            "name": "default",
            "type": "time",
            "properties": {
                "pattern": policy.pattern,
                "start_time": f"{policy.start_time:%Y-%m-%d %H:%M:%S}",  # CSBS, section 1.3: with a blank
                "format": "ical",
            },
        },
    }


def _selection(selection: Selection) -> SelectionView:
    return {"all": selection.every, "tags": [{"key": tag.key, "value": tag.value} for tag in selection.tags]}
