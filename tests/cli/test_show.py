"""How things are written for people."""

import json

import pytest

from restead.cli.progress import Bar
from restead.cli.show import count_of, facts, megabytes, print_json, seconds, size, table
from restead.cli.wiring import Exit, fail, say


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (10 * 2**30, "10 GiB"),
        (123.4 * 2**20, "123 MiB"),
        (2**60, "1024 PiB"),
    ],
)
def test_sizes_are_short_and_true(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(("count", "text"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 01 s"), (3900, "1 h 05 min")])
def test_durations_are_short(count: float, text: str) -> None:
    assert seconds(count) == text


def test_a_table_cuts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """However long a cell is: an id that is cut is of no use."""
    table(("A", "B"), [("x" * 300, 1), ("y", "z" * 200)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["A", "B"], ["x" * 300, "1"], ["y", "z" * 200]]


def test_brackets_are_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Names come from others."""
    table(("A",), [("[bold]name[/bold]",)])
    assert "[bold]name[/bold]" in capsys.readouterr().out


def test_whole_mebibytes_are_not_called_nothing() -> None:
    assert [megabytes(count) for count in (0, 24, 2048)] == ["< 1 MiB", "24 MiB", "2 GiB"]


NASTY = "\x1b]0;title\x07 \x1b[31mred \x9b2J\r\nrestead: done\ud800"
TAMED = r"\x1b]0;title\x07 \x1b[31mred \x9b2J\r\nrestead: done\ud800"


def test_what_others_have_written_gives_a_terminal_no_orders(capsys: pytest.CaptureFixture[str]) -> None:
    """Descriptions and names of disks may hold any character; neither do they begin lines of their own."""
    table(("A", "B"), [(NASTY, 1)])
    facts([("a", NASTY)])
    assert [line.split("  ", 1) for line in capsys.readouterr().out.splitlines()[1:]] == [
        [TAMED, "1"], ["a", TAMED],
    ]  # fmt: skip


def test_messages_have_lines_and_nothing_else_that_steers(capsys: pytest.CaptureFixture[str]) -> None:
    say("one\ntwo \x1b[31m\x9b")
    fail("one\ntwo \x1b[31m\x9b", Exit.FAILED)
    assert capsys.readouterr().err.splitlines() == [r"restead: one", r"two \x1b[31m\x9b"] * 2


def test_json_is_the_same_json_and_ascii_where_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": NASTY, "b": "é 💾 \U000e0001"})
    line = capsys.readouterr().out
    assert json.loads(line) == {"a": NASTY, "b": "é 💾 \U000e0001"}
    assert line.removesuffix("\n").isprintable()
    assert "é 💾" in line


def test_a_bar_takes_names_as_they_are() -> None:
    """A server may be called by what rich takes for its markup, and what ends nothing there is an error."""
    bar = Bar("backing up web[/x] [bold]1", as_json=False)
    columns = bar._progress.make_tasks_table(bar._progress.tasks).columns
    assert str(next(columns[0].cells)) == "restead: backing up web[/x] [bold]1"


def test_of_one_thing_there_are_no_several() -> None:
    assert [count_of(number, "disk") for number in (0, 1, 2)] == ["0 disks", "1 disk", "2 disks"]
    assert [count_of(number, "entry", "entries") for number in (0, 1, 2)] == ["0 entries", "1 entry", "2 entries"]
