"""`restead report …`: what an operator should know before it is too late."""

from restead.cli.client import Client
from restead.cli.show import count_of, print_json, table, when
from restead.cli.wiring import Exit, Json, fail, group, over_http, say

reports = group("report", "What an operator should know before it is too late.")


@reports.command("unprotected")
@over_http
def unprotected(client: Client, json: Json = False) -> None:
    """List servers without a good backup younger than their policy, or without a policy; exit code 1 if any."""
    found = client.get("/reports/unprotected")["unprotected"]
    if json:
        for each in found:
            print_json(each)
    elif found:
        rows = [(each["resource_id"], each["resource_name"], each["policy_name"] or "-", when(each["last_good"]),
                 each["reason"]) for each in found]  # fmt: skip
        table(("ID", "SERVER", "POLICY", "LAST GOOD (UTC)", "WHY"), rows)
    if found:
        raise fail(f"{count_of(len(found), 'server')} would be missed", Exit.FAILED)
    say("every server has a good backup younger than its policy")
