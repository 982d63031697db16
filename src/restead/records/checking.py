"""Whether the records are whole: what the database says of itself, and what the rows say of each other."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import sqlalchemy as sa

from restead.domain.errors import Damaged, InvalidRequest
from restead.domain.run import RunKind, RunState
from restead.domain.states import BackupState, RestoreState, checkpoint_state
from restead.records import counts, postgres, traits
from restead.records.backup_rows import backups_of
from restead.records.checkpoints import checkpoint_of
from restead.records.database import Records, Transaction
from restead.records.restores import restores_of
from restead.records.tables import backups, checkpoints, metadata, restores, runs

_IN_PARTS = {"yield_per": 500}  # rows
_SHOWN = 20  # findings of one kind


def findings(records: Records) -> Iterator[str]:
    """Yield what is wrong, for people; nothing if all is well.  Shows one moment, also while a service works."""
    with records.read() as tx:
        yield from _on_server(tx) if records.on_server else _in_file(tx)
        wrong_shape = list(_shape(tx))
        yield from wrong_shape
        if not wrong_shape:
            unreadable = list(islice(_unreadable(tx), _SHOWN))
            yield from unreadable
            if not unreadable:
                yield from _unsettled(tx)
                yield from islice(_miscounted(tx), _SHOWN)
                yield from islice(_passed_over(tx), _SHOWN)
            yield from _broken_promises(tx)


def _in_file(tx: Transaction) -> Iterator[str]:
    for (text,) in tx.connection.exec_driver_sql(f"PRAGMA integrity_check({_SHOWN})"):
        if text != "ok":
            yield f"SQLite: {text}"
    for row in tx.connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(_SHOWN):
        yield f"table {row[0]}: row {row[1]} belongs to a row of {row[2]} that is not there"


def _on_server(tx: Transaction) -> Iterator[str]:
    try:
        postgres.check_database(tx.connection)
    except InvalidRequest as error:
        yield error.message
    invalid = sa.text("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
    for (name,) in tx.connection.execute(invalid):
        yield f"index {name} is not valid; REINDEX INDEX {name} makes it anew"


def _shape(tx: Transaction) -> Iterator[str]:
    from alembic.autogenerate import compare_metadata  # these take long to import, and few commands look at this
    from alembic.runtime.migration import MigrationContext

    for difference in compare_metadata(MigrationContext.configure(tx.connection), metadata):
        yield f"the tables are not as this release makes them: {difference}"


def _unreadable(tx: Transaction) -> Iterator[str]:
    """Every row is read as the service reads it."""
    kinds: tuple[tuple[sa.Table, Callable[[Any], object]], ...] = (
        (checkpoints, checkpoint_of),
        (backups, lambda row: backups_of(tx, [row])),
        (restores, lambda row: restores_of(tx, [row])),
    )
    for table, read in kinds:
        for row in tx.connection.execute(sa.select(table), execution_options=_IN_PARTS):
            try:
                read(row)
            except (Damaged, ValueError, TypeError) as error:
                yield f"table {table.name}: row {row.id} cannot be read: {error}"


def _broken_promises(tx: Transaction) -> Iterator[str]:
    """What is under way has a run that has not ended, or it would be under way for ever."""
    for table, states, run in (
        (restores, (RestoreState.IN_PROGRESS,), runs.c.id == restores.c.run_id),
        (backups, (BackupState.PROTECTING,), runs.c.id == backups.c.run_id),
        (backups, (BackupState.DELETING,), sa.and_(runs.c.kind == RunKind.DELETE, runs.c.subject == backups.c.id)),
    ):
        going = sa.exists().where(run, runs.c.state != RunState.DONE)
        query = sa.select(table.c.id, table.c.state).where(table.c.state.in_(states), ~going).limit(_SHOWN)
        for row in tx.connection.execute(query):
            yield f"table {table.name}: {row.id} is {row.state}, and no run of it is left"
    restoring = sa.exists().where(restores.c.backup_id == backups.c.id, restores.c.state == RestoreState.IN_PROGRESS)
    query = sa.select(backups.c.id).where(backups.c.state == BackupState.RESTORING, ~restoring).limit(_SHOWN)
    for row in tx.connection.execute(query):
        yield f"table backups: {row.id} is {BackupState.RESTORING}, and no restore of it is under way"


def _unsettled(tx: Transaction) -> Iterator[str]:
    """A checkpoint's state follows from its backups' states."""
    joined = checkpoints.outerjoin(backups, backups.c.checkpoint_id == checkpoints.c.id)
    query = sa.select(checkpoints.c.id, checkpoints.c.state, backups.c.state).select_from(joined)
    query = query.order_by(checkpoints.c.id)
    last, stands, states = "", "", list[BackupState]()
    for id, state, of_backup in tx.connection.execute(query, execution_options=_IN_PARTS):
        if id != last:
            yield from _compare(last, stands, states)
            last, stands, states = id, state, []
        states += [BackupState(of_backup)] if of_backup else []
    yield from _compare(last, stands, states)


def _miscounted(tx: Transaction) -> Iterator[str]:
    for project, state, kept, there in counts.wrong(tx):
        yield f"table backup_counts: project {project} has {kept} backups that are {state}, its rows make it {there}"


def _passed_over(tx: Transaction) -> Iterator[str]:
    for project, trait in traits.missing(tx):
        yield f"table backup_traits: {trait!r} of project {project} is missing, by which its backups are found"


def _compare(id: str, stands: str, states: list[BackupState]) -> Iterator[str]:
    if states and checkpoint_state(states) != stands:
        yield f"table checkpoints: {id} is {stands}, its backups make it {checkpoint_state(states)}"
