"""How the demonstration looks: chapters, and one line for each step once it is proven."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

_TITLE = 27  # characters of a step's first column
WIDEST = 80  # characters of a line, however wide the terminal is


class NotProven(Exception):
    """A step did not show what it has to show: the demonstration ends as failed."""


def prove(holds: bool, otherwise: str) -> None:
    """Go on only if *holds*."""
    if not holds:
        raise NotProven(otherwise)


@dataclass
class Step:
    """A step under way; what is said about it is shown when it is done."""

    title: str
    said: str = ""

    def say(self, what: str) -> None:
        self.said = what


@dataclass
class Stage:
    """The terminal, and the time."""

    console: Console
    began: float = field(default_factory=time.monotonic)
    left_out: list[str] = field(default_factory=list)

    def title(self, text: str, below: str) -> None:
        self.console.print()
        self.console.print(Text(f"  {text}", "bold"))
        self.console.print(Text(f"  {below}", "dim"))

    def chapter(self, name: str) -> None:
        self.console.print()
        self.console.print(Text(f"  {name}", "bold cyan"))

    @contextmanager
    def step(self, title: str, *, waiting: bool = True) -> Iterator[Step]:
        """Show that something goes on (unless the step shows it itself), then that it is done and how long it took."""
        step, began = Step(title), time.monotonic()
        try:
            with self.console.status(Text(title, "dim"), spinner_style="cyan") if waiting else nullcontext():
                yield step
        except Exception:
            self.console.print(Text("  ✗ ", "bold red") + Text(title, "red"))
            raise
        self.done(step, time.monotonic() - began)

    def done(self, step: Step, seconds: float) -> None:
        took = f"{seconds:5.1f} s"
        room = WIDEST - _TITLE - len(took) - 5
        said = [step.said[at : at + room] for at in range(0, len(step.said), room)] or [""]
        line = Text("  ✓ ", "green") + Text(step.title.ljust(_TITLE)) + Text(said[0].ljust(room + 1), "dim")
        self.console.print(line + Text(took, "dim"), soft_wrap=True)
        for rest in said[1:]:
            self.console.print(Text(" " * (_TITLE + 4) + rest, "dim"), soft_wrap=True)

    def leave_out(self, what: str, why: str) -> None:
        self.left_out.append(what)
        line = Text("  – ", "yellow") + Text(what.ljust(_TITLE)) + Text(f"left out: {why}", "yellow")
        self.console.print(line, soft_wrap=True)

    def fact(self, name: str, value: str) -> None:
        self.console.print(Text("    ") + Text(name.ljust(_TITLE), "dim") + Text(value), soft_wrap=True)

    def quote(self, text: str) -> None:
        self.console.print()
        for line in text.splitlines():
            self.console.print(Text(f"      {line}" if line else "", "magenta"), soft_wrap=True)
        self.console.print()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began
