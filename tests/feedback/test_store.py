"""The store, on a file and on a real PostgreSQL."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from stopping_core.errors import MissingPackage
from stopping_core.feedback import Feedback, Outcome, OutcomeStore, Segment
from stopping_core.feedback.tables import FEEDBACK, OUTCOMES
from tests.feedback.postgres import PASSWORD, Server

ROOT = Path(__file__).parents[2]
START = datetime(2025, 3, 1, 12, tzinfo=UTC)


def outcome(number: int, **values: Any) -> Outcome:
    return Outcome(f"r{number}", time=START + timedelta(minutes=number), **values)


@pytest.fixture
def store(url: str) -> Iterator[OutcomeStore]:
    with OutcomeStore(url) as opened:
        yield opened


FULL = Outcome(
    "full",
    time=datetime(2025, 1, 1, 0, 0, 0, 123456, tzinfo=timezone(timedelta(hours=-5))),
    user="ann",
    risk=0.1,
    mode="shadow",
    arm="audit",
    would_stop_tokens=2**63 - 1,
    audit_failed=True,
    complete=False,
    finish_reason="length",
    uncertified="model",
    prompt_tokens=3,
    estimated=False,
    cost=1e-9,
    features={"question_words": 3.0, "é": -1e300},
    prompt="p",
    text="t",
)


def test_columns_are_the_fields() -> None:
    """A field that has no column would be lost, and a column without a field be empty."""
    assert [field.name for field in fields(Outcome)] == [column.name for column in OUTCOMES.c]
    assert {field.name for field in fields(Feedback)} == {column.name for column in FEEDBACK.c}


def test_what_is_added_is_found(store: OutcomeStore) -> None:
    """Every field comes back as it was; what was never added is None."""
    feedback = Feedback("full", "judge", 0.25, START, "why")
    store.add([FULL, Outcome("plain")], [feedback])
    assert FULL == store.find("full")
    assert [feedback] == store.feedback_of("full")
    assert (None, []) == (store.find("other"), store.feedback_of("other"))


def test_added_twice_is_kept_once(store: OutcomeStore) -> None:
    """A replayed batch changes nothing, and the first outcome of an id stays."""
    first, late = outcome(1, tenant="a"), Feedback("r1", "thumbs", 1.0, START)
    for _ in range(2):
        store.add([first, first, outcome(2)], [late, late])
    store.add([replace(first, tenant="b")])
    assert [first, outcome(2)] == store.outcomes()
    assert [late] == store.feedback_of("r1")


def test_a_batch_is_whole_or_not_there(store: OutcomeStore) -> None:
    """Where the database refuses one record, nothing of its batch is stored."""
    wrong = outcome(2)
    object.__setattr__(wrong, "generated", None)
    with pytest.raises(sa.exc.IntegrityError):
        store.add([outcome(1), wrong], [Feedback("r1", "em", 1.0)])
    assert ([], []) == (store.outcomes(), store.feedback_of("r1"))


def test_queries(store: OutcomeStore) -> None:
    """Each filter holds by itself and with others; times are from, and until just before."""
    every = [
        outcome(1, tenant="a", user="x", use_case="faq", model="m"),
        outcome(2, tenant="a", user="y", use_case="faq", model="n"),
        outcome(3, tenant="b", user="x", use_case="sql", model="m"),
        outcome(4),
    ]
    store.add(every[::-1])
    at = {number: START + timedelta(minutes=number) for number in range(6)}

    def numbers(**wanted: Any) -> list[int]:
        return [int(one.request_id[1:]) for one in store.outcomes(**wanted)]

    assert [1, 2, 3, 4] == numbers()
    assert [2, 3] == numbers(since=at[2], until=at[4])
    assert [2, 3] == numbers(since=at[2].astimezone(timezone(timedelta(hours=9))), until=at[4])
    assert [1, 2] == numbers(tenant="a")
    assert [4] == numbers(tenant="")
    assert [1, 3] == numbers(user="x")
    assert [3] == numbers(user="x", use_case="sql", model="m")
    assert [3, 4] == numbers(limit=2)
    assert [] == numbers(limit=0)
    assert [] == numbers(tenant="a", until=at[1])


def test_texts_are_left_out_where_not_asked_for(store: OutcomeStore) -> None:
    """All other fields come back as they were."""
    store.add([FULL])
    assert [replace(FULL, prompt=None, text=None)] == store.outcomes(texts=False)


def test_feedback_of_many_requests(store: OutcomeStore) -> None:
    """In the order of time, from and until just before; of too many the latest."""
    every = [
        Feedback(f"r{number % 2}", "thumbs", 1.0, START + timedelta(minutes=number))
        for number in range(4)
    ]
    store.add(feedback=every[::-1])
    assert every == store.feedback()
    assert every[1:3] == store.feedback(since=every[1].time, until=every[3].time)
    assert every[2:] == store.feedback(limit=2)
    assert [] == store.feedback(limit=0)
    assert [] == store.feedback(since=START + timedelta(hours=1))


def test_refused_queries(store: OutcomeStore) -> None:
    """A time without a zone, or a negative limit, is the caller's mistake."""
    with pytest.raises(ValueError, match=r"^since must be a datetime with a time zone"):
        store.outcomes(since=datetime(2025, 1, 1))
    with pytest.raises(ValueError, match=r"^until must be a datetime with a time zone"):
        store.feedback(until=datetime(2025, 1, 1))
    for query in (store.outcomes, store.feedback):
        with pytest.raises(ValueError, match=r"^limit must be >= 0, got -1"):
            query(limit=-1)


def test_segments(store: OutcomeStore) -> None:
    """Every combination that there is, with its count and its first and last time."""
    store.add([outcome(1, tenant="b"), outcome(2, tenant="a", user="x"), outcome(9, tenant="b")])
    at = {number: START + timedelta(minutes=number) for number in (1, 2, 9)}
    expected = [
        Segment("a", "x", "", "", 1, at[2], at[2]),
        Segment("b", "", "", "", 2, at[1], at[9]),
    ]
    assert expected == store.segments()


def test_long_names_stay_apart(store: OutcomeStore) -> None:
    """Names that only differ far behind are two names."""
    store.add([outcome(1, user="u" * 9999 + "1"), outcome(2, user="u" * 9999 + "2")])
    assert ["r2"] == [one.request_id for one in store.outcomes(user="u" * 9999 + "2")]
    assert 2 == len(store.segments())


def test_threads_share_a_store(store: OutcomeStore) -> None:
    """Several threads add and read at once."""
    failed: list[Exception] = []

    def work(part: int) -> None:
        try:
            for number in range(10):
                store.add([outcome(100 * part + number)])
                store.find(f"r{100 * part}")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ([], 40) == (failed, len(store.outcomes()))


def test_eight_processes_at_once(url: str, tmp_path: Path) -> None:
    """All open the new database in one moment, and what each has recorded is there once."""
    command = [sys.executable, "-m", "tests.feedback.recording", url, str(tmp_path / "spool")]
    run = subprocess.run(
        [*command, "at-once", "8", "50"], cwd=ROOT, capture_output=True, check=False
    )
    assert (0, b"") == (run.returncode, run.stderr)
    acknowledged = run.stdout.decode().split()
    with OutcomeStore(url) as store:
        assert sorted(acknowledged) == sorted(one.request_id for one in store.outcomes())
        assert 400 == len(acknowledged)
    assert [] == list((tmp_path / "spool").iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no forks; Linux and macOS do")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_has_connections_of_its_own(store: OutcomeStore) -> None:
    """The child adds to the store, and the parent goes on with it."""
    store.add([outcome(1)])
    child = os.fork()
    if not child:
        status = 1
        try:
            store.add([outcome(2)])
            status = 0
        finally:
            os._exit(status)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    store.add([outcome(3)])
    assert [outcome(1), outcome(2), outcome(3)] == store.outcomes()


def test_sqlite_waits_for_its_turn(tmp_path: Path) -> None:
    """The file is in WAL mode: a reader does not wait for a writer, and a writer does."""
    path = tmp_path / "folder" / "stopping.db"
    with OutcomeStore(f"sqlite:///{path}") as store:
        store.add([outcome(1)])
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        assert ("wal",) == other.execute("PRAGMA journal_mode").fetchone()
        other.execute("BEGIN IMMEDIATE")
        assert [outcome(1)] == store.outcomes()
        later = threading.Timer(0.2, other.rollback)
        later.start()
        store.add([outcome(2)])
        later.join()
        other.close()
        assert [outcome(1), outcome(2)] == store.outcomes()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "url must name a file by its path"),
        ("sqlite:///:memory:", "url must name a file by its path"),
        ("sqlite:///file:a.db?mode=memory&uri=true", "url must name a file by its path"),
        ("mysql://me:hunter2@host/db", "url must be of sqlite or postgresql, got 'mysql'"),
        ("postgresql+asyncpg://me:hunter2@host/db", "url must be of sqlite or postgresql"),
        ("postgresql://me:p@host:hunter2/db", "url must be like sqlite:///"),
        ("hunter2", "url must be like sqlite:///"),
    ],
)
def test_refused_urls(url: str, message: str) -> None:
    """A URL that will not do is refused, and nothing of its secrets is quoted."""
    with pytest.raises(ValueError, match=f"^{message}") as caught:
        OutcomeStore(url)
    assert "hunter2" not in str(caught.value)


def test_the_password_is_not_shown(server: Server) -> None:
    """Neither the store nor an error of its database quotes the password."""
    url = server.database()
    with OutcomeStore(f"{url}&application_name={PASSWORD}") as store:
        assert repr(store).startswith("OutcomeStore('postgresql+psycopg://stopping:***@127")
        assert PASSWORD not in repr(store)
    with pytest.raises(sa.exc.OperationalError) as caught:
        OutcomeStore(url.replace(f":{PASSWORD}@", f":{PASSWORD}x@"))
    assert PASSWORD not in str(caught.value) + repr(caught.value.__cause__)


def test_errors_do_not_quote_what_is_stored(store: OutcomeStore) -> None:
    """An error of the database names no value of a user."""
    wrong = Outcome("1", user="Ann Smith", text="my secret")
    object.__setattr__(wrong, "generated", None)
    with pytest.raises(sa.exc.IntegrityError) as caught:
        store.add([wrong])
    told = str(caught.value).split("DETAIL")[0]  # the server's own, which the writer does not log
    assert not [word for word in ("Ann Smith", "my secret") if word in told]


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL without its driver says what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingPackage, match=r"psycopg is needed .*stopping-core\[postgres\]"):
        OutcomeStore("postgresql://127.0.0.1:1/none")


@pytest.mark.parametrize("package", ["alembic", "filelock", "sqlalchemy"])
def test_a_missing_package_is_named(package: str) -> None:
    """Without the extra the import says what to install."""
    code = f"import sys; sys.modules[{package!r}] = None; import stopping_core.feedback"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert f"{package} is needed here" in run.stderr.decode()
    assert "pip install 'stopping-core[feedback]'" in run.stderr.decode()
