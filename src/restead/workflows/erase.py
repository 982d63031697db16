"""Erasing a project: its keys in the repository, what its rows say, and what copies of them tell.

The rows come before the copies that are made of them, and both before the old versions of the keyring: as long as
those are there, a crash has left something to be finished, and finishing does all of it again.
"""

from dataclasses import replace

from restead.domain.backup import Backup, Failure
from restead.domain.errors import Code, InvalidRequest, NotFound
from restead.domain.ids import BackupId, ProjectId
from restead.domain.key import Erased
from restead.domain.states import BackupState, Event
from restead.records import Records, backups, runs
from restead.repository import Repository
from restead.workflows.service_copy import forget_project
from restead.workflows.stock import take_stock


def erase(records: Records, repository: Repository, project: ProjectId) -> Erased:
    """Destroy the keys of *project*; its backups are in error then, and say why.  After a crash: finish that.

    Only while no service runs on the records.

    Raises:
        NotFound: there is no such project in the repository.
        InvalidRequest: one of its backups is held, or a run of the project has not ended.
    """
    with records.read() as tx:
        unfinished = runs.under_way(tx, project)
    if unfinished:
        raise InvalidRequest(
            f"{len(unfinished)} runs of project {project} have not ended: let a service bring them to their end first"
        )
    forgetting = _Forgetting(records, repository)
    versions = repository.erasing.erase(project, forgetting)
    forgetting.rows(project)  # also of a project whose keys were lost before: nothing was left to be finished
    return Erased(forgetting.backups, versions)


def finish(records: Records, repository: Repository) -> int:
    """Do what erasures and removed keys have left to be done; return how many old versions of the keyring went."""
    return repository.erasing.finish(_Forgetting(records, repository))


class _Forgetting:
    """What is to be done for a project whose keys are destroyed, besides what the repository does.  Repeatable."""

    def __init__(self, records: Records, repository: Repository) -> None:
        self._records = records
        self._repository = repository
        self.backups = 0  # that are in error now

    def __call__(self, project: ProjectId) -> None:
        self.rows(project)
        forget_project(self._records, self._repository, project)

    def rows(self, project: ProjectId) -> None:
        """Let backups of the project that the repository does not hold be in error."""
        found = take_stock(self._records, self._repository).lost
        for id in sorted({each.backup_id for each in found if each.project_id == project}):
            self.backups += _say(self._records, id, project)


def _say(records: Records, id: BackupId, project: ProjectId) -> bool:
    """Let that backup be in error, and return True; False if it is not available any more: a service may run."""
    with records.begin() as tx:
        try:
            if backups.backup(tx, project, id).state is not BackupState.AVAILABLE:
                return False
        except NotFound:  # deleted
            return False
        reason = f"project {project} was erased on {tx.now:%Y-%m-%d}: its keys are destroyed"

        def change(backup: Backup) -> Backup:
            gone = tuple(replace(each, manifest=None) for each in backup.volumes)
            failure = Failure(Code.INTERNAL, reason)
            return replace(backup, volumes=gone, failed_operation="backup", failure=failure)

        backups.move(tx, id, Event.LOST, change)
        return True
