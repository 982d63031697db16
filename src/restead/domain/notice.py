"""Notices: what operators are told without asking, when, and how often it is tried.

    Matter   something that goes well or does not: the backups of a server, the repository, …
    Rule     which news of a matter is said; one table holds them all
    Notice   something that is said, with an id that every receiver can tell doubles by
    Delivery a notice on its way to one recipient: waiting, sent or dead

Everything here is pure; `records` keeps it, `workflows` brings it, drivers speak to those who are told.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from restead.domain.errors import InvalidRequest
from restead.domain.ids import ProjectId
from restead.domain.states import DeliveryState


class NoticeKind(StrEnum):
    """What a notice says has happened."""

    BACKUP_FAILED = "backup.failed"
    BACKUP_MISSED = "backup.missed"  # a policy's run left the server out
    BACKUP_RECOVERED = "backup.recovered"  # the first good one after these
    RESTORE_SUCCEEDED = "restore.succeeded"
    RESTORE_FAILED = "restore.failed"
    DELETION_FAILED = "deletion.failed"
    POLICY_MISSED = "policy.missed"  # a time of a schedule was left out as a whole
    VERIFICATION_DAMAGED = "verification.damaged"
    VERIFICATION_RECOVERED = "verification.recovered"
    COLLECTION_FAILED = "collection.failed"
    COLLECTION_RECOVERED = "collection.recovered"
    REPOSITORY_UNAVAILABLE = "repository.unavailable"
    REPOSITORY_RECOVERED = "repository.recovered"
    TEST = "test"  # somebody wants to see one


_SERVER = ("operation_id", "server_id", "server_name", "backup_id", "backup_name", "policy_id")
_WHY = ("code", "reason")
_FOUND = ("verification_id", "depth", "damaged_objects", "damaged_disks", "backup_ids")

FACTS: Mapping[NoticeKind, tuple[str, ...]] = {
    NoticeKind.BACKUP_FAILED: (*_SERVER, *_WHY),
    NoticeKind.BACKUP_MISSED: (*_SERVER, *_WHY),
    NoticeKind.BACKUP_RECOVERED: _SERVER,
    NoticeKind.RESTORE_SUCCEEDED: (*_SERVER, "restore_id"),
    NoticeKind.RESTORE_FAILED: (*_SERVER, "restore_id", *_WHY),
    NoticeKind.DELETION_FAILED: (*_SERVER, *_WHY),
    NoticeKind.POLICY_MISSED: ("operation_id", "policy_id", "policy_name", *_WHY),
    NoticeKind.VERIFICATION_DAMAGED: _FOUND,
    NoticeKind.VERIFICATION_RECOVERED: _FOUND,
    NoticeKind.COLLECTION_FAILED: _WHY,
    NoticeKind.COLLECTION_RECOVERED: (),
    NoticeKind.REPOSITORY_UNAVAILABLE: _WHY,
    NoticeKind.REPOSITORY_RECOVERED: (),
    NoticeKind.TEST: ("recipient",),
}
"""What each kind of notice tells, all of it always."""

_SUMMARIES: Mapping[NoticeKind, str] = {
    NoticeKind.BACKUP_FAILED: "the backup of server {server_name} failed: {reason}",
    NoticeKind.BACKUP_MISSED: "server {server_name} was not backed up: {reason}",
    NoticeKind.BACKUP_RECOVERED: "server {server_name} has a good backup again: {backup_name}",
    NoticeKind.RESTORE_SUCCEEDED: "server {server_name} was restored from backup {backup_name}",
    NoticeKind.RESTORE_FAILED: "the restore of server {server_name} from backup {backup_name} failed: {reason}",
    NoticeKind.DELETION_FAILED: "backup {backup_name} of server {server_name} could not be deleted: {reason}",
    NoticeKind.POLICY_MISSED: "policy {policy_name}: {reason}",
    NoticeKind.VERIFICATION_DAMAGED: "the repository is damaged: {damaged_objects} of its objects, "
                                     "{damaged_disks} of the disk backups: restead repository damage",
    NoticeKind.VERIFICATION_RECOVERED: "a verification ({depth}) found the repository sound again",
    NoticeKind.COLLECTION_FAILED: "collecting what no backup needs failed: {reason}",
    NoticeKind.COLLECTION_RECOVERED: "collecting what no backup needs works again",
    NoticeKind.REPOSITORY_UNAVAILABLE: "the repository cannot be read: {reason}",
    NoticeKind.REPOSITORY_RECOVERED: "the repository can be read again",
    NoticeKind.TEST: "a test: recipient {recipient} is told",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that operators are told."""

    id: str  # the same at every try, for every recipient
    number: int  # grows in the order in which things became true
    kind: NoticeKind
    at: datetime  # when it became true: aware, UTC
    project_id: ProjectId  # "": of the whole service
    facts: Mapping[str, object] = field(hash=False)

    @property
    def summary(self) -> str:
        """One line for people, without any control character."""
        text = _SUMMARIES[self.kind].format(**self.facts)
        return "".join(c if c.isprintable() else " " for c in text)


# ------------------------------------------------------------------ what is said


class Matter(StrEnum):
    """What goes well or does not."""

    BACKUP = "backup"  # of a server
    RESTORE = "restore"
    DELETION = "deletion"
    POLICY = "policy"
    VERIFICATION = "verification"
    COLLECTION = "collection"
    REPOSITORY = "repository"


class Outcome(StrEnum):
    GOOD = "good"
    FAILED = "failed"
    MISSED = "missed"  # it was not even begun


@dataclass(frozen=True, slots=True)
class Rule:
    """Which news of a matter is said."""

    bad: Mapping[Outcome, NoticeKind]
    good: NoticeKind | None = None
    each: bool = False  # each success is said, not only the first one after something bad that was said
    patience: int = 1  # how many bad ones in a row it takes
    repeats: bool = True  # whether those that follow are said, too

    @property
    def remembers(self) -> bool:
        """Whether it matters what was before."""
        return self.good is not None and not self.each


RULES: Mapping[Matter, Rule] = {
    Matter.BACKUP: Rule(
        {Outcome.FAILED: NoticeKind.BACKUP_FAILED, Outcome.MISSED: NoticeKind.BACKUP_MISSED},
        NoticeKind.BACKUP_RECOVERED,
    ),
    Matter.RESTORE: Rule({Outcome.FAILED: NoticeKind.RESTORE_FAILED}, NoticeKind.RESTORE_SUCCEEDED, each=True),
    Matter.DELETION: Rule({Outcome.FAILED: NoticeKind.DELETION_FAILED}),
    Matter.POLICY: Rule({Outcome.MISSED: NoticeKind.POLICY_MISSED}),
    Matter.VERIFICATION: Rule(
        {Outcome.FAILED: NoticeKind.VERIFICATION_DAMAGED}, NoticeKind.VERIFICATION_RECOVERED
    ),
    Matter.COLLECTION: Rule({Outcome.FAILED: NoticeKind.COLLECTION_FAILED}, NoticeKind.COLLECTION_RECOVERED),
    # It is looked at each minute: a store that is away for a moment is no news, and one that stays away is one.
    Matter.REPOSITORY: Rule(
        {Outcome.FAILED: NoticeKind.REPOSITORY_UNAVAILABLE}, NoticeKind.REPOSITORY_RECOVERED, patience=3, repeats=False
    ),
}  # fmt: skip


def said(matter: Matter, outcome: Outcome, bad: int) -> tuple[NoticeKind | None, int]:
    """Return what is said of this outcome, None if nothing is, and how many bad ones in a row there are now.

    *bad*: how many there were before it.
    """
    rule = RULES[matter]
    if outcome is Outcome.GOOD:
        return (rule.good if rule.each or bad >= rule.patience else None), 0
    now = bad + 1
    news = now == rule.patience or (now > rule.patience and rule.repeats)
    return (rule.bad[outcome] if news else None), now


# ------------------------------------------------------------------ who is told, and how often it is tried


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody who is told, as the settings name them."""

    name: str
    kinds: frozenset[NoticeKind] = frozenset(NoticeKind)
    at_once: int = 1  # how many notices they take in one
    window: timedelta = timedelta(0)  # how long a notice waits for others to come along with it


def kinds_of(patterns: Iterable[str]) -> frozenset[NoticeKind]:
    """Return the kinds that patterns such as `backup.*` name.  Raises InvalidRequest: one names none."""
    found: set[NoticeKind] = set()
    for pattern in patterns:
        named = {kind for kind in NoticeKind if fnmatchcase(kind.value, pattern)}
        if not named:
            raise InvalidRequest(f"{pattern[:64]!r} is none of {', '.join(NoticeKind)}, nor a pattern of some")
        found |= named
    return frozenset(found)


class Hearing(StrEnum):
    """What the one who was to be told made of it."""

    TAKEN = "taken"
    LATER = "later"  # no answer, or one that says: try again
    REFUSED = "refused"  # they do not want it so: trying again changes that only if somebody changes them


@dataclass(frozen=True, slots=True)
class Answer:
    """How a try ended."""

    hearing: Hearing
    said: str  # for people: status, or why there was no answer; holds no secret
    wait: timedelta | None = None  # how long they asked us to wait


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notice on its way to a recipient."""

    id: str
    notice: Notice
    recipient: str
    state: DeliveryState
    created_at: datetime
    updated_at: datetime
    tries: int = 0  # with the one that is under way
    next_at: datetime | None = None  # of the next try; None: there is none
    answer: str = ""  # of the last try


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a try, for whoever counts."""

    recipient: str
    notices: int
    hearing: Hearing
    dead: int = 0  # of them, given up now


_SECOND, _MINUTE, _HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
_PAUSES = (5 * _SECOND, 30 * _SECOND, 2 * _MINUTE, 10 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR)
_REFUSALS = 3  # tries: whoever repairs a receiver within half a minute loses nothing
_SPREAD = 0.2  # share by which a pause is longer or shorter, so that many do not come at one moment
LONGEST_PAUSE = _PAUSES[-1] * (1 + _SPREAD)


def pause(claim: str, tries: int, answer: Answer, give_up: timedelta) -> timedelta | None:
    """Return how long to wait before the next try of a delivery, None to give it up.

    What was tried under one claim is tried again at one moment, as long as it was tried as often.
    It is bounded by the number of tries whose pauses fit into *give_up*, not by a clock, which can be set.
    """
    pauses = [_PAUSES[min(at, len(_PAUSES) - 1)] for at in range(tries)]
    if (answer.hearing is Hearing.REFUSED and tries >= _REFUSALS) or sum(pauses, timedelta(0)) > give_up:
        return None
    digest = hashlib.sha256(f"{claim} {tries}".encode()).digest()
    share = 1 - _SPREAD + 2 * _SPREAD * int.from_bytes(digest[:4], "big") / 2**32
    return min(LONGEST_PAUSE, max(pauses[-1] * share, answer.wait or timedelta(0)))


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Conditions on deliveries, joined by AND; None means any."""

    state: str | None = None
    recipient: str | None = None
