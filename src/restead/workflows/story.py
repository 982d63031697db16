"""What a workflow is to the engine, and what a run is to a workflow."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from restead.domain.backup import Failure
from restead.domain.ids import ProjectId
from restead.domain.run import Claim
from restead.ports import Run
from restead.records import Transaction

Ending = Callable[[Transaction], Mapping[str, object] | None]
"""What a run's last transaction does; it returns the numbers of the last event.  The engine ends the run in it, too."""


class DurableRun(Run, Protocol):
    """A run with its claim and the records' transactions, fenced by it."""

    @property
    def claim(self) -> Claim: ...

    @property
    def project_id(self) -> ProjectId: ...

    @property
    def subject(self) -> str:
        """The id of the backup or restore that the run is about."""
        ...

    def record(self, do: Callable[[Transaction], None]) -> None:
        """Do something in one transaction, if the run's lease is still its own.  Raises LeaseLost."""
        ...


@runtime_checkable
class TidiesUp(Protocol):
    """A story that has something to put away when its end is durable."""

    def afterwards(self, run: DurableRun) -> None:
        """Put it away; what fails here, or is never come to, does no harm.  Not for runs that failed."""
        ...


class Story(Protocol):
    """One kind of run."""

    def tell(self, run: DurableRun) -> Ending:
        """Do the work, whatever of it was done in an earlier life, and return what ends it.

        An expected failure is an ending too.  Whatever is raised becomes one by `failed`.
        """
        ...

    def failed(self, run: DurableRun, failure: Failure) -> Ending | None:
        """Return what ends a run that raised: the subject fails, with a reason, and nothing stays open.

        None: there is work to be done before that, and the run is told again.  It must have come nearer to its end.
        """
        ...
