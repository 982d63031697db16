"""What could be done, found out without doing it (CSBS, section 6)."""

from collections.abc import Callable
from dataclasses import dataclass

from restead.domain.errors import Code, InvalidRequest, NotFound


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether the real call would be accepted; if not, the code and message it would fail with."""

    resource_id: str
    resource_type: str
    code: Code | None = None  # None: it would be accepted
    message: str = ""


def find(resource_id: str, resource_type: str, check: Callable[[], object]) -> Finding:
    """Return what *check* finds.  Only refusals become findings: what cannot be reached is still raised."""
    try:
        check()
    except (InvalidRequest, NotFound) as error:
        return Finding(resource_id, resource_type, error.code, error.message)
    return Finding(resource_id, resource_type)
