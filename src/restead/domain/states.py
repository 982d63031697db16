"""All state machines, as tables: {(state, event): next state}.  What is not in a table cannot happen.

A record leaves a state only by an event; `records` refuses every other update.  The diagrams in
docs/design.md are generated from these tables.
"""

from enum import StrEnum
from typing import TypeVar


class BackupState(StrEnum):
    """State of a backup of one server; also of a checkpoint and of a volume backup (which never restore)."""

    PROTECTING = "protecting"
    AVAILABLE = "available"
    RESTORING = "restoring"
    DELETING = "deleting"
    ERROR = "error"
    DELETED = "deleted"  # kept in the records so that its story can be told; never sent to a client


class RestoreState(StrEnum):
    IN_PROGRESS = "in_progress"
    SUCCESS = "success"
    FAIL = "fail"


class RestorePhase(StrEnum):
    """What a restore is doing.  Before WRITING no disk has changed; from STARTING on none changes any more."""

    ACCEPTED = "accepted"
    STOPPING = "stopping"
    COMPARING = "comparing"
    SAVING = "saving"  # what will be overwritten is stored and about to be committed
    WRITING = "writing"
    PROVING = "proving"
    PUTTING_BACK = "putting_back"  # durable before the first put-back, and never turned round
    STARTING = "starting"  # what became of the disks is decided and durable
    ENDED = "ended"


class VolumeOutcome(StrEnum):
    """What a restore has done to one target disk."""

    WAITING = "waiting"
    RESTORING = "restoring"
    RESTORED = "restored"
    PUT_BACK = "put_back"
    UNTOUCHED = "untouched"
    DAMAGED = "damaged"


class OperationState(StrEnum):
    """What has become of an entry of the operation log (CSBS, section 13)."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"  # it never began; the reason says why
    TIMEOUT = "timeout"  # a published word that is never sent: what takes too long here fails


class DeliveryState(StrEnum):
    """What has become of a notice for one recipient."""

    WAITING = "waiting"  # for its next try, or being tried
    SENT = "sent"
    DEAD = "dead"  # given up: somebody may have it tried again


class Event(StrEnum):
    """What moves a state."""

    PROTECTED = "protected"
    FAILED = "failed"
    RESTORE = "restore"
    RESTORED = "restored"
    DELETE = "delete"
    DELETED = "deleted"
    BEGIN = "begin"
    PUT_BACK = "put_back"
    LEFT_ALONE = "left_alone"
    STOP = "stop"
    COMPARE = "compare"
    SAVE = "save"
    WRITE = "write"
    PROVE = "prove"
    SETTLE = "settle"
    END = "end"
    LOST = "lost"  # the repository does not hold it any more: an older one was put in its place
    FOUND = "found"  # the repository holds it, after all
    DONE = "done"
    SKIP = "skip"
    GIVEN_UP = "given_up"
    RETRY = "retry"


_B, _R, _V, _E, _P, _O = BackupState, RestoreState, VolumeOutcome, Event, RestorePhase, OperationState
_D = DeliveryState

BACKUP: dict[tuple[BackupState, Event], BackupState] = {
    (_B.PROTECTING, _E.PROTECTED): _B.AVAILABLE,
    (_B.PROTECTING, _E.FAILED): _B.ERROR,
    (_B.AVAILABLE, _E.RESTORE): _B.RESTORING,
    (_B.RESTORING, _E.RESTORED): _B.AVAILABLE,
    (_B.RESTORING, _E.FAILED): _B.AVAILABLE,  # a failed restore does not harm the backup
    (_B.AVAILABLE, _E.DELETE): _B.DELETING,
    (_B.ERROR, _E.DELETE): _B.DELETING,
    (_B.DELETING, _E.DELETED): _B.DELETED,
    (_B.DELETING, _E.FAILED): _B.ERROR,
    (_B.AVAILABLE, _E.LOST): _B.ERROR,
    (_B.ERROR, _E.FOUND): _B.AVAILABLE,
}

RESTORE: dict[tuple[RestoreState, Event], RestoreState] = {
    (_R.IN_PROGRESS, _E.RESTORED): _R.SUCCESS,
    (_R.IN_PROGRESS, _E.FAILED): _R.FAIL,
}

PHASE: dict[tuple[RestorePhase, Event], RestorePhase] = {
    (_P.ACCEPTED, _E.STOP): _P.STOPPING,
    (_P.STOPPING, _E.STOP): _P.STOPPING,  # taken up again after a crash, here and below
    (_P.COMPARING, _E.STOP): _P.STOPPING,
    (_P.SAVING, _E.STOP): _P.STOPPING,
    (_P.STOPPING, _E.COMPARE): _P.COMPARING,
    (_P.COMPARING, _E.COMPARE): _P.COMPARING,  # tried again, here and below
    (_P.SAVING, _E.COMPARE): _P.COMPARING,
    (_P.COMPARING, _E.SAVE): _P.SAVING,
    (_P.COMPARING, _E.WRITE): _P.WRITING,  # nothing is to be saved
    (_P.SAVING, _E.WRITE): _P.WRITING,
    (_P.WRITING, _E.WRITE): _P.WRITING,
    (_P.PROVING, _E.WRITE): _P.WRITING,
    (_P.WRITING, _E.PROVE): _P.PROVING,
    (_P.WRITING, _E.PUT_BACK): _P.PUTTING_BACK,
    (_P.PROVING, _E.PUT_BACK): _P.PUTTING_BACK,
    (_P.PUTTING_BACK, _E.PUT_BACK): _P.PUTTING_BACK,
    (_P.ACCEPTED, _E.SETTLE): _P.STARTING,  # failed with everything untouched
    (_P.STOPPING, _E.SETTLE): _P.STARTING,
    (_P.COMPARING, _E.SETTLE): _P.STARTING,
    (_P.SAVING, _E.SETTLE): _P.STARTING,
    (_P.WRITING, _E.SETTLE): _P.STARTING,  # failed, and there is nothing to put back from
    (_P.PROVING, _E.SETTLE): _P.STARTING,
    (_P.PUTTING_BACK, _E.SETTLE): _P.STARTING,
    (_P.STARTING, _E.END): _P.ENDED,
}

VOLUME: dict[tuple[VolumeOutcome, Event], VolumeOutcome] = {
    (_V.WAITING, _E.BEGIN): _V.RESTORING,
    (_V.RESTORING, _E.BEGIN): _V.RESTORING,  # taken up again after a crash
    (_V.RESTORED, _E.BEGIN): _V.RESTORING,
    (_V.RESTORING, _E.RESTORED): _V.RESTORED,
    (_V.WAITING, _E.LEFT_ALONE): _V.UNTOUCHED,
    (_V.RESTORING, _E.FAILED): _V.DAMAGED,
    (_V.RESTORING, _E.PUT_BACK): _V.PUT_BACK,
    (_V.RESTORED, _E.PUT_BACK): _V.PUT_BACK,
}

OPERATION: dict[tuple[OperationState, Event], OperationState] = {
    (_O.WAITING, _E.BEGIN): _O.RUNNING,
    (_O.RUNNING, _E.BEGIN): _O.RUNNING,  # taken up again after a crash
    (_O.RUNNING, _E.DONE): _O.SUCCESS,
    (_O.RUNNING, _E.FAILED): _O.FAILED,
    (_O.WAITING, _E.SKIP): _O.SKIPPED,
}

DELIVERY: dict[tuple[DeliveryState, Event], DeliveryState] = {
    (_D.WAITING, _E.DONE): _D.SENT,
    (_D.WAITING, _E.RETRY): _D.WAITING,
    (_D.WAITING, _E.GIVEN_UP): _D.DEAD,
    (_D.DEAD, _E.RETRY): _D.WAITING,
}

State = TypeVar("State", bound=StrEnum)


class IllegalTransition(Exception):
    """A bug: something tried to move a state by an event that does not lead out of it."""


def after(table: dict[tuple[State, Event], State], state: State, event: Event) -> State:
    """Return the state that *event* leads to from *state*.

    Raises:
        IllegalTransition: the table has no such step.
    """
    try:
        return table[state, event]
    except KeyError:
        raise IllegalTransition(f"{type(state).__name__} {state.value}: no way out by {event.value}") from None


def checkpoint_state(backups: list[BackupState]) -> BackupState:
    """Return a checkpoint's state from those of its backups (CSBS, section 3.2)."""
    for state in (_B.DELETING, _B.PROTECTING):
        if state in backups:
            return state
    left = [state for state in backups if state is not _B.DELETED]
    if not left:
        return _B.DELETED
    good = any(state in (_B.AVAILABLE, _B.RESTORING) for state in left)
    return _B.AVAILABLE if good else _B.ERROR
