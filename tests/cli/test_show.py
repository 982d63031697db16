"""How things are written for people."""

import pytest

from restead.cli.show import megabytes, seconds, size, table


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
