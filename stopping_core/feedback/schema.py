"""The database's version: brought up to date by whoever opens it first, once."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from stopping_core.errors import MissingPackage

try:
    import filelock
    import sqlalchemy as sa
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError
except ModuleNotFoundError as error:
    raise MissingPackage(error.name or "alembic", "feedback") from error

_FOLDER = "stopping_core.feedback:migrations"
_LOCK = 0x73746F70  # "stop": a number that all writers of a PostgreSQL database agree on
_alembic = threading.Lock()  # it keeps what it works on in its module


def migration_config(connection: sa.Connection) -> Config:
    """Return what ``alembic.command`` needs to work on a connection, in its transaction."""
    config = Config()
    config.set_main_option("script_location", _FOLDER)
    config.attributes["connection"] = connection
    return config


def migrate(engine: sa.Engine) -> None:
    """Bring the tables up to date, in one transaction, however many processes try at once.

    They wait for each other: in SQLite for a lock file beside the database, in PostgreSQL for an
    advisory lock that ends with the transaction. A kill on the way leaves the version before.

    Raises:
        ValueError: The database is of a later version than this package knows.
    """
    with _alembic, _alone(engine.url), engine.connect() as opened:
        connection = opened.execution_options(begin="BEGIN IMMEDIATE")
        with connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            try:
                command.upgrade(migration_config(connection), "head")
            except CommandError as error:
                raise ValueError(
                    f"the database is of a version that is not known here; a later stopping-core "
                    f"has opened it: {error}"
                ) from error


def _alone(url: sa.URL) -> contextlib.AbstractContextManager[object]:
    """Keep other processes from a SQLite file that is being set up: WAL begins with one alone."""
    if url.get_backend_name() != "sqlite" or not url.database:
        return contextlib.nullcontext()
    path = Path(url.database)
    return filelock.FileLock(path.with_name(f".{path.name}.lock"))
