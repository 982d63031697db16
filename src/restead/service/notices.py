"""What operators are told of all projects: who was told what, what nobody took, and a try."""

from collections.abc import Sequence
from threading import BoundedSemaphore

from restead.domain.caller import Action, Caller
from restead.domain.errors import Forbidden, NotFound, Unavailable
from restead.domain.ids import ProjectId, new_id
from restead.domain.listing import Page, Window
from restead.domain.notice import Answer, Delivery, DeliveryFilter, Notice, NoticeKind
from restead.records import deliveries
from restead.service.doors import Doors

_AT_ONCE = 4  # tests, each as long as a receiver is waited for, in one of the 40 threads that answer all requests
_NO_NUMBER = 0  # a test is in no order with what has happened


class Notices:
    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._places = BoundedSemaphore(_AT_ONCE)

    def list(self, caller: Caller, project_id: ProjectId, wanted: DeliveryFilter, window: Window) -> Page[Delivery]:
        """Return who was, or is to be, told what, of all projects."""
        _require(caller, Action.NOTICES_LIST, project_id)
        with self._doors.records.read() as tx:
            return deliveries.list_deliveries(tx, wanted, window)

    def recipients(self, caller: Caller, project_id: ProjectId) -> Sequence[str]:
        """Return the names of those who are told, in order."""
        _require(caller, Action.NOTICES_LIST, project_id)
        return sorted(self._doors.recipients)

    def retry(self, caller: Caller, project_id: ProjectId, id: str | None) -> int:
        """Have one that was given up tried again, all if *id* is None; tell how many.

        Raises:
            NotFound: there is none of that id.
            InvalidRequest: it was not given up.
        """
        _require(caller, Action.NOTICES_RETRY, project_id)
        with self._doors.records.begin() as tx:
            return deliveries.retry(tx, id)

    def drop(self, caller: Caller, project_id: ProjectId, id: str | None) -> int:
        """Remove one that was given up, all if *id* is None; tell how many.  Raises as `retry`."""
        _require(caller, Action.NOTICES_DELETE, project_id)
        with self._doors.records.begin() as tx:
            return deliveries.drop(tx, id)

    def test(self, caller: Caller, project_id: ProjectId, recipient: str) -> Answer:
        """Send a test at once, once, and return what came of it.

        Raises:
            NotFound: nobody is called so.
            Unavailable: too many tests are under way.
        """
        _require(caller, Action.NOTICES_TEST, project_id)
        notifier = self._doors.recipients.get(recipient)
        if notifier is None:
            raise NotFound(f"the settings name no recipient {recipient[:64]}")
        with self._doors.records.read() as tx:
            now = tx.now
        test = Notice(new_id(), _NO_NUMBER, NoticeKind.TEST, now, project_id, {"recipient": recipient})
        if not self._places.acquire(blocking=False):
            raise Unavailable(f"{_AT_ONCE} other tests wait for their receivers")
        try:
            return notifier.send([test])
        finally:
            self._places.release()


def _require(caller: Caller, action: Action, project_id: ProjectId) -> None:
    caller.require(action, project_id)
    if not caller.may_everywhere(action):
        raise Forbidden("only an administrator may see or change who is told what of all projects")
