"""The tables, the same in SQLite and PostgreSQL: any text of a user is data that they can hold."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from stopping_core.errors import MissingPackage

try:
    import sqlalchemy as sa
    from sqlalchemy.types import TypeDecorator
except ModuleNotFoundError as error:
    raise MissingPackage(error.name or "sqlalchemy", "feedback") from error

_NOT_STORED = re.compile("[\x00\ud800-\udfff]")
"""NUL, which PostgreSQL refuses, and halves of characters, which have no UTF-8."""

_LONGEST = 255
"""Characters of a name: an index of PostgreSQL holds no more than 2700 bytes."""

VERSION_TABLE = "stopping_core_version"
"""Where Alembic notes the version: of its own, as a database may serve others as well."""


def storable(text: str) -> str:
    r"""Return the text as a database can hold it: what it cannot becomes U+FFFD.

    Examples:
        >>> storable("a\x00b\ud800") == "a\ufffdb\ufffd"
        True
    """
    plain = text.isascii() and "\x00" not in text
    return text if plain else _NOT_STORED.sub("\ufffd", text)


def name_of(text: str) -> str:
    """Return a name as it is stored: a longer one is cut, and ends with the hash of the whole.

    Examples:
        >>> name_of("ann"), len(name_of("a" * 1_000_000))
        ('ann', 255)
    """
    kept = storable(text)
    if len(kept) <= _LONGEST:
        return kept
    digest = hashlib.sha256(kept.encode()).hexdigest()
    return f"{kept[: _LONGEST - len(digest) - 1]}~{digest}"


class Name(TypeDecorator[str]):
    """A text that is searched for: indexed, so of limited length."""

    impl = sa.String(_LONGEST)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else name_of(value)


class Words(TypeDecorator[str]):
    """A text of any length."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else storable(value)


class Instant(TypeDecorator[datetime]):
    """An aware time. SQLite knows no zones: there it is that of UTC, as text that sorts."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Numbers(TypeDecorator[Mapping[str, float]]):
    """Numbers by name, as JSON."""

    impl = sa.JSON
    cache_ok = True

    def process_bind_param(self, value: Mapping[str, float] | None, dialect: sa.Dialect) -> Any:
        return {storable(name): number for name, number in (value or {}).items()}


METADATA = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

OUTCOMES = sa.Table(
    "outcomes",
    METADATA,
    sa.Column("request_id", Name, primary_key=True),
    sa.Column("time", Instant, nullable=False),
    sa.Column("user", Name, nullable=False),
    sa.Column("tenant", Name, nullable=False),
    sa.Column("use_case", Name, nullable=False),
    sa.Column("model", Name, nullable=False),
    sa.Column("model_fingerprint", Name, nullable=False),
    sa.Column("template", Name, nullable=False),
    sa.Column("certificate", Name, nullable=False),
    sa.Column("risk", sa.Double),
    sa.Column("mode", Name, nullable=False),
    sa.Column("arm", Name, nullable=False),
    sa.Column("reason", Words, nullable=False),
    sa.Column("would_stop_tokens", sa.BigInteger),
    sa.Column("audit_share", sa.Double, nullable=False),
    sa.Column("loss", sa.Double),
    sa.Column("audit_failed", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("complete", sa.Boolean, nullable=False),
    sa.Column("finish_reason", Words),
    sa.Column("uncertified", Words, nullable=False),
    sa.Column("prompt_tokens", sa.BigInteger, nullable=False),
    sa.Column("generated", sa.BigInteger, nullable=False),
    sa.Column("reread", sa.BigInteger, nullable=False),
    sa.Column("retried", sa.BigInteger, nullable=False),
    sa.Column("discarded", sa.BigInteger, nullable=False),
    sa.Column("avoided", sa.BigInteger, nullable=False),
    sa.Column("unseen", sa.BigInteger, nullable=False),
    sa.Column("probed", sa.BigInteger, nullable=False),
    sa.Column("estimated", sa.Boolean, nullable=False),
    sa.Column("attempts", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("cost", sa.Double),
    sa.Column("features", Numbers, nullable=False),
    sa.Column("prompt", Words),
    sa.Column("text", Words),
    sa.Index(None, "time"),
    sa.Index(None, "tenant", "time"),
    sa.Index(None, "user", "time"),
    sa.Index(None, "use_case", "time"),
    sa.Index(None, "model", "time"),
)
"""The columns are the fields of :class:`~stopping_core.feedback.Outcome`."""

FEEDBACK = sa.Table(
    "feedback",
    METADATA,
    sa.Column("feedback_id", Name, primary_key=True),
    sa.Column("request_id", Name, nullable=False),
    sa.Column("kind", Name, nullable=False),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("time", Instant, nullable=False),
    sa.Column("note", Words, nullable=False),
    sa.Index(None, "request_id"),
    sa.Index(None, "time"),
)
"""The fields of :class:`~stopping_core.feedback.Feedback`. No foreign key: it may come first."""
