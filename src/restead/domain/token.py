"""A token: what lets a program act in a project.  Its secret is known only to whoever it was made for."""

import re
from dataclasses import dataclass, field
from datetime import datetime

from restead.domain.errors import InvalidRequest
from restead.domain.ids import ProjectId

# CSBS, section 1.1: "Free text of 1-64 characters [A-Za-z0-9_-]"
_PROJECT = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it may be shown: everything but the secret."""

    id: str
    project_id: ProjectId
    role: str
    user: str
    created_at: datetime
    expires_at: datetime | None  # None: never
    revoked_at: datetime | None
    ending: str  # the last four characters of the secret


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made, with the secret that is shown this one time."""

    token: Token
    secret: str = field(repr=False)


def check_project(text: str) -> ProjectId:
    """Return *text* as a project's id.  Raises InvalidRequest if no project can be called so."""
    if not _PROJECT.fullmatch(text):
        raise InvalidRequest(f"project {text[:80]!r}: a project is 1-64 characters of A-Z a-z 0-9 _ -")
    return ProjectId(text)
