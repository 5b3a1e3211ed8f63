"""How Alembic runs the steps: on the connection that :mod:`gramserve.catalog.revision` hands over.

The transaction is the caller's, so that a step lands whole or not at all (SQLite's changes of
tables are transactional, whatever Alembic assumes).
"""

from alembic import context

from gramserve.catalog.revision import VERSION_TABLE
from gramserve.catalog.tables import metadata

if hasattr(context, "config"):  # else somebody merely imports this: there is nothing to run
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        render_as_batch=True,  # SQLite alters tables by rebuilding them
    )
    with context.begin_transaction():
        context.run_migrations()
