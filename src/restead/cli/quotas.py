"""`restead quota …`: how much each project may keep.  Works on the data folder, service or not."""

from typing import Annotated

import typer

from restead.cli.doors import House
from restead.cli.show import print_json, table
from restead.cli.wiring import Json, beginning_folder, group, looking_into_folder, on_folder, say

quotas = group("quota", "Say how much each project may keep.")


@quotas.command("list")
@looking_into_folder
def list_quotas(house: House, json: Json = False) -> None:
    """List what projects may keep and keep: those that keep something or have limits of their own."""
    found = house.quotas()
    if json:
        for each in found:
            limits = {quota.type: {"quota": quota.quota, "used": quota.used} for quota in each.quotas}
            print_json({"project": each.project, "own": each.own, **limits})
        return
    rows = []
    for each in found:
        capacity, number = each.quotas
        rows.append((each.project, _limit(number.quota), number.used, _limit(capacity.quota), capacity.used,
                     "own" if each.own else "as all"))  # fmt: skip
    table(("PROJECT", "BACKUPS", "USED", "GB", "USED", "LIMITS"), rows)


@quotas.command("set")
@beginning_folder
def set_quota(
    house: House,
    project: Annotated[str, typer.Argument(help="Id of the project.", metavar="PROJECT")],
    backups: Annotated[
        int | None, typer.Option(help="Backups it may have; -1: no limit; as all if left out.", min=-1)
    ] = None,
    capacity: Annotated[
        int | None, typer.Option(help="GB (2^30 bytes) it may store; -1: no limit; as all if left out.", min=-1)
    ] = None,
) -> None:
    """Set what one project may keep, instead of `quota_backups` and `quota_capacity`. Counts at once."""
    if backups is None and capacity is None:
        raise typer.BadParameter("say --backups, --capacity or both; restead quota reset takes them away")
    house.set_quota(project, backups, capacity)
    said = [f"{_limit(value)} {what}" for value, what in ((backups, "backups"), (capacity, "GB")) if value is not None]
    say(f"project {project} may keep {' and '.join(said)}")


@quotas.command("reset")
@on_folder
def reset_quota(
    house: House, project: Annotated[str, typer.Argument(help="Id of the project.", metavar="PROJECT")]
) -> None:
    """Let a project keep what all may."""
    house.set_quota(project, None, None)
    say(f"project {project} may keep what all may")


def _limit(value: int) -> str:
    return "any number of" if value == -1 else str(value)
