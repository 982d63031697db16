"""Run by Alembic inside the transaction that `Records.migrate` has begun."""

from alembic import context

from restead.records.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
