"""The audit trail: who asked for what, when, and what came of it; each entry is chained to the one before."""

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

FIRST = "0" * 64
"""What the first entry is chained to."""


class Phase(StrEnum):
    ASKED = "asked"  # before anything was done
    ANSWERED = "answered"  # what the one who asked was told
    ENDED = "ended"  # what a backup, restore or deletion came to


@dataclass(frozen=True, slots=True)
class Said:
    """What an entry tells."""

    phase: Phase
    action: str  # csbs:backups:create; `restead token create` of the command line; backup, restore, delete
    subject: str  # the path, the command's parameters, or the id
    user: str = ""
    project_id: str = ""
    address: str = ""  # where the call came from
    request_id: str = ""  # the same in all entries of one call
    outcome: str = ""

    def answered(self, outcome: str) -> "Said":
        """Return what is told when the one who asked this has been told *outcome*."""
        return replace(self, phase=Phase.ANSWERED, outcome=outcome)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry as it stands in the trail."""

    number: int  # from 1 on, without gaps
    at: datetime  # aware, UTC
    said: Said
    digest: str  # 64 hexadecimal digits

    def follows(self, number: int, digest: str) -> bool:
        """Tell if this is the entry after the one of that number and digest, as it was written."""
        return self.number == number + 1 and self.digest == digest_of(self.number, self.at, self.said, digest)


def digest_of(number: int, at: datetime, said: Said, before: str) -> str:
    """Return the SHA-256 of an entry and the digest *before* it: JSON, in this order, as ASCII without spaces."""
    parts = [before, number, at.isoformat(timespec="microseconds"), said.phase.value, said.action, said.subject,
             said.user, said.project_id, said.address, said.request_id, said.outcome]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()
