"""All disks of a restore at once: what is done with each, and which of them was the first to fail."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial

from restead.domain.errors import ResteadError
from restead.domain.restore import RestorePlan
from restead.workflows.restore_disks import Disk, Json
from restead.workflows.restore_ending import Trouble, trouble
from restead.workflows.restore_watch import Watch
from restead.workflows.story import DurableRun
from restead.workflows.together import Gate, GivenUp, together


class Crew:
    """The disks of one life of a restore, worked on at the same time."""

    def __init__(self, disks: Sequence[Disk], watch: Watch, run: DurableRun, plan: RestorePlan) -> None:
        self._disks = disks
        self._watch = watch
        self._run = run
        self._plan = plan
        self.culprit: int | None = None  # the disk that failed last

    def open(self, held: ExitStack) -> None:
        """Open all disks for writing; *held* closes them.  Raises as the first that does not open."""
        for disk in self._disks:
            held.callback(disk.close)
            try:
                disk.open()
            except ResteadError:
                self.culprit = disk.ordinal
                raise

    def all(self, work: Callable[[Disk, Callable[[], None]], None]) -> None:
        """Do something on all disks at once; what fails first ends it."""
        gate = Gate()
        outcomes = together([partial(self._one, disk, gate, work) for disk in self._disks])
        self._raise_first(gate, outcomes)

    def steps(self, name: str, work: Callable[[Disk, Callable[[], None]], Json | None]) -> Trouble | None:
        """Do something on all disks at once, each tried again while that is right; return what failed first."""
        gate, found = Gate(), dict[int, Json]()

        def step(disk: Disk, check: Callable[[], None]) -> None:
            failed = self._run.step(f"{self._run.claim.number}/{name}/{disk.ordinal}", lambda: work(disk, check))
            if failed is not None:
                gate.close(disk.ordinal)
                found[disk.ordinal] = failed

        outcomes = together([partial(self._one, disk, gate, step) for disk in self._disks])
        if gate.first is not None and gate.first in found:
            for outcome in outcomes:
                if outcome is not None and not isinstance(outcome, GivenUp | ResteadError):
                    raise outcome
            return trouble(found[gate.first], gate.first, self._plan)
        self._raise_first(gate, outcomes)
        return None

    def _one(self, disk: Disk, gate: Gate, work: Callable[[Disk, Callable[[], None]], None]) -> None:
        def check() -> None:
            gate.check()
            self._watch.check()

        try:
            work(disk, check)
        except BaseException:
            gate.close(disk.ordinal)
            raise

    def _raise_first(self, gate: Gate, outcomes: Sequence[Exception | None]) -> None:
        """Raise what ended the work on several disks: what says most comes first."""
        for outcome in outcomes:
            if outcome is not None and not isinstance(outcome, GivenUp | ResteadError):
                raise outcome  # the lease is lost, or there is a bug
        if gate.first is not None:
            outcome = outcomes[gate.first]
            if isinstance(outcome, ResteadError):
                self.culprit = gate.first
                raise outcome
            raise GivenUp("cancelled")
