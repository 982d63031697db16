"""What is not in docs/ does not exist: settings, commands, events and exit codes."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from restead.cli import command_line
from restead.cli.wiring import Exit
from restead.domain.notice import FACTS, NoticeKind
from restead.domain.run import Told
from restead.settings import Settings

_ROOT = Path(__file__).parent.parent
_OPERATE = (_ROOT / "docs" / "operate.md").read_text()


def _commands() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    root = typer.main.get_command(command_line())
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        inner = getattr(command, "commands", None)
        if inner is None:
            yield name, command
        for verb, below in (inner or {}).items():
            yield f"{name} {verb}", below


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described(name: str) -> None:
    """Each has a line in the table of settings, and a description for programs."""
    assert re.search(rf"^\| .*`{name}`.* \|", _OPERATE, re.MULTILINE), f"docs/operate.md does not tell of {name}"
    assert Settings.model_fields[name].description


def test_no_setting_is_described_that_does_not_exist() -> None:
    """The table of settings names nothing that is refused."""
    table = _OPERATE.partition("| setting |")[2].partition("\n\n")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for cell in first_cells for name in re.findall(r"`([a-z_]+)`", cell)}
    assert named - set(Settings.model_fields) == set()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_documented_defaults_are_the_defaults(name: str) -> None:
    """Numbers and words in the column of defaults are those of the code."""
    default = Settings.model_fields[name].default
    row = next(line for line in _OPERATE.splitlines() if line.startswith("| `") and f"`{name}`" in line.split("|")[1])
    shown = row.split("|")[2].strip().strip("`")
    if isinstance(default, bool):
        assert shown == str(default).lower()
    elif isinstance(default, int | float):
        assert float(shown) == float(default)
    elif default and isinstance(default, str):
        assert shown == default


@pytest.mark.parametrize("name", [name for name, _ in _commands()])
def test_every_command_is_described(name: str) -> None:
    assert f"`restead {name}" in _OPERATE, f"docs/operate.md does not tell of restead {name}"


@pytest.mark.parametrize(("name", "command"), [pytest.param(*each, id=each[0]) for each in _commands()])
def test_every_option_explains_itself(name: str, command: typer.core.TyperCommand) -> None:
    """`--help` leaves no option and no argument without a word, and no command without a sentence."""
    assert command.help, name
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"restead {name}: {parameter.name}"


@pytest.mark.parametrize("kind", Told)
def test_every_event_is_described(kind: Told) -> None:
    assert f"`{kind.value}`" in _OPERATE


@pytest.mark.parametrize("kind", NoticeKind)
def test_every_notice_is_described(kind: NoticeKind) -> None:
    """In a line of its own, and every fact that it tells is named."""
    section = _OPERATE.partition("## Notices")[2].partition("\n## ")[0]
    assert re.search(rf"^\| `{re.escape(kind.value)}` \| ", section, re.MULTILINE)
    assert [fact for fact in FACTS[kind] if f"`{fact}`" not in section] == []


@pytest.mark.parametrize("code", Exit)
def test_every_exit_code_is_described(code: Exit) -> None:
    assert re.search(rf"^\| {code.value} \| ", _OPERATE, re.MULTILINE)


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link in README and docs is to a file that exists."""
    for path in [_ROOT / "README.md", *(_ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), f"{path.name} links to {target}"
