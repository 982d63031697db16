"""What a restore would change, found by reading its disks; nothing is changed and nothing of them is stored."""

from collections.abc import Sequence
from contextlib import ExitStack
from threading import BoundedSemaphore

from restead.domain.errors import Damaged, ResteadError, Unavailable
from restead.domain.ids import ProjectId
from restead.domain.restore import Comparison, PlannedVolume, RestorePlan
from restead.ports import BlockTarget, Consistency, Volumes
from restead.records import utc_now
from restead.repository import DiskDescription, Repository, Session

_LABEL = "plan"  # of sessions that live no longer than a request
_AT_ONCE = 8  # each takes as long as disks are read, in one of the 40 threads that answer all requests


class Comparer:
    """Compares the disks of a plan, in the calling thread."""

    def __init__(self, repository: Repository, volumes: Volumes) -> None:
        self._repository = repository
        self._volumes = volumes
        self._places = BoundedSemaphore(_AT_ONCE)

    def __call__(self, project_id: ProjectId, plan: RestorePlan) -> Sequence[Comparison]:
        """Return what is to be done to each disk, in the plan's order.

        Nobody else can write to the disks meanwhile.

        Raises:
            Unavailable, NotFound: a disk is in use, or gone; or the disks of many other plans are being compared.
            Damaged: the root of what is wanted is lost.
        """
        if not self._places.acquire(blocking=False):
            raise Unavailable(f"the disks of {_AT_ONCE} other plans are being compared")
        try:
            return self._compared(project_id, plan)
        finally:
            self._places.release()

    def _compared(self, project_id: ProjectId, plan: RestorePlan) -> Sequence[Comparison]:
        wanted = list(dict.fromkeys(volume.wanted for volume in plan.volumes))
        with ExitStack() as held:
            targets = [
                held.enter_context(self._volumes.open_target(project_id, plan.server.id, volume.target.id))
                for volume in plan.volumes
            ]
            session = held.enter_context(self._repository.session(project_id, label=_LABEL, reads=wanted))
            return [_compared(session, *each) for each in zip(plan.volumes, targets, strict=True)]

    def end_dead_sessions(self) -> None:
        """End what plans have left open that died with their process.  Only while none is being made."""
        try:
            for session in self._repository.sessions(_LABEL):
                self._repository.end(session.number)
        except ResteadError:
            pass  # the next start does it


def _compared(session: Session, volume: PlannedVolume, target: BlockTarget) -> Comparison:
    about = DiskDescription("data", utc_now(), Consistency.OFFLINE.value)
    survey = session.survey(target, volume.wanted, description=about, keep=False)
    lost: tuple[tuple[int, int], ...] = ()
    try:
        count = session.check_wanted(survey, target, compare=True)
    except Damaged as error:
        if not error.ranges:
            raise
        lost = error.ranges
        count = session.check_wanted(survey, target, lost=lost, compare=True)
    return Comparison(
        kept=count.kept, to_write=count.written, to_zero=count.zero, to_save=survey.count.new, damaged=lost
    )
