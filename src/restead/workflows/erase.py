"""Erasing a project: its keys in the repository, then what its rows say.

A crash before the rows leaves backups that the lists call available and the repository does not hold: the service
says so at its start, and `restead repository adopt` does what is left to do here.
"""

from dataclasses import replace
from functools import partial

from restead.domain.backup import Backup, Failure
from restead.domain.errors import Code, InvalidRequest
from restead.domain.ids import BackupId, ProjectId
from restead.domain.key import Erased
from restead.domain.states import Event
from restead.records import Records, backups, runs
from restead.repository import Repository
from restead.workflows.service_copy import forget_project
from restead.workflows.stock import take_stock


def erase(records: Records, repository: Repository, project: ProjectId) -> Erased:
    """Destroy the keys of *project*; its backups are in error then, and say why.

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
    versions = repository.erasing.erase(project, partial(forget_project, repository))
    lost = {each.backup_id for each in take_stock(records, repository).lost if each.project_id == project}
    for id in sorted(lost):
        _say(records, id, project)
    return Erased(len(lost), versions)


def finish(repository: Repository) -> int:
    """Do what erasures and removed keys have left to be done; return how many old versions of the keyring went."""
    return repository.erasing.finish(partial(forget_project, repository))


def _say(records: Records, id: BackupId, project: ProjectId) -> None:
    with records.begin() as tx:
        reason = f"project {project} was erased on {tx.now:%Y-%m-%d}: its keys are destroyed"

        def change(backup: Backup) -> Backup:
            gone = tuple(replace(each, manifest=None) for each in backup.volumes)
            failure = Failure(Code.INTERNAL, reason)
            return replace(backup, volumes=gone, failed_operation="backup", failure=failure)

        backups.move(tx, id, Event.LOST, change)
