"""Rows of the audit trail.  They are only ever added: no function here changes or removes one."""

from collections.abc import Iterator

import sqlalchemy as sa

from restead.domain.audit import FIRST, AuditEntry, Phase, Said, digest_of
from restead.domain.errors import Damaged
from restead.records.database import Records, Transaction
from restead.records.tables import audit

_PAGE = 1000  # entries read at a time
_LONGEST = 2000  # characters of what somebody else chose
_COLUMNS = ("action", "subject", "user", "project_id", "address", "request_id", "outcome")


def append(tx: Transaction, said: Said) -> AuditEntry:
    """Add an entry to the end of the chain.  The transaction holds the write lock, so the end stays the end."""
    last = tx.connection.execute(sa.select(audit).order_by(audit.c.number.desc()).limit(1)).one_or_none()
    number, before = (1, FIRST) if last is None else (last.number + 1, last.digest)
    values = {name: _kept(getattr(said, name)) for name in _COLUMNS}
    said = Said(said.phase, **values)
    entry = AuditEntry(number, tx.now, said, digest_of(number, tx.now, said, before))
    row = {"number": number, "at": tx.now, "phase": said.phase.value, **values, "digest": entry.digest}
    tx.connection.execute(audit.insert().values(**row))
    return entry


def _kept(text: str) -> str:
    """Return what a database can keep and a line can show: control characters and the like are written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:_LONGEST])


def entries(records: Records, after: int = 0) -> Iterator[AuditEntry]:
    """Yield all entries behind that number, oldest first, in bounded memory."""
    while True:
        query = sa.select(audit).where(audit.c.number > after).order_by(audit.c.number).limit(_PAGE)
        with records.read() as tx:
            found = [_entry(row) for row in tx.connection.execute(query)]
        yield from found
        if len(found) < _PAGE:
            return
        after = found[-1].number


def check(records: Records, known: tuple[int, str] | None = None) -> tuple[int, str]:
    """Follow the chain from its beginning; return number and digest of its end.

    *known*: number and digest of an entry, as an earlier check returned them and somebody kept them elsewhere.

    Raises:
        Damaged: an entry was changed, removed or put in between, or the chain does not hold the known one.
    """
    number, digest = 0, FIRST
    seen = known is None or known == (0, FIRST)
    for entry in entries(records):
        if not entry.follows(number, digest):
            raise Damaged(f"entry {entry.number} of the audit trail does not follow entry {number} as it was written")
        number, digest = entry.number, entry.digest
        if known is not None and number == known[0]:
            if digest != known[1]:
                raise Damaged(f"entry {number} of the audit trail has digest {digest}, and had {known[1]}")
            seen = True
    if not seen and known is not None:
        raise Damaged(f"the audit trail ends with entry {number}, and had an entry {known[0]}")
    return number, digest


def _entry(row: "sa.Row[tuple[object, ...]]") -> AuditEntry:
    said = Said(Phase(row.phase), **{name: getattr(row, name) for name in _COLUMNS})
    return AuditEntry(row.number, row.at, said, row.digest)
