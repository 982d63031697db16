"""Everything that can go wrong in a way somebody can act on.

    ResteadError(message, *, code, detail)   message is safe to show; detail is for the log
    ├── InvalidRequest      the caller can fix it            400
    ├── Unauthenticated     who are you?                     401
    ├── Forbidden           not yours to do                  403
    ├── NotFound            absent, or not visible           404
    ├── Unavailable         try again later                  503   the only retryable one
    └── Damaged             bytes are not what we stored     500   never retried, never ignored

Anything else that is raised is a bug.  A class is added only where code of ours acts differently; what
programs tell apart is the code.
"""

from collections.abc import Sequence
from enum import Enum


class Code(Enum):
    """Published error codes, each raised somewhere; meanings are fixed by the CSBS contract, section 15."""

    TOO_MANY_POLICIES = "CSBS.0001"
    MANUAL_RUN_UNDER_WAY = "CSBS.1001"
    IN_PROGRESS = "CSBS.2003"
    POLICY_NOT_FOUND = "CSBS.3000"
    BACKUP_NOT_FOUND = "CSBS.3001"
    NOT_RESTORABLE = "CSBS.4000"
    SERVER_NOT_FOUND = "CSBS.6000"
    SERVER_BEING_DESTROYED = "CSBS.6001"
    TYPE_NOT_PROTECTABLE = "CSBS.6003"
    SERVER_BOUND_ELSEWHERE = "CSBS.6004"
    SERVER_STATE_FORBIDS_BACKUP = "CSBS.6005"
    SERVER_KIND_NOT_PROTECTABLE = "CSBS.6006"
    NO_DISK_TO_BACK_UP = "CSBS.6007"
    SHARED_DISK = "CSBS.6010"
    TYPE_NOT_RESTORABLE = "CSBS.6013"
    VOLUME_NOT_ATTACHED = "CSBS.6014"
    SERVER_STATE_FORBIDS_RESTORE = "CSBS.6015"
    SERVER_KIND_NOT_RESTORABLE = "CSBS.6016"
    VOLUME_BACKUP_NOT_IN_BACKUP = "CSBS.6017"
    VOLUME_BACKUP_NOT_MAPPED = "CSBS.6018"
    DIFFERENT_KINDS = "CSBS.6019"
    SERVER_WITHOUT_DISK = "CSBS.6020"
    TARGET_SHAREABLE = "CSBS.6021"
    DATA_TO_SYSTEM_DISK = "CSBS.6023"
    TARGET_TOO_SMALL = "CSBS.6024"
    ZONES_DO_NOT_MATCH = "CSBS.6025"
    SCHEDULED_RUN_UNDER_WAY = "CSBS.6030"
    POLICY_WITHOUT_SERVER = "CSBS.6032"
    TASK_NOT_FOUND = "CSBS.6040"
    TOO_MANY_TAGS = "CSBS.7000"
    TAG_NOT_FOUND = "CSBS.7001"
    WRONG_PARAMETER = "CSBS.9001"
    QUOTA_EXCEEDED = "CSBS.9006"
    POLICY_NAME_IN_USE = "CSBS.9007"
    UNAVAILABLE = "CSBS.9998"
    INTERNAL = "CSBS.9999"
    UNAUTHENTICATED = "CSBS.9401"
    FORBIDDEN = "CSBS.9403"
    NO_SUCH_PATH = "CSBS.9404"
    METHOD_NOT_ALLOWED = "CSBS.9405"
    BODY_TOO_LARGE = "CSBS.9413"

    @property
    def digits(self) -> str:
        """The numeric part as text, the form of `fail_code.Code`: "6024"."""
        return self.value.rpartition(".")[2]


class ResteadError(Exception):
    """Base of all errors with a message that is safe to show; *detail* goes to the log only."""

    code = Code.INTERNAL
    retryable = False

    def __init__(self, message: str, *, code: Code | None = None, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        if code is not None:
            self.code = code


class InvalidRequest(ResteadError):
    """The caller asked for something that cannot be; nothing was changed."""

    code = Code.WRONG_PARAMETER


class Unauthenticated(ResteadError):
    """No token, or one that is unknown, expired or revoked."""

    code = Code.UNAUTHENTICATED


class Forbidden(ResteadError):
    """The caller is known and may not do this."""

    code = Code.FORBIDDEN


class NotFound(ResteadError):
    """The thing does not exist, or the caller may not know that it does."""

    code = Code.NO_SUCH_PATH


class Unavailable(ResteadError):
    """Something outside did not answer or cannot serve now; the same call may succeed later."""

    code = Code.UNAVAILABLE
    retryable = True


class Damaged(ResteadError):
    """Stored bytes are not the bytes that were stored.

    *ranges*: (offset, length) in bytes of the disk that need what is damaged; empty where unknown.
    """

    def __init__(self, message: str, *, ranges: Sequence[tuple[int, int]] = (), detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.ranges = tuple(ranges)
