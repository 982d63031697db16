"""What stands in which project's backups, so that a search over all projects asks only those where it may find some.

A trait is a zone, an address, or three letters in a row of a name: no order of an index finds a part of a name, but a
project in whose names three of its letters never follow each other has none.  Traits are noted in the transaction that
writes the rows and stay when those go, so a project may be asked in vain, and is never passed over.
"""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from restead.domain.backup import Backup
from restead.domain.ids import ProjectId
from restead.domain.listing import BackupFilter
from restead.domain.states import BackupState
from restead.records import counts
from restead.records.database import Transaction
from restead.records.tables import backup_traits as traits
from restead.records.tables import backups

_TOGETHER = 3  # letters
_ASKED = 16  # of the traits of one search: more of them tell little more
_FEW = 8  # projects: more are gone through in the order that is wanted, until the page is full
_IN_PARTS = {"yield_per": 5000}  # rows


def note(tx: Transaction, backup: Backup, before: Backup | None = None) -> None:
    """Note where a backup stands, now that it is as it is; *before*: as it was noted last."""
    new = _of(backup) - (_of(before) if before else set())
    if not new:
        return
    there = sa.select(traits.c.trait).where(traits.c.project_id == backup.project_id, traits.c.trait.in_(new))
    rows = [
        {"project_id": backup.project_id, "trait": each} for each in sorted(new - set(tx.connection.scalars(there)))
    ]
    if rows:
        tx.connection.execute(traits.insert(), rows)


def narrowed(tx: Transaction, wanted: BackupFilter) -> Sequence[sa.ColumnElement[bool]]:
    """Return the condition, if any, that leaves out projects which have nothing of what is wanted."""
    found: set[str] | None = None
    asked = sorted(_of_filter(wanted))[:_ASKED]
    if asked:
        query = sa.select(traits.c.project_id).where(traits.c.trait.in_(asked)).group_by(traits.c.project_id)
        found = set(tx.connection.scalars(query.having(sa.func.count() == len(asked))))
    if wanted.status is not None:
        of_state: set[str] = set(counts.projects(tx, wanted.status))
        found = of_state if found is None else found & of_state
    if found is None or len(found) > _FEW:
        return ()
    return (backups.c.project_id.in_(sorted(found)),) if found else (sa.false(),)


def missing(tx: Transaction) -> Iterator[tuple[ProjectId, str]]:
    """Yield project and trait of backups which searches over all projects would not find."""
    query = sa.select(traits.c.project_id, traits.c.trait)
    known = {tuple(row) for row in tx.connection.execute(query, execution_options=_IN_PARTS)}
    for project_id, trait in _of_rows(tx):
        if (project_id, trait) not in known:
            known.add((project_id, trait))
            yield project_id, trait


def _of_rows(tx: Transaction) -> Iterator[tuple[ProjectId, str]]:
    """Yield project and trait of every backup that is not deleted, again and again."""
    columns = backups.c
    query = sa.select(
        columns.project_id, columns.name_folded, columns.server_name_folded, columns.zone,
        columns.private_address, columns.public_address,
    ).where(columns.state != BackupState.DELETED).distinct()  # fmt: skip
    for project_id, name, server, zone, *addresses in tx.connection.execute(query, execution_options=_IN_PARTS):
        for trait in _traits(name, server, zone, *addresses):
            yield ProjectId(project_id), trait


def _of(backup: Backup) -> set[str]:
    server = backup.server
    return set(
        _traits(backup.name.casefold(), server.name.casefold(), server.zone, server.private_address,
                server.public_address)
    )  # fmt: skip


def _of_filter(wanted: BackupFilter) -> set[str]:
    name, server = (wanted.name or "").casefold(), (wanted.resource_name or "").casefold()
    return set(_traits(name, server, wanted.zone, wanted.address))


def _traits(name: str, server: str, zone: str | None, *addresses: str | None) -> Iterator[str]:
    """None stands nowhere; "" does, as a zone or an address."""
    for of, text in (("name", name), ("server", server)):
        yield from (f"{of} {text[at : at + _TOGETHER]}" for at in range(len(text) - _TOGETHER + 1))
    for of, whole in (("zone", zone), *(("address", each) for each in addresses)):
        if whole is not None:
            yield f"{of} {whole}"
