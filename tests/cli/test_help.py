"""What `--help` says at every level."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from restead.cli import command_line


@pytest.mark.parametrize("words", [[], ["backup"], ["backup", "list"], ["restores", "undo"], ["restore"]])
def test_every_help_tells_the_exit_codes(words: list[str]) -> None:
    """Those of groups and of the commands in them, too."""
    shown = CliRunner().invoke(command_line(), [*words, "--help"])
    assert shown.exit_code == 0
    told = " ".join(shown.output.split())
    assert "Exit codes: 0 done; 1 failed" in told
    assert "130 interrupted" in told


def test_help_loads_nothing_that_it_does_not_need() -> None:
    """Settings and the HTTP client weigh more than all else together; each is loaded when it is needed."""
    program = "import sys, restead.app; print([m for m in ('pydantic', 'httpx2', 'sqlalchemy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
