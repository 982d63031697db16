"""Names of things, each its own type, so that `restore(server_id)` fails in the type checker.

All are text.  Those the service makes are lower-case UUIDs; those of servers and volumes come from the
cloud and are kept as it wrote them (compare them with `same_id`).
"""

import uuid
from typing import NewType

ProjectId = NewType("ProjectId", str)
ServerId = NewType("ServerId", str)
VolumeId = NewType("VolumeId", str)
CheckpointId = NewType("CheckpointId", str)
BackupId = NewType("BackupId", str)
VolumeBackupId = NewType("VolumeBackupId", str)
RestoreId = NewType("RestoreId", str)
RunId = NewType("RunId", str)
ManifestId = NewType("ManifestId", str)  # "<number of its commit in the log>.<ordinal>", e.g. "17.0"


def new_id() -> str:
    """Return a fresh lower-case UUID in the 8-4-4-4-12 form."""
    return str(uuid.uuid4())


def same_id(one: str, other: str) -> bool:
    """Tell whether two ids name the same thing: equal text, or equal UUIDs whatever their case.

    Source: CSBS, addresses: "compared as text, without regard to case when both sides are UUIDs".
    """
    return one == other or canonical_id(one) == canonical_id(other)


def canonical_id(text: str) -> str:
    """Return a UUID in lower case and any other text as it is: equal results mean the same thing."""
    lowered = text.lower()
    try:
        return lowered if str(uuid.UUID(lowered)) == lowered else text
    except ValueError:
        return text
