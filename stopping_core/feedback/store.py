"""The store of outcomes and feedback: one SQLite file or PostgreSQL database."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stopping_core.errors import MissingPackage
from stopping_core.feedback.checked import utc
from stopping_core.feedback.outcomes import Feedback, Outcome
from stopping_core.feedback.schema import migrate
from stopping_core.feedback.tables import FEEDBACK, OUTCOMES

try:
    import sqlalchemy as sa
    from sqlalchemy.dialects import postgresql, sqlite
except ModuleNotFoundError as error:
    raise MissingPackage(error.name or "sqlalchemy", "feedback") from error

_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
_CONNECT_SECONDS = 10
_OUTCOME = tuple(field.name for field in fields(Outcome))
_FEEDBACK = tuple(field.name for field in fields(Feedback))
_TEXTS = ("prompt", "text")


@dataclass(frozen=True, slots=True)
class Segment:
    """Who asks for what, and how often.

    Args:
        tenant: As in :class:`~stopping_core.feedback.Outcome`.
        user: Likewise.
        use_case: Likewise.
        model: Likewise.
        outcomes: How many there are.
        first: When the first of them ended.
        last: When the last one did.
    """

    tenant: str
    user: str
    use_case: str
    model: str
    outcomes: int
    first: datetime
    last: datetime


class OutcomeStore:
    """Keeps outcomes and feedback; one object serves all threads, and processes that fork.

    What is added twice is kept once: of an outcome by its ``request_id``, of feedback by its own
    id. So a batch of which nobody knows whether it arrived is simply added again. When ``add``
    returns the batch is on the disk, all of it; before, nothing of it can be seen.

    Any text is data: NUL and halves of characters become U+FFFD, and names of more than 255
    characters are cut and end with their hash, in what is added and in what is looked for.

    Args:
        url: As SQLAlchemy has them: ``sqlite:///FILE``, or ``postgresql://USER:PASSWORD@HOST/NAME``
            with the extra ``postgres``. A SQLite file must be on a local disk. The password is
            never shown, nor is what comes after ``?``.

    Raises:
        ValueError: The URL cannot be read, names another kind of database or none that lasts, or
            the database is of a later version.
        MissingPackage: The database's driver is not installed.
        sqlalchemy.exc.OperationalError: The database cannot be opened.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with OutcomeStore(f"sqlite:///{folder}/stopping.db") as store:
        ...         store.add([Outcome("17", tenant="acme")], [Feedback("17", "thumbs", 1)])
        ...         [one.value for one in store.feedback_of("17")]
        [1.0]
    """

    def __init__(self, url: str = "sqlite:///stopping.db") -> None:
        self._url = _read_url(url)
        self._sqlite = self._url.get_backend_name() == "sqlite"
        self._one = threading.RLock()
        self._engine = self._made()
        _stores.add(self)
        try:
            with self._one:
                migrate(self._engine)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"OutcomeStore({_shown(self._url)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are open; whoever uses the store again opens new ones."""
        self._engine.dispose()

    def add(self, outcomes: Iterable[Outcome] = (), feedback: Iterable[Feedback] = ()) -> None:
        """Add a batch, in one transaction; what is there already is passed over.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: The database is away or refuses it. Nothing was added,
                or, where the connection broke in the very last moment, everything.
        """
        rows = [{name: getattr(one, name) for name in _OUTCOME} for one in outcomes]
        given = [{name: getattr(one, name) for name in _FEEDBACK} for one in feedback]
        insert = sqlite.insert if self._sqlite else postgresql.insert
        with self._connection() as connection:
            if rows:
                connection.execute(insert(OUTCOMES).on_conflict_do_nothing(), rows)
            if given:
                connection.execute(insert(FEEDBACK).on_conflict_do_nothing(), given)

    def outcomes(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        tenant: str | None = None,
        user: str | None = None,
        use_case: str | None = None,
        model: str | None = None,
        limit: int | None = None,
        texts: bool = True,
    ) -> list[Outcome]:
        """Return outcomes in the order of their times.

        Args:
            since: Only those that ended then or later, aware.
            until: Only those that ended before, aware.
            tenant: Only its; ``""`` is where it is not known, None leaves it open.
            user: Likewise.
            use_case: Likewise.
            model: Likewise.
            limit: At most so many, the latest, >= 0.
            texts: Whether to read prompts and answers; else they are None, as if not kept.

        Raises:
            ValueError: A time has no time zone, or ``limit`` is below 0.
        """
        left_out = () if texts else _TEXTS
        query = sa.select(*(column for column in OUTCOMES.c if column.name not in left_out))
        if since is not None:
            query = query.where(OUTCOMES.c.time >= utc("since", since))
        if until is not None:
            query = query.where(OUTCOMES.c.time < utc("until", until))
        wanted = {"tenant": tenant, "user": user, "use_case": use_case, "model": model}
        for name, value in wanted.items():
            if value is not None:
                query = query.where(OUTCOMES.c[name] == value)
        query = query.order_by(OUTCOMES.c.time.desc(), OUTCOMES.c.request_id.desc())
        return [Outcome(**row) for row in reversed(self._rows(_limited(query, limit)))]

    def find(self, request_id: str) -> Outcome | None:
        """Return the outcome of a request, None where there is none."""
        rows = self._rows(sa.select(OUTCOMES).where(OUTCOMES.c.request_id == request_id))
        return Outcome(**rows[0]) if rows else None

    def feedback_of(self, request_id: str) -> list[Feedback]:
        """Return what was said of a request's answer, in the order of time."""
        query = sa.select(FEEDBACK).where(FEEDBACK.c.request_id == request_id)
        ordered = query.order_by(FEEDBACK.c.time, FEEDBACK.c.feedback_id)
        return [Feedback(**row) for row in self._rows(ordered)]

    def feedback(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> list[Feedback]:
        """Return feedback on any request, in the order of time.

        Args:
            since: Only what was given then or later, aware.
            until: Only what was given before, aware.
            limit: At most so many, the latest, >= 0.

        Raises:
            ValueError: A time has no time zone, or ``limit`` is below 0.
        """
        query = sa.select(FEEDBACK)
        if since is not None:
            query = query.where(FEEDBACK.c.time >= utc("since", since))
        if until is not None:
            query = query.where(FEEDBACK.c.time < utc("until", until))
        query = query.order_by(FEEDBACK.c.time.desc(), FEEDBACK.c.feedback_id.desc())
        return [Feedback(**row) for row in reversed(self._rows(_limited(query, limit)))]

    def segments(self) -> list[Segment]:
        """Return who asks for what: every combination that there is, in order."""
        table = OUTCOMES.c
        by = (table.tenant, table.user, table.use_case, table.model)
        query = sa.select(
            *by,
            sa.func.count().label("outcomes"),
            sa.func.min(table.time).label("first"),
            sa.func.max(table.time).label("last"),
        )
        return [Segment(**row) for row in self._rows(query.group_by(*by).order_by(*by))]

    def _rows(self, query: sa.Select[Any]) -> Sequence[dict[str, Any]]:
        with self._connection() as connection:
            found = connection.execute(query)
            names = tuple(found.keys())
            return [dict(zip(names, row, strict=True)) for row in found]

    @contextlib.contextmanager
    def _connection(self) -> Generator[sa.Connection]:
        """Open a transaction. Of SQLite one at a time, so that a fork can wait for its end."""
        one = self._one if self._sqlite else contextlib.nullcontext()
        with one, self._engine.begin() as connection:
            yield connection

    def _made(self) -> sa.Engine:
        """Make the engine. Errors and logs of SQLAlchemy are not to quote what is stored."""
        if not self._sqlite:
            url = self._url
            if "connect_timeout" not in url.query:
                url = url.update_query_dict({"connect_timeout": str(_CONNECT_SECONDS)})
            try:
                return sa.create_engine(url, hide_parameters=True, pool_pre_ping=True)
            except ModuleNotFoundError as error:
                raise MissingPackage(error.name or "psycopg", "postgres") from error
        engine = sa.create_engine(self._url, hide_parameters=True, poolclass=sa.NullPool)
        sa.event.listen(engine, "connect", _set_up)
        sa.event.listen(engine, "begin", _begin)
        return engine


def _limited(query: sa.Select[Any], limit: int | None) -> sa.Select[Any]:
    if limit is not None and limit < 0:
        raise ValueError(f"limit must be >= 0, got {limit}")
    return query.limit(limit)


def _read_url(given: str) -> sa.URL:
    """Read a URL, with the driver that is used here and a path that stays where it is."""
    try:
        url = sa.make_url(given)
    except (sa.exc.ArgumentError, ValueError):
        raise ValueError(
            "url must be like sqlite:///stopping.db or postgresql://user:password@host/name, got "
            "one that cannot be read; it is not shown, as it may hold a password"
        ) from None
    if url.drivername not in _DRIVERS:
        raise ValueError(f"url must be of sqlite or postgresql, got {url.drivername!r}")
    url = url.set(drivername=_DRIVERS[url.drivername])
    if url.get_backend_name() == "sqlite":
        name = url.database or ":memory:"
        if name.startswith((":memory:", "file:")):
            raise ValueError(f"url must name a file by its path, got {_shown(url)!r}")
        path = Path(name).absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        url = url.set(database=str(path))
    return url


def _shown(url: sa.URL) -> str:
    """A URL without its password, and without its settings, which may hold another."""
    return url.set(query={}).render_as_string(hide_password=True)


def _set_up(connection: Any, record: object) -> None:
    """Set up a connection to SQLite: several processes write, and each waits for its turn."""
    connection.isolation_level = None  # the driver leaves it to us where a transaction begins
    connection.execute("PRAGMA busy_timeout = 30000")  # milliseconds
    connection.execute("PRAGMA journal_mode = WAL")


def _begin(connection: sa.Connection) -> None:
    """Begin a transaction: changes of the tables belong into it as well."""
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN DEFERRED"))


_stores: weakref.WeakSet[OutcomeStore] = weakref.WeakSet()
_held = threading.local()


def _before_fork() -> None:
    """Wait for the end of what goes on in SQLite: a connection that is open must not be forked."""
    _held.stores = list(_stores)
    for store in _held.stores:
        store._one.acquire()


def _after_fork() -> None:
    while _held.stores:
        _held.stores.pop()._one.release()


def _in_child() -> None:
    """Leave the parent its connections, and its threads their locks."""
    _held.stores = []
    for store in list(_stores):
        store._one = threading.RLock()
        store._engine.dispose(close=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
