"""What every implementation of `Notifier` does.  Subclass, and give a fixture `receiver`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest

from restead.domain.ids import ProjectId
from restead.domain.notice import FACTS, Hearing, Notice, NoticeKind
from restead.ports import Notifier

SECRETS = ("c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0", "correct horse battery")
AWKWARD = "Ünï ☃ \\ ' \" %s {x} <b> \r\nBcc: everybody@example.org\0\u2028 end"


def notice(number: int = 1, kind: NoticeKind = NoticeKind.BACKUP_FAILED, **facts: Any) -> Notice:
    """A notice that tells all that one of its kind tells."""
    told: dict[str, object] = {name: facts.get(name, f"{name} of {number}") for name in FACTS[kind]}
    at = datetime(2026, 3, 2, 10, 15, number % 60, tzinfo=UTC)
    return Notice(f"00000000-0000-4000-8000-{number:012d}", number, kind, at, ProjectId("p"), told)


class Receiver(Protocol):
    """Somebody who is told, as a test can make them be."""

    @property
    def notifier(self) -> Notifier: ...

    def received(self) -> Sequence[str]:
        """Return the ids of all that has come, each as often as it came."""
        ...

    def be(self, mood: str) -> None:
        """Take everything (`well`), ask for later (`busy`), refuse (`against`), never answer (`silent`), answer
        slower than anybody waits (`slow`), hang up (`gone`), or not be there (`away`)."""
        ...


class NotifierSuite:
    def test_what_is_taken_has_come_once(self, receiver: Receiver) -> None:
        assert receiver.notifier.send([notice(1)]).hearing is Hearing.TAKEN
        assert list(receiver.received()) == [notice(1).id]

    def test_several_come_along_in_their_order(self, receiver: Receiver) -> None:
        found = [notice(number) for number in (1, 2, 3)]
        assert receiver.notifier.send(found).hearing is Hearing.TAKEN
        assert list(receiver.received()) == [each.id for each in found]

    @pytest.mark.parametrize("kind", NoticeKind)
    def test_every_kind_can_be_told(self, receiver: Receiver, kind: NoticeKind) -> None:
        facts = {"backup_ids": ["a", "b"], "damaged_objects": 2, "damaged_disks": 0}
        assert receiver.notifier.send([notice(1, kind, **facts)]).hearing is Hearing.TAKEN

    def test_no_text_breaks_anything(self, receiver: Receiver) -> None:
        """Names of servers, and reasons, are what others chose."""
        awkward = notice(1, server_name=AWKWARD, reason=AWKWARD * 100)
        assert receiver.notifier.send([awkward, notice(2)]).hearing is Hearing.TAKEN
        assert list(receiver.received()) == [awkward.id, notice(2).id]

    @pytest.mark.parametrize(
        ("mood", "hearing"),
        [
            ("busy", Hearing.LATER),
            ("against", Hearing.REFUSED),
            ("silent", Hearing.LATER),
            ("slow", Hearing.LATER),
            ("gone", Hearing.LATER),
            ("away", Hearing.LATER),
        ],
    )
    def test_what_is_not_taken_is_said(self, receiver: Receiver, mood: str, hearing: Hearing) -> None:
        """No exception, no endless wait, and no secret in what is said of it."""
        receiver.be(mood)
        answer = receiver.notifier.send([notice(1)])
        assert answer.hearing is hearing
        assert answer.said
        assert not any(secret in answer.said for secret in SECRETS)

    def test_it_comes_as_soon_as_they_are_well_again(self, receiver: Receiver) -> None:
        receiver.be("gone")
        assert receiver.notifier.send([notice(1)]).hearing is Hearing.LATER
        receiver.be("well")
        assert receiver.notifier.send([notice(1)]).hearing is Hearing.TAKEN
        assert receiver.received()[-1] == notice(1).id
