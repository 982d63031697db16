"""`restead serve`: the service itself."""

from pathlib import Path
from typing import Annotated

import typer

from restead.cli.wiring import ConfigOption, DataOption, doors_of, settings_of


def serve(
    ctx: typer.Context,
    data: DataOption = None,
    listen: Annotated[
        str | None, typer.Option(help="Where the API listens; 127.0.0.1:8799 if left out.", metavar="ADDRESS:PORT")
    ] = None,
    config: ConfigOption = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate for HTTPS, PEM.", show_default=False)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key, PEM.", show_default=False)] = None,
    behind_proxy: Annotated[
        bool | None, typer.Option("--behind-proxy", help="A proxy in front does HTTPS.", show_default=False)
    ] = None,
) -> None:
    """Run the service: API and workers in one process, until SIGTERM or Ctrl-C.

    Beyond this machine it listens with HTTPS only, unless a proxy in front does that.
    """
    flags = {
        "data": data, "listen": listen, "tls_cert": tls_cert, "tls_key": tls_key, "behind_proxy": behind_proxy,
    }  # fmt: skip
    doors_of(ctx).serve(settings_of(config, **flags))
