"""What Alembic runs to migrate: inside the transaction that `Database.migrate` has already opened."""

from alembic import context

from openhearth.store.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
