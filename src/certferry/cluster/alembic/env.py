"""What Alembic runs: the migrations, in the transaction of whoever asked for them (``certferry.cluster.upgrading``)."""

from alembic import context

from certferry.cluster import schema

context.configure(connection=context.config.attributes["connection"], target_metadata=schema.metadata)
with context.begin_transaction():
    context.run_migrations()
