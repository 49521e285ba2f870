"""The migrations make what the tables say, at any moment of a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from stopping_core.feedback import Outcome, OutcomeStore
from stopping_core.feedback.schema import migration_config
from stopping_core.feedback.tables import METADATA, OUTCOMES, VERSION_TABLE


def test_migrations_make_the_tables(url: str) -> None:
    """Alembic finds no difference between the tables as declared and as migrated."""
    with OutcomeStore(url) as store, store._engine.begin() as connection:
        command.check(migration_config(connection))
        found = set(sa.inspect(connection).get_table_names())
    assert {*METADATA.tables, VERSION_TABLE} == found


def test_there_is_one_last_version(url: str) -> None:
    """No two migrations follow the same one."""
    with OutcomeStore(url) as store, store._engine.begin() as connection:
        assert 1 == len(ScriptDirectory.from_config(migration_config(connection)).get_heads())


def test_back_and_forth(url: str) -> None:
    """Every migration can be taken back, and made again."""
    with OutcomeStore(url) as store:
        with store._engine.begin() as connection:
            command.downgrade(migration_config(connection), "base")
            assert [VERSION_TABLE] == sa.inspect(connection).get_table_names()
        with OutcomeStore(url) as again:
            again.add([Outcome("1")])
            assert 1 == len(again.outcomes())


def test_what_an_earlier_version_stores(url: str) -> None:
    """Its rows are there, and those of one that still runs: no audit of them has failed."""
    before, after = Outcome("before", arm="audit"), Outcome("after", arm="audit")
    with OutcomeStore(url) as store:
        with store._engine.begin() as connection:
            command.downgrade(migration_config(connection), "0001")
            columns = {one["name"] for one in sa.inspect(connection).get_columns("outcomes")}
            assert columns == {column.name for column in OUTCOMES.c} - {"audit_failed"}
            connection.execute(*added_by_the_first_version(before))
        with OutcomeStore(url) as migrated:
            with migrated._engine.begin() as connection:
                connection.execute(*added_by_the_first_version(after))
            failed = Outcome("failed", arm="audit", audit_failed=True)
            migrated.add([failed])
            assert [before, after, failed] == [
                migrated.find(one) for one in ("before", "after", "failed")
            ]


def added_by_the_first_version(outcome: Outcome) -> tuple[sa.Insert, dict[str, Any]]:
    """The statement and the values: of every column but the one that came later."""
    columns = [column for column in OUTCOMES.c if column.name != "audit_failed"]
    table = sa.table("outcomes", *(sa.column(column.name, column.type) for column in columns))
    return sa.insert(table), {column.name: getattr(outcome, column.name) for column in columns}


def test_opened_again(url: str) -> None:
    """A database that is up to date is left as it is."""
    with OutcomeStore(url) as store:
        store.add([Outcome("1")])
    with OutcomeStore(url) as store:
        assert ["1"] == [one.request_id for one in store.outcomes()]


def test_a_later_version_is_refused(url: str) -> None:
    """What a later package has migrated is not touched by an earlier one."""
    with OutcomeStore(url) as store, store._engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(ValueError, match="a later stopping-core has opened it"):
        OutcomeStore(url)


def test_a_broken_migration_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables and version come in one transaction: the next one to open begins anew."""
    upgrade = command.upgrade

    def broken(*arguments: object) -> None:
        upgrade(*arguments)  # type: ignore[arg-type]  # wrong on purpose
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "upgrade", broken)
    with pytest.raises(KeyboardInterrupt):
        OutcomeStore(url)
    monkeypatch.undo()
    with OutcomeStore(url) as store:
        assert [] == store.outcomes()


def test_the_folder_may_have_any_name(tmp_path: Path) -> None:
    """A path is no template: a per cent sign in it is one."""
    path = tmp_path / "100% mine" / "stopping.db"
    OutcomeStore(f"sqlite:///{path}").close()
    assert path.exists()
