"""How a command gets what it works on, and how its failure becomes an exit code.

A command is written as a plain function whose first parameter is a `House`, its `Keys`, its `Database` or what is
`Stored` in it, or a `Client`; the decorators here put the options in its place that say which one.
"""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from contextlib import closing, nullcontext
from datetime import timedelta
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from restead.cli.client import Client, open_client
from restead.cli.doors import Database, Doors, House, Keys, Stored
from restead.cli.show import on_terminal, shown
from restead.domain.errors import (
    Damaged,
    Forbidden,
    InvalidRequest,
    NotFound,
    ResteadError,
    Unauthenticated,
    Unavailable,
)

if TYPE_CHECKING:
    from restead.settings import Settings


class Exit(IntEnum):
    """What the exit code says."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_REACHABLE = 3
    REFUSED = 4
    INTERRUPTED = 130  # by Ctrl-C, as shells count it


EXIT_CODES = """Exit codes: 0 done; 1 failed (a backup or restore ended in error, stored bytes are damaged);
2 the command line is wrong, or somebody would have to be asked and --yes is missing;
3 the service, or something it needs, cannot be reached or is in use;
4 refused (not allowed, not found, a condition does not hold); 130 interrupted."""

_CODES: dict[type[ResteadError], Exit] = {
    InvalidRequest: Exit.REFUSED,
    Unauthenticated: Exit.REFUSED,
    Forbidden: Exit.REFUSED,
    NotFound: Exit.REFUSED,
    Unavailable: Exit.NOT_REACHABLE,
    Damaged: Exit.FAILED,
}

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "w": "weeks"}

stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """Tell people something that is not a result."""
    stderr.print(Text("restead: ", "dim") + Text(shown(message, lines=True)))


def fail(message: str, code: Exit) -> typer.Exit:
    """Tell why, and return what to raise."""
    stderr.print(Text("restead: ", "red") + Text(shown(message, lines=True)))
    return typer.Exit(code)


def duration(text: str) -> timedelta:
    """Return how long `90d`, `12h`, `30m` or `4w` is.  Raises typer.BadParameter."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})([dhmw])", text)
    if not match:
        raise typer.BadParameter(f"{text!r} is no duration such as 90d, 12h, 30m or 4w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def agree(question: str) -> None:
    """Return if somebody says yes.  Raises typer.Exit: nobody is there, or says no."""
    if not on_terminal():
        raise fail("this is no terminal, so nobody can be asked: say --yes to do it without asking; "
                   "nothing was changed", Exit.USAGE)  # fmt: skip
    if not typer.confirm(f"restead: {shown(question)}", err=True):
        raise fail("nothing was changed", Exit.REFUSED)


def agree_by_name(question: str, name: str) -> None:
    """Return if somebody types *name*.  Raises typer.Exit as `agree`."""
    if not on_terminal():
        raise fail("this is no terminal, so nobody can be asked: say --yes to do it without asking; "
                   "nothing was changed", Exit.USAGE)  # fmt: skip
    if typer.prompt(f"restead: {question}", err=True, default="", show_default=False) != name:
        raise fail(f"that is not {name}; nothing was changed", Exit.REFUSED)


class Commands(TyperGroup):
    """Commands whose errors become one line and an exit code, which the help of each explains."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = super().get_command(ctx, cmd_name)
        if found is not None:
            found.epilog = EXIT_CODES
        return found

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ResteadError as error:
            code = next((_CODES[kind] for kind in type(error).__mro__ if kind in _CODES), Exit.FAILED)
            raise fail(error.message + (f" ({error.detail})" if error.detail else ""), code) from error
        except KeyboardInterrupt:
            raise fail("interrupted", Exit.INTERRUPTED) from None


def group(name: str, summary: str) -> typer.Typer:
    return typer.Typer(name=name, help=summary, no_args_is_help=True, cls=Commands, rich_markup_mode=None)


DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data folder [env: RESTEAD_DATA].", show_default=False, metavar="DIR")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="TOML file with settings.", show_default=False, metavar="FILE")
]
_Url = Annotated[str | None, typer.Option("--url", help="Service [env: RESTEAD_URL].", show_default=False)]
_Token = Annotated[str | None, typer.Option("--token", help="Token [env: RESTEAD_TOKEN].", show_default=False)]
_Project = Annotated[
    str | None, typer.Option("--project", help="Project id [env: RESTEAD_PROJECT].", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object on a line.")]

PowerOn = Annotated[
    bool | None,
    typer.Option(
        "--power-on/--no-power-on", help="Whether the server runs afterwards; as now if left out.", show_default=False
    ),
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return as soon as it is accepted.")]


def doors_of(ctx: typer.Context) -> Doors:
    doors: Doors = ctx.find_root().obj
    return doors


def on_folder(command: Callable[..., None], *, make: bool = False, noted: bool = True) -> Callable[..., None]:
    """Turn the first parameter, the opened `House` or a part of it, into the options that name the data folder.

    *make*: the command may be the first one on a folder.  Others refuse one that is not there: it is mistyped.
    *noted*: the audit trail tells of it.
    """
    wanted = _first_parameter(command)
    part = _PARTS[wanted]

    @functools.wraps(command)
    def run(*, ctx: typer.Context, data: Path | None, config: Path | None, **rest: Any) -> None:
        with doors_of(ctx).house(settings_of(config, data=data), make=make) as house:
            with house.noting(ctx.command_path, _said(rest)) if noted else nullcontext():
                command(part(house), **rest)

    return _with_options(run, command, wanted, {"data": DataOption, "config": ConfigOption})


def looking_into_folder(command: Callable[..., None]) -> Callable[..., None]:
    """As `on_folder`, for a command that changes nothing and gives no secret away."""
    return on_folder(command, noted=False)


def _said(parameters: Mapping[str, object]) -> str:
    """Return what somebody has typed, without what was left out and without secrets."""
    told = {name: value for name, value in parameters.items() if not _is_left_out(value)}
    return " ".join(f"{name}={_without_secret(value)}" for name, value in told.items())


def _is_left_out(value: object) -> bool:
    return value is None or value is False or value in ("", [])  # 0 is a word as any other


def _without_secret(value: object) -> str:
    """Secrets are never parameters, only their files; but the address of a database may hold a password anywhere."""
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    scheme, _, rest = text.partition("://")
    return f"{scheme}://…" if rest and scheme.lower().startswith("postgres") else text


def beginning_folder(command: Callable[..., None]) -> Callable[..., None]:
    """As `on_folder`, for a command that may be the first one on a folder."""
    return on_folder(command, make=True)


def over_http(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the first parameter, the `Client`, into the options that name the service."""

    @functools.wraps(command)
    def run(*, ctx: typer.Context, url: str | None, token: str | None, project: str | None, **rest: Any) -> None:  # noqa: ARG001
        try:
            client = open_client(url, token, project)
        except InvalidRequest as error:
            raise fail(error.message, Exit.USAGE) from error
        with closing(client):
            command(client, **rest)

    return _with_options(run, command, Client, {"url": _Url, "token": _Token, "project": _Project})


def settings_of(config: Path | None, **flags: object) -> "Settings":
    """Read the settings; what is wrong with them is wrong usage."""
    from restead.settings import read_settings  # weighs a third of the command line

    try:
        return read_settings(config, **flags)
    except InvalidRequest as error:
        raise fail(error.message, Exit.USAGE) from error


_PARTS: dict[type, Callable[[House], object]] = {
    House: lambda house: house,
    Keys: lambda house: house.keys,
    Stored: lambda house: house.stored,
    Database: lambda house: house.database,
}


def _first_parameter(command: Callable[..., None]) -> type:
    name = next(iter(inspect.signature(command).parameters))
    found: type = get_type_hints(command)[name]
    return found


def _with_options(
    run: Callable[..., None], command: Callable[..., None], first: type, options: dict[str, Any]
) -> Callable[..., None]:
    hints = get_type_hints(command, include_extras=True)
    name, *own = inspect.signature(command).parameters.values()
    assert hints[name.name] is first, f"{command.__name__} does not begin with a {first.__name__}"
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("ctx", keyword, annotation=typer.Context)]
    parameters += [each.replace(kind=keyword, annotation=hints[each.name]) for each in own]
    parameters += [inspect.Parameter(n, keyword, default=None, annotation=hint) for n, hint in options.items()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    del run.__wrapped__  # type: ignore[attr-defined]  # or its signature would be taken
    return run
