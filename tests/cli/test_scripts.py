"""Sessions at the command line, written as one sees them: tests/scripts/*.txt, against a real service.

    # a remark
    $ restead server list              a command, run by the shell in a folder that holds system.raw and data.raw
    ID  NAME  …                        what it prints, word for word; any run of blanks equals any other
    ! restead: …                       what it prints on standard error
    ? 4                                its exit code, if it is not 0

In what is expected `<word>` stands for one word whatever it is, `<…>` for anything to the end of the line, and
`<name=word>` also sets the variable NAME for the commands that follow.
"""

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.app.running import Place, service

_SCRIPTS = sorted((Path(__file__).parent.parent / "scripts").glob("*.txt"))
_MIB = 1 << 20
_HOLE = re.compile(r"<(?:(\w+)=)?(word|…)>")


@dataclass
class Step:
    """A command, and what is expected of it."""

    line: int
    command: str
    out: list[str] = field(default_factory=list)
    err: list[str] = field(default_factory=list)
    code: int = 0


def _steps(text: str) -> list[Step]:
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("$ "):
            steps.append(Step(number, line[2:]))
        elif line.startswith("? "):
            steps[-1].code = int(line[2:])
        elif line.startswith("! "):
            steps[-1].err.append(line[2:])
        elif line.strip() and not line.startswith("#"):
            steps[-1].out.append(line)
    return steps


def _tidy(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _match(step: Step, expected: list[str], printed: str, variables: dict[str, str]) -> None:
    shown = f"line {step.line}: $ {step.command}\n{printed}"
    found = _tidy(printed)
    assert len(found) == len(expected), f"{shown}\n{len(found)} lines, {len(expected)} expected: {expected}"
    for wanted, line in zip(expected, found, strict=True):
        names: list[str] = []
        parts = _HOLE.split(" ".join(wanted.split()))
        pattern = re.escape(parts[0])
        for name, kind, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            pattern += ("(.*)" if kind == "…" else r"(\S+)") + re.escape(rest)
            names.append(name or "")
        match = re.fullmatch(pattern, line)
        assert match, f"{shown}\nexpected: {wanted}\nfound:    {line}"
        variables.update({name: value for name, value in zip(names, match.groups(), strict=True) if name})


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda path: path.stem)
def test_session(script: Path, tmp_path: Path) -> None:
    """Every command prints what the script says and ends as it says."""
    place = Place(tmp_path)
    place.disk("system.raw", 4 * _MIB, seed=1)
    place.disk("data.raw", 8 * _MIB, seed=2)
    variables: dict[str, str] = {}
    with service(place):
        for step in _steps(script.read_text()):
            done = subprocess.run(
                ["bash", "-c", step.command], cwd=tmp_path, env={**os.environ, **place.environment, **variables},
                capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
            )  # fmt: skip
            assert done.returncode == step.code, f"line {step.line}: $ {step.command}\n{done.stdout}{done.stderr}"
            _match(step, step.out, done.stdout, variables)
            _match(step, step.err, done.stderr, variables)
