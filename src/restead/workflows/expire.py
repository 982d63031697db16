"""The story of a deletion: the manifests go from the repository's log, then the backup from the lists.

What they stored goes with the next collection, unless something else needs it.
"""

from dataclasses import replace

from restead.domain.backup import Backup, Failure
from restead.domain.ids import BackupId, ManifestId
from restead.domain.run import Told
from restead.domain.states import BackupState, Event
from restead.records import Records, Transaction, backups, utc_now
from restead.repository import Repository
from restead.workflows.holding import release_over
from restead.workflows.sessions import end_dead_sessions
from restead.workflows.story import DurableRun, Ending


class DeleteStory:
    def __init__(self, records: Records, repository: Repository) -> None:
        self._records = records
        self._repository = repository

    def tell(self, run: DurableRun) -> Ending:
        with self._records.read() as tx:
            backup = backups.backup(tx, run.project_id, BackupId(run.subject))
        run.tell(Told.REMOVING, backup.id)
        run.step("delete", lambda: self._delete(backup))
        end_dead_sessions(self._records, self._repository, run.claim.run_id)
        return lambda tx: _deleted(tx, run)

    def failed(self, run: DurableRun, failure: Failure) -> Ending:
        return lambda tx: _failed(tx, run, failure)

    def _delete(self, backup: Backup) -> list[ManifestId]:
        """Take the backup's manifests out of the log, also those that a failed run left behind.  Repeatable."""
        theirs = {volume.manifest for volume in backup.volumes}
        for session in self._repository.sessions(backup.run_id):
            theirs.update(session.manifests)
            if session.open:
                self._repository.end(session.number)
        if noted := self._repository.partial(backup.run_id):
            self._repository.delete(noted)
        # A manifest of another run under this number is another's: an older repository was put in this one's place.
        there = [
            manifest.id
            for manifest in self._repository.manifests(backup.project_id)
            if manifest.id in theirs and manifest.session_label == backup.run_id
        ]
        if there:
            # The service has said that it may go: a hold whose time is over binds nobody any more.
            release_over(self._repository, there, utc_now())
            self._repository.delete(there)
        return there


def _deleted(tx: Transaction, run: DurableRun) -> None:
    backups.move(tx, BackupId(run.subject), Event.DELETED)


def _failed(tx: Transaction, run: DurableRun, failure: Failure) -> None:
    backup = backups.backup(tx, run.project_id, BackupId(run.subject))
    if backup.state is BackupState.DELETING:
        backups.move(
            tx, backup.id, Event.FAILED, lambda row: replace(row, failed_operation="delete", failure=failure)
        )
