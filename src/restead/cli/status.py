"""`restead status`: whether the service is there and well."""

from typing import Any

from restead.cli.client import Client
from restead.cli.show import count_of, facts, print_json, size, when
from restead.cli.wiring import Json, over_http, say


@over_http
def status(client: Client, json: Json = False) -> None:
    """Say whether the service answers, what it warns of, and what is under way."""
    found = client.get("/status")["status"]
    resources = {each["type"]: each for each in client.get("/quotas")["quotas"]["resources"]}
    under_way = client.get("/restores", status="in_progress", limit=1000)["restores"]
    protecting = client.get("/checkpoint_items/count", status="protecting")["count"]
    if json:
        print_json({**found, "quotas": list(resources.values()), "backups_under_way": protecting,
                    "restores_under_way": len(under_way)})  # fmt: skip
        return
    for warning in found["warnings"]:
        say(f"warning: {warning}")
    facts(
        [("service", f"restead {found['version']} at {client.address.url}"), ("project", client.address.project),
         ("backups", f"{resources['backups']['used']}, {protecting} being made"),
         ("stored", size(found["stored"])),
         ("restores", f"{len(under_way)} under way"), ("verified", _verified(found.get("verification")))]
    )  # fmt: skip


def _verified(last: dict[str, Any] | None) -> str:
    if last is None:
        return "never"
    hit = len({disk["backup_id"] for disk in last["damaged"]})
    ours = f", {count_of(hit, 'backup')} of this project" if hit else ""
    return f"{last['depth']}, begun {when(last['started_at'])} UTC: {last['state']}{ours}"
