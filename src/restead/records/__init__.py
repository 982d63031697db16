"""Rows: what the service knows and has promised.  The only SQL in the project.

`Records` opens the database and gives transactions; each noun has a module of functions that take a
transaction and take or return domain dataclasses:

    with records.begin() as tx:
        restores.add(tx, restore, plan)
        runs.enqueue(tx, restore.run_id, RunKind.RESTORE, restore.id, restore.project_id)

The bytes are not here.  Losing the records loses states, stories and tokens; rows of the backups can be made anew
from the repository (`stock.py`).
"""

from restead.records.database import Records, RecordsUnavailable, Transaction, utc_now
from restead.records.runs import LeaseLost, RunLimits
from restead.records.tokens import TOKEN_PREFIX, Tokens

__all__ = [
    "TOKEN_PREFIX",
    "LeaseLost",
    "Records",
    "RecordsUnavailable",
    "RunLimits",
    "Tokens",
    "Transaction",
    "utc_now",
]
