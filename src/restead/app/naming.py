"""Which backup somebody means: by the lists, or by what stands beside its bytes where no list has it."""

from collections.abc import Sequence

from restead.app.opening import Opened
from restead.domain.errors import Damaged, InvalidRequest, NotFound
from restead.domain.ids import ProjectId, RunId
from restead.records import stock
from restead.repository import Disks, Repository

Called = tuple[str, str]  # id and name of a backup


def sessions_called(opened: Opened, source: Repository, project: ProjectId | None, texts: Sequence[str]) -> set[int]:
    """Return the sessions whose manifests these backups are."""
    found: dict[str, dict[int, Called]] = {text: {} for text in texts}
    backups: dict[int, Disks] = {}
    for entry in source.log.refresh().manifests.values():
        if project in (None, entry.project):
            backups[entry.session] = [*backups.get(entry.session, ()), entry]
    for session, disks in backups.items():
        called = called_so(opened, source, disks)
        for text in texts:
            if text and text in called:
                found[text][session] = called
    for text, those in found.items():
        if not those:
            raise NotFound(f"there is no backup {text} in the repository")
        if len(those) > 1:
            ids = ", ".join(id for id, _ in those.values())
            raise InvalidRequest(f"{len(those)} backups are called {text}, say which: {ids}")
    return {session for those in found.values() for session in those}


def called_so(opened: Opened, source: Repository, disks: Disks) -> Called:
    """Return id and name of a backup: as the lists have them, else as they stand beside its bytes."""
    with opened.records.read() as tx:
        rows = stock.of_run(tx, disks[0].project, RunId(disks[0].session_label))
    for row in rows:
        return row.id, row.name
    ((_, manifest),) = source.described(disks[:1])
    kept = {} if isinstance(manifest, Damaged) else manifest.description.server.get("backup")
    return (str(kept.get("id", "")), str(kept.get("name", ""))) if isinstance(kept, dict) else ("", "")
