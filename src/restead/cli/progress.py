"""How people watch something that takes a while: a bar with rate and time left, or JSON lines."""

from types import TracebackType
from typing import Any

from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from restead.cli.show import print_json, seconds, shown, size
from restead.cli.wiring import stderr


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        rate, left = task.fields["rate"], task.fields["left"]
        parts = [f"{size(rate)}/s" if rate else "", f"{seconds(left)} left" if left is not None else ""]
        return Text(" · ".join(part for part in parts if part), "dim")


class Bar:
    """A bar on a terminal; one JSON line for each change if asked; else nothing."""

    def __init__(self, title: str, *, as_json: bool) -> None:
        self._as_json = as_json
        self._last: dict[str, Any] = {}
        self._progress = Progress(
            TextColumn("restead: {task.description}", markup=False),  # names come from others
            BarColumn(40),
            TextColumn("{task.percentage:>3.0f} %"),
            _Rate(),
            console=stderr,
            disable=as_json or not stderr.is_terminal,
        )
        self._title = title = shown(title)
        self._task = self._progress.add_task(title, total=None, rate=0, left=None)

    def __enter__(self) -> "Bar":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, percent: int, *, phase: str = "", rate: int = 0, left: int | None = None) -> None:
        """Move to *percent*; *phase* is what is being done, *rate* bytes per second, *left* seconds."""
        known = 100 if percent else None  # until then the bar says only that something goes on
        title = f"{self._title}: {phase}" if phase else self._title
        self._progress.update(self._task, description=title, completed=percent, total=known, rate=rate, left=left)
        line: dict[str, Any] = {"progress": percent, "bytes_per_second": rate, "seconds_left": left}
        line |= {"phase": phase} if phase else {}
        if self._as_json and line != self._last:
            print_json(line)
        self._last = line
