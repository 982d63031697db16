"""`restead policy …`: what is backed up when, and what of it is kept."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from restead.cli import find
from restead.cli.client import PROVIDER, Client
from restead.cli.client import Json as Body
from restead.cli.show import count_of, facts, print_json, table, when
from restead.cli.wiring import Json, agree, group, over_http, say

policies = group("policy", "Back servers up by a schedule, and say what of that is kept.")

_TYPE = "OS::Nova::Server"
_UTC = "UTC+00:00"
_KEPT = ("max_backups", "retention_duration_days", "day_backups", "week_backups", "month_backups", "year_backups",
         "permanent")  # fmt: skip
_PolicyName = Annotated[str, typer.Argument(help="Name or id.", metavar="POLICY")]
_Servers = Annotated[
    list[str] | None, typer.Option("--server", help="Server, by name or id; repeat it for each.", show_default=False)
]
_All = Annotated[bool, typer.Option("--all", help="All servers of the project, also those that come later.")]
_Select = Annotated[
    list[str] | None,
    typer.Option("--select", help="Servers with this tag, KEY=VALUE; repeated: with all of them.", show_default=False),
]
_Daily = Annotated[str, typer.Option(help="Times of each day, UTC: 02:30, or 02:30,14:30.", show_default=False)]
_Weekly = Annotated[str, typer.Option(help="Days and times, UTC: SA,SU@01:00.", show_default=False)]
_Pattern = Annotated[str, typer.Option(help="The schedule as iCalendar instead.", show_default=False)]
_Number = int | None  # None: not named
_Most = Annotated[_Number, typer.Option("--keep", help="So many of each server; -1: no limit.", show_default=False)]
_Days = Annotated[_Number, typer.Option("--keep-days", help="So many days; -1: no limit.", show_default=False)]
_Daylies = Annotated[
    _Number, typer.Option("--keep-daily", help="The last of each of so many days.", show_default=False)
]
_Weeklies = Annotated[_Number, typer.Option("--keep-weekly", help="… of so many weeks.", show_default=False)]
_Monthlies = Annotated[_Number, typer.Option("--keep-monthly", help="… of so many months.", show_default=False)]
_Yearlies = Annotated[_Number, typer.Option("--keep-yearly", help="… of so many years.", show_default=False)]
_Zone = Annotated[
    str | None,
    typer.Option(
        "--timezone", help="Where those days begin, UTC+00:00 if never said.", metavar="UTC±HH:MM", show_default=False
    ),
]
_Window = Annotated[
    _Number,
    typer.Option("--window", help="Minutes after which what has not begun waits for the next.", show_default=False),
]


@policies.command("create")
@over_http
def create(
    client: Client,
    name: Annotated[str, typer.Argument(help="Its name: letters, digits, _ and -.", metavar="NAME")],
    server: _Servers = None, all: _All = False, select: _Select = None,
    daily: _Daily = "", weekly: _Weekly = "", pattern: _Pattern = "",
    keep: _Most = None, keep_days: _Days = None, keep_daily: _Daylies = None, keep_weekly: _Weeklies = None,
    keep_monthly: _Monthlies = None, keep_yearly: _Yearlies = None, timezone: _Zone = None, window: _Window = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for every backup it makes; repeatable.", show_default=False)
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.", show_default=False)] = "",
    disabled: Annotated[bool, typer.Option("--disabled", help="Do not run the schedule yet.")] = False,
) -> None:  # fmt: skip
    """Make a policy; prints its id. Without any --keep everything is kept."""
    named = _named(keep, keep_days, keep_daily, keep_weekly, keep_monthly, keep_yearly, timezone, window)
    _refuse_zeroes(named)
    operation = {
        "operation_type": "backup", "enabled": not disabled, "operation_definition": {"timezone": _UTC, **named},
        "trigger": {"properties": {"pattern": _schedule(daily, weekly, pattern)}},
    }  # fmt: skip
    body: Body = {"name": name, "description": description, "provider_id": PROVIDER,
                  "resources": _resources(client, server), "scheduled_operations": [operation]}  # fmt: skip
    if all or select:
        body["selection"] = {"all": all, "tags": _tags(select)}
    if tag:
        body["tags"] = _tags(tag)
    made = client.post("/policies", {"policy": body})["policy"]
    say(f"policy {name}: {_who(made)}, {_when(made)}")
    print(made["id"])


@policies.command("list")
@over_http
def list_policies(client: Client, json: Json = False) -> None:
    """List policies."""
    found = client.all("/policies", "policies")
    if json:
        for each in found:
            print_json(each)
        return
    rows = [(each["id"], each["name"], _switched(each), _who(each), _when(each)) for each in found]
    table(("ID", "NAME", "SCHEDULE", "SERVERS", "WHEN (UTC)"), rows)


@policies.command("show")
@over_http
def show(client: Client, policy: _PolicyName, json: Json = False) -> None:
    """Show one policy."""
    found = find.policy(client, policy)
    if json:
        print_json(found)
        return
    facts(
        [("id", found["id"]), ("name", found["name"]), ("description", found["description"]),
         ("schedule", _switched(found)), ("when", _when(found)), ("servers", _who(found)),
         ("tags", ", ".join(f"{tag['key']}={tag['value']}" for tag in found["tags"])),
         ("created", when(found["created_at"])),
         *_rules(found).items()]
    )  # fmt: skip


@policies.command("change")
@over_http
def change(
    client: Client, policy: _PolicyName,
    name: Annotated[str, typer.Option(help="Its new name.", show_default=False)] = "",
    server: _Servers = None, no_servers: Annotated[bool, typer.Option("--no-servers", help="List none.")] = False,
    all: _All = False, select: _Select = None,
    no_select: Annotated[bool, typer.Option("--no-select", help="Take only the servers that are listed.")] = False,
    daily: _Daily = "", weekly: _Weekly = "", pattern: _Pattern = "",
    keep: _Most = None, keep_days: _Days = None, keep_daily: _Daylies = None, keep_weekly: _Weeklies = None,
    keep_monthly: _Monthlies = None, keep_yearly: _Yearlies = None, timezone: _Zone = None, window: _Window = None,
    no_keep: Annotated[
        bool, typer.Option("--no-keep", help="Take away all rules of what is kept, but those named beside it.")
    ] = False,
    enable: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether its schedule runs.", show_default=False)
    ] = None,
) -> None:  # fmt: skip
    """Change what is named; the rest stays. --server replaces the whole list, 0 takes a --keep or --window away."""
    named = _named(keep, keep_days, keep_daily, keep_weekly, keep_monthly, keep_yearly, timezone, window)
    said = (name, server, no_servers, all, select, no_select, daily, weekly, pattern, named, no_keep)
    if enable is None and not any(said):
        raise typer.BadParameter("say what to change")
    found = find.policy(client, policy)
    body: Body = {"name": name} if name else {}
    if server or no_servers:
        body["resources"] = _resources(client, server)
    if all or select or no_select:
        body["selection"] = {"all": all, "tags": _tags(select)}
    operation: Body = {"id": found["scheduled_operations"][0]["id"]}
    if daily or weekly or pattern:
        operation["trigger"] = {"properties": {"pattern": _schedule(daily, weekly, pattern)}}
    if enable is not None:
        operation["enabled"] = enable
    if named or no_keep:
        operation["operation_definition"] = {"timezone": _UTC, **_rules(found, but=_KEPT if no_keep else ()), **named}
    body["scheduled_operations"] = [operation]
    made = client.put(f"/policies/{found['id']}", {"policy": body})["policy"]
    say(f"policy {made['name']}: {_switched(made)}, {_who(made)}, {_when(made)}")
    if _rules(made) != _rules(found):
        say(f"restead policy preview {made['name']} says what the next run removes")


@policies.command("run")
@over_http
def run(client: Client, policy: _PolicyName, server: _Servers = None) -> None:
    """Run a policy now; prints the checkpoint's id. Retention never removes what it makes."""
    found = find.policy(client, policy)
    chosen = [find.server(client, each)["id"] for each in server or ()]
    body = {"checkpoint": {"plan_id": found["id"], "parameters": {"resources": chosen}}}
    made = client.post(f"/providers/{PROVIDER}/checkpoints", body)["checkpoint"]
    items = client.all("/checkpoint_items", "checkpoint_items", checkpoint_id=made["id"])
    for each in items:
        about = each["extend_info"]
        reason = f": {about['fail_reason']}" if about["fail_reason"] else ""
        say(f"{about['resource_name']}: {each['name']} {each['status']}{reason}")
    print(made["id"])


@policies.command("preview")
@over_http
def preview(client: Client, policy: _PolicyName, json: Json = False) -> None:
    """Say what the next run removes, if it succeeds, and why each of the others stays. Changes nothing."""
    found = find.policy(client, policy)
    told = client.get(f"/policies/{found['id']}/retention")["retention"]
    if json:
        print_json(told)
        return
    run = "after the run of" if told["after_a_run"] else "now that the schedule is off,"
    going = sum(each["removed"] for each in told["backups"])
    say(f"{run} {when(told['at'])} UTC {count_of(going, 'backup')} of {len(told['backups'])} will be removed")
    rows = [
        (each["checkpoint_item_id"], each["name"], each["resource_name"], when(each["protected_at"]),
         "goes" if each["removed"] else "stays", "; ".join(each["reasons"]))
        for each in told["backups"]
    ]  # fmt: skip
    table(("ID", "NAME", "SERVER", "MOMENT (UTC)", "", "WHY"), rows)


@policies.command("delete")
@over_http
def delete(
    client: Client,
    policy: _PolicyName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
) -> None:
    """Delete a policy. Its backups stay, and nothing removes them any more."""
    found = find.policy(client, policy)
    if not yes:
        agree(f"delete policy {found['name']} ({_who(found)}, {_when(found)})? Its backups stay")
    client.delete(f"/policies/{found['id']}")
    say(f"policy {found['name']} ({found['id']}) is deleted; its backups stay")


def _resources(client: Client, servers: list[str] | None) -> list[Body]:
    found = [find.server(client, each) for each in servers or ()]
    return [{"id": each["id"], "type": _TYPE, "name": each["name"]} for each in found]


def _tags(texts: list[str] | None) -> list[Body]:
    for text in texts or ():
        if "=" not in text:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE")
    return [dict(zip(("key", "value"), text.split("=", 1), strict=True)) for text in texts or ()]


def _schedule(daily: str, weekly: str, pattern: str) -> str:
    """Return the iCalendar text.  Raises typer.BadParameter."""
    if sum(map(bool, (daily, weekly, pattern))) != 1:
        raise typer.BadParameter("say one of --daily, --weekly and --pattern")
    if pattern:
        return pattern.replace("\\n", "\n")
    days, _, times = weekly.partition("@") if weekly else ("", "", daily)
    rules = []
    for time in times.split(","):
        match = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", time.strip())
        if match is None:
            raise typer.BadParameter(f"{time!r} is no time such as 02:30")
        when = f"BYHOUR={int(match[1])};BYMINUTE={int(match[2])}"
        rules.append(f"RRULE:FREQ=WEEKLY;BYDAY={days};{when}" if weekly else f"RRULE:FREQ=DAILY;{when}")
    return "\n".join(["BEGIN:VCALENDAR", "BEGIN:VEVENT", *rules, "END:VEVENT", "END:VCALENDAR", ""])


def _named(*given: int | str | None) -> Body:
    """Return the members of a definition that were named: the order is that of the options."""
    names = (*_KEPT[:6], "timezone", "window_minutes")
    return {name: value for name, value in zip(names, given, strict=True) if value is not None}


def _refuse_zeroes(named: Body) -> None:
    """Raise typer.BadParameter if a rule keeps 0: to the service that is a rule that nobody has set.

    Source: CSBS, retention: "0: treated as not set".
    """
    if any(named.get(name) == 0 for name in _KEPT):
        raise typer.BadParameter("to keep 0 of something is no rule: leave it out, or say -1 with --keep, --keep-days")


def _rules(policy: Body, but: Sequence[str] = ()) -> Body:
    """Return what is kept, and the window."""
    definition: Body = policy["scheduled_operations"][0]["operation_definition"]
    return {name: value for name, value in definition.items() if name not in ("plan_id", "provider_id", *but)}


def _switched(policy: Body) -> str:
    return "on" if policy["scheduled_operations"][0]["enabled"] else "off"


def _who(policy: Body) -> str:
    selection: Any = policy.get("selection", {"all": False, "tags": []})
    parts = [count_of(len(policy["resources"]), "server")] if policy["resources"] else []
    parts += ["all of the project"] if selection["all"] else []
    tags = " ".join(f"{tag['key']}={tag['value']}" for tag in selection["tags"])
    parts += [f"those with {tags}"] if tags else []
    return " and ".join(parts) or "no server"


def _when(policy: Body) -> str:
    pattern = policy["scheduled_operations"][0]["trigger"]["properties"]["pattern"]
    return " and ".join(re.findall(r"RRULE:(\S+)", pattern, re.IGNORECASE))
