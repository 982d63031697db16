"""`restead backup throttle`: how fast servers are read while they run."""

from typing import Annotated

import typer

from restead.cli import find
from restead.cli.client import Client
from restead.cli.restore_actions import rate_wanted
from restead.cli.show import say_rate
from restead.cli.wiring import over_http, say


@over_http
def throttle(
    client: Client,
    words: Annotated[
        list[str],
        typer.Argument(
            help="Name or id of the server (none with --all), and bytes per second that it may be read with while it "
            "runs: 50000000, 50M, 1.5G, or none for no limit.",
            metavar="[SERVER] RATE",
        ),
    ],
    every: Annotated[bool, typer.Option("--all", help="All running servers of all projects together.")] = False,
) -> None:
    """Set how fast a server is read while it runs, or with --all how fast all together; also while a backup runs."""
    rate, body = rate_wanted(words, "SERVER", every=every)
    if every:
        client.post("/servers/action", body)
        whose = "all running servers together"
    else:
        server = find.server(client, words[0])
        client.post(f"/servers/{find.segment(server['id'])}/action", body)
        whose = f"server {server['name']} while it runs"
    say(f"{whose}: {say_rate(rate)}")
