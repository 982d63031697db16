"""How things look: tables for people, JSON for programs, both on standard output."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from restead.domain.wording import count_of as count_of

_MOST_RANGES = 20  # of one disk; --json has them all
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def shown(text: str, *, lines: bool = False) -> str:
    """Return *text* as a terminal may have it: what does not print, and might steer it, is written out.

    Names and descriptions come from others.  *lines*: ends of lines stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or (lines and c == "\n") else _written_out(c) for c in text)


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode()


def ranges(found: Sequence[Sequence[int]]) -> Iterator[str]:
    """Yield a line for each (offset, length), and for all that are too many one."""
    for offset, length in found[:_MOST_RANGES]:
        yield f"    bytes {offset} to {offset + length}"
    if len(found) > _MOST_RANGES:
        yield f"    and {count_of(len(found) - _MOST_RANGES, 'more range')}"


def print_line(text: str) -> None:
    """Print a result that is one line."""
    print(shown(text))


def print_json(value: object) -> None:
    """Print one line of JSON; only what a terminal could obey is escaped."""
    text = json.dumps(value, ensure_ascii=False)
    print("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text), flush=True)


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings, each column as wide as its widest cell, nothing ever cut."""
    cells = [[shown(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    console = Console(highlight=False, soft_wrap=True)
    for style, row in [("dim", headings), *(("", row) for row in cells)]:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console.print(Text(line.rstrip(), style), soft_wrap=True)


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one on a line; what is empty is left out."""
    found = [(name, shown(str(value))) for name, value in pairs if value not in ("", None)]
    width = max(len(name) for name, _ in found)
    console = Console(highlight=False, soft_wrap=True)
    for name, value in found:
        console.print(Text(f"{name.ljust(width)}  ", "dim") + Text(value))


def size(count: float) -> str:
    """Return a number of bytes for people: `1.5 GiB`, `512 bytes`."""
    if count < 1024:
        return f"{count:.0f} bytes"
    for unit in _UNITS:
        count /= 1024
        if count < 1024 or unit == _UNITS[-1]:
            break
    return f"{count:.0f} {unit}" if count >= 100 or count == int(count) else f"{count:.1f} {unit}"


def megabytes(count: int) -> str:
    """Return a size that the API tells in whole MiB: `24 MiB`, `< 1 MiB`."""
    return size(count * 2**20) if count else "< 1 MiB"


def say_rate(count: int) -> str:
    """Return a limit of bytes per second for people; 0: none."""
    return f"at most {size(count)}/s" if count else "as fast as it goes"


def when(value: Any) -> str:
    """Return a time of the API or of the house for people, in UTC: `2026-03-02 10:15:30`."""
    if value is None:
        return "-"
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def seconds(count: float) -> str:
    """Return a duration for people: `8 s`, `3 min 20 s`, `1 h 05 min`."""
    whole = round(count)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def on_terminal() -> bool:
    """Whether somebody can be asked and watches."""
    return sys.stdin.isatty() and sys.stderr.isatty()
