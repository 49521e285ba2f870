"""What Alembic runs to bring a database up to date, over the connection that it is given."""

from __future__ import annotations

from alembic import context

from stopping_core.feedback.tables import METADATA, VERSION_TABLE


def run() -> None:
    """Run the migrations in the transaction that the connection has begun."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=METADATA, version_table=VERSION_TABLE)
    with context.begin_transaction():
        context.run_migrations()


if __name__ == "env_py":  # Alembic's name for it; whoever else imports it only wants to read it
    run()
