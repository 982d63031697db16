"""How answers are written: JSON as bytes, times, sizes, and the shape of an error."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import WithJsonSchema
from starlette.responses import JSONResponse
from typing_extensions import TypedDict

from restead.domain.backup import Failure
from restead.domain.states import BackupState

KB, MB, GB = 2**10, 2**20, 2**30  # CSBS, responses: "kB, MB and GB mean 2^10, 2^20 and 2^30 bytes"

_TIME = r"^[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){2}\.[0-9]{6}$"

Time = Annotated[str, WithJsonSchema({"type": "string", "pattern": _TIME})]
Percent = Annotated[int, WithJsonSchema({"type": "integer", "minimum": 0, "maximum": 100})]
Whole = Annotated[int, WithJsonSchema({"type": "integer", "minimum": 0})]
Digits = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[0-9]+$"})]
PublishedCode = Annotated[str, WithJsonSchema({"type": "string", "pattern": r"^CSBS\.[0-9]{4}$"})]


class ErrorObject(TypedDict):
    """The error as OpenStack-style clients read it."""

    code: int
    title: str
    message: str


class ErrorBody(TypedDict):
    """Body of every answer that is no success."""

    error: ErrorObject
    error_code: PublishedCode
    error_msg: str


class FailCode(TypedDict, total=False):
    """Why something failed: empty, or both members."""

    Code: Digits
    Description: str


class Empty(TypedDict):
    """An object without members."""


class Link(TypedDict):
    """Where something is."""

    rel: str
    href: str


class Json(JSONResponse):
    """A JSON answer.  All but ASCII is escaped, so that no text a disk or a cloud is named by can break it."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def one_of(*words: str) -> WithJsonSchema:
    """Return the annotation of a text that is one of *words*."""
    return WithJsonSchema({"type": "string", "enum": list(words)})


def time(moment: datetime) -> str:
    """Return UTC with six digits and neither `Z` nor offset: 2026-03-02T10:15:30.104233."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def time_or_null(moment: datetime | None) -> str | None:
    return None if moment is None else time(moment)


def rounded(value: int, unit: int) -> int:
    """Return *value* in whole *unit*s, the nearer one."""
    return (value + unit // 2) // unit


def rounded_up(value: int, unit: int) -> int:
    return -(-value // unit)


def fail_code(failure: Failure | None) -> FailCode:
    """Return `{}`, or the code's digits as text (some clients need text, others something that parses as a number)."""
    if failure is None:
        return {}
    return {"Code": failure.code.digits, "Description": failure.message}


def status(state: BackupState) -> str:
    """Return the word for a state of a checkpoint, a backup or a volume backup."""
    # A deleted one answers 404 and is in no list: widely used clients stop when they meet that word.
    assert state is not BackupState.DELETED, "a deleted record was about to be shown"
    return state.value
