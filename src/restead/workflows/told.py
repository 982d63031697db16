"""What a service copy tells of backups: what they are called now, and what nothing beside their bytes says."""

from collections.abc import Mapping, Sequence
from typing import Any

from restead.domain.backup import Backup, Checkpoint, VolumeBackup
from restead.domain.errors import Damaged
from restead.domain.ids import RunId, canonical_id
from restead.domain.server import Server
from restead.domain.states import BackupState
from restead.domain.wording import count_of
from restead.records import Transaction, stock
from restead.records.encoding import build, known, plain
from restead.repository import Manifest, Repository
from restead.workflows.service_copy import newest_copy
from restead.workflows.stock import server_of

_Kept = Mapping[str, Any]


class Told:
    """The backups and checkpoints of one copy."""

    def __init__(self, backups: Mapping[tuple[str, str], _Kept], checkpoints: Mapping[str, _Kept]) -> None:
        self._backups = backups  # by project and the run that made them
        self._checkpoints = checkpoints

    @classmethod
    def of(cls, repository: Repository) -> "Told":
        """Return what the newest copy tells; nothing if there is none that can be read."""
        try:
            found = newest_copy(repository)
            parts = found.copy.parts if found else {}
            backups = {(each["project_id"], each["run_id"]): each for each in parts.get("backups", ())}
            return cls(backups, {each["id"]: each for each in parts.get("checkpoints", ())})
        except (Damaged, KeyError, TypeError):  # whoever takes the copy over says so
            return cls({}, {})

    def rows(
        self, tx: Transaction, run_id: RunId, manifests: Sequence[Manifest]
    ) -> tuple[Checkpoint, Backup] | None:
        """Return the rows that the copy and a session's manifests make.

        None if the copy does not tell of them, or of other disks, or other rows have their ids.

        Raises:
            Damaged: what stands beside the bytes cannot be read.
        """
        kept = self._backups.get((manifests[0].project, run_id))
        if kept is None:
            return None
        server = server_of(manifests)
        try:
            backup = _backup(tx, kept, server, {canonical_id(manifest.label): manifest for manifest in manifests})
            checkpoint = self._checkpoint(tx, backup)
        except (KeyError, TypeError, ValueError, Damaged):
            return None  # of a shape that this release does not know: what stands beside the bytes is enough
        return (checkpoint, backup) if stock.is_free(tx, backup) else None

    def _checkpoint(self, tx: Transaction, backup: Backup) -> Checkpoint:
        kept = {**self._checkpoints[backup.checkpoint_id], "updated_at": plain(tx.now), "state": backup.state.value}
        return build(Checkpoint, known(Checkpoint, kept))


def _backup(tx: Transaction, kept: _Kept, server: Server, manifests: Mapping[str, Manifest]) -> Backup:
    now, good = plain(tx.now), BackupState.AVAILABLE.value
    volumes = [
        known(VolumeBackup, {**volume, "state": good, "manifest": manifests[canonical_id(volume["volume_id"])].id})
        for volume in kept["volumes"]
    ]
    if len(volumes) != len(manifests):
        raise ValueError(f"the copy tells of {count_of(len(volumes), 'disk')}, there are {len(manifests)}")
    made = {
        **known(Backup, kept), "server": plain(server), "state": good, "updated_at": now, "progress": 100,
        "volumes": volumes,
    }  # fmt: skip
    if kept.get("safety_of"):
        made["created_at"] = now  # its time begins anew: nobody may have had the records
    return build(Backup, made)
