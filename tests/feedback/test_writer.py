"""The writer: what it has acknowledged arrives, once, and nobody waits for the database."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from stopping_core import AdaptiveStopping, Audit, Request
from stopping_core.feedback import Feedback, Outcome, OutcomeStore, OutcomeWriter, SpoolFull
from stopping_core.feedback.lines import to_line
from stopping_core.policies import Threshold
from stopping_core.retry import run
from stopping_core.session import Session
from stopping_core.signals import Sentences
from stopping_core.testing import FakeClock, ScriptedModel, words
from tests.feedback.postgres import PASSWORD, Server

SECONDS = 30.0  # for what takes none


class Away(OutcomeStore):
    """A store whose database can be taken away; test_writer_outages does it with a real one."""

    away = False

    def add(self, *arguments: Any) -> None:
        if self.away:
            raise sa.exc.OperationalError("INSERT", {}, ConnectionError(PASSWORD))
        super().add(*arguments)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Away]:
    with Away(f"sqlite:///{tmp_path}/stopping.db") as opened:
        yield opened


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def ids(store: OutcomeStore) -> list[str]:
    return sorted(one.request_id for one in store.outcomes())


def left(spool: Path) -> list[str]:
    """What a writer has left in the folder, by the ends of the names."""
    return sorted(path.suffix for path in spool.iterdir())


def test_what_is_recorded_arrives(store: Away, spool: Path) -> None:
    """Outcomes and feedback are in the store after a flush, and the spool is empty at the end."""
    given = Feedback("1", "thumbs", 1.0)
    with OutcomeWriter(store, spool) as writer:
        writer.record(Outcome("1", user="ann"))
        writer.give_feedback(given)
        assert writer.flush(SECONDS)
        assert ["ann"] == [one.user for one in store.outcomes()]
        assert [given] == store.feedback_of("1")
        writer.record(Outcome("2"))
    assert ["1", "2"] == ids(store)
    assert [] == left(spool)


def test_a_hook_records_each_request(store: Away, spool: Path) -> None:
    """A real run through the driver leaves one outcome, without its texts."""
    request = Request(prompt="Where?", metadata={"tenant": "acme", "request_id": "1"})
    with OutcomeWriter(store, spool) as writer:
        stopping = AdaptiveStopping(hooks=(writer,))
        done = run(Session(stopping, request), ScriptedModel("It is in Paris. ").backend)
    found = store.find("1")
    assert found is not None
    assert ("acme", done.usage, done.reason) == (found.tenant, found.usage, found.reason)
    assert (None, None) == (found.prompt, found.text)


def test_what_a_stop_has_lost_is_kept(
    store: Away, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of audited requests; where grading fails, or says what is no loss, all else is kept."""

    def fails(request: Request, audit: Audit) -> float:
        raise RuntimeError(audit.full)

    ways: dict[str, Any] = {"graded": lambda *_: 0.25, "fails": fails, "none": lambda *_: 7.0}
    first = Threshold(Sentences(), at_least=1)
    for name, loss in ways.items():
        with OutcomeWriter(store, spool, loss=loss) as writer:
            stopping = AdaptiveStopping(policy=first, audit=0.5, hooks=(writer,))
            for number, draw in enumerate((0.0, 0.9)):
                request = Request(metadata={"request_id": f"{name} {number}"})
                model = ScriptedModel(words("It is in Paris. It lies on the Seine."))
                run(Session(stopping, request, draw=partial(float, draw)), model.backend)
    kept = {one.request_id: one.loss for one in store.outcomes()}
    assert {"graded 0": 0.25, **dict.fromkeys(kept.keys() - {"graded 0"})} == kept
    assert 6 == len(kept)
    assert "loss failed" in caplog.text
    assert "Seine" not in caplog.text


def test_texts_are_kept_where_asked_for(store: Away, spool: Path) -> None:
    """With keep_texts they are stored; without they are taken off whoever made the outcome."""
    for name, keep in (("kept", True), ("left", False)):
        with OutcomeWriter(store, spool, keep_texts=keep) as writer:
            writer.record(Outcome(name, prompt="p", text="t"))
    texts = {one.request_id: (one.prompt, one.text) for one in store.outcomes()}
    assert {"kept": ("p", "t"), "left": (None, None)} == texts


def test_threads_record_at_once(store: Away, spool: Path) -> None:
    """No line is torn by another thread's, and files change under way."""
    with OutcomeWriter(store, spool, linger=0) as writer:

        def work(part: int) -> None:
            for number in range(100):
                writer.record(Outcome(f"{part}-{number}"))

        threads = [threading.Thread(target=work, args=(part,)) for part in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(f"{part}-{number}" for part in range(4) for number in range(100)) == ids(store)
    assert [] == left(spool)


def test_a_database_that_is_away(
    store: Away, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is lost or raised; it is logged, without what the driver says, and caught up on."""
    with OutcomeWriter(store, spool) as writer:
        store.away = True
        writer.record(Outcome("1"))
        assert not writer.flush(0.3)
        assert [] == ids(store)
        store.away = False
        assert writer.flush(SECONDS)
    assert ["1"] == ids(store)
    assert "is away (ConnectionError); outcomes wait in" in caplog.text
    assert PASSWORD not in caplog.text


def test_closed_while_the_database_is_away(
    store: Away, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be stored waits for the next writer of the folder."""
    store.away = True
    writer = OutcomeWriter(store, spool)
    writer.record(Outcome("1"))
    writer.close(timeout=0.1)
    assert f"1 records wait in {spool} for the next writer" in caplog.text
    with pytest.raises(ValueError, match="the writer is closed"):
        writer.record(Outcome("2"))
    store.away = False
    with OutcomeWriter(store, spool) as later:
        assert later.flush(SECONDS)
        assert ["1"] == ids(store)
    assert [] == left(spool)


def test_the_living_are_left_alone(store: Away, spool: Path, tmp_path: Path) -> None:
    """A spool whose writer lives is not taken over by another."""
    with OutcomeStore(f"sqlite:///{tmp_path}/other.db") as other:
        store.away = True
        with OutcomeWriter(store, spool) as first:
            first.record(Outcome("1"))
            with OutcomeWriter(other, spool) as second:
                assert second.flush(SECONDS)
            store.away = False
        assert (["1"], []) == (ids(store), ids(other))


def test_a_full_spool_is_told(store: Away, spool: Path) -> None:
    """Beyond the limit a record raises; what came before arrives, and then there is room."""
    store.away = True
    line = len(to_line(Outcome("0")))
    with OutcomeWriter(store, spool, max_spool_bytes=3 * line + line // 2) as writer:
        for name in "123":
            writer.record(Outcome(name))
        with pytest.raises(SpoolFull, match=r"max_spool_bytes must be more than \d+ .*, got \d+"):
            writer.record(Outcome("4"))
        assert 0 == writer.dropped
        store.away = False
        assert writer.flush(SECONDS)
        writer.record(Outcome("5"))
    assert ["1", "2", "3", "5"] == ids(store)


def test_dropping_is_counted(store: Away, spool: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With on_full="drop" each one counts, and a warning comes once a minute."""
    clock = FakeClock()
    with OutcomeWriter(store, spool, max_spool_bytes=10, on_full="drop", clock=clock) as writer:
        for seconds in (0, 1, 58, 2, 1):
            clock.advance(seconds)
            writer.record(Outcome("1"))
        assert 5 == writer.dropped
    told = [record.getMessage() for record in caplog.records]
    assert [f"the spool {spool} is full: {n} records dropped" for n in (1, 4)] == told
    assert [] == ids(store)


def test_damaged_lines_are_moved_aside(
    store: Away, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever stands in a file, what is whole is stored; a torn last line was never promised."""
    spool.mkdir()
    good = [to_line(Outcome(name)) for name in "12"]
    deep = b"[" * 100_000 + b"\n"
    bad = [
        b"not json, my secret\n",
        b"\xff\xfe\n",
        b"\n",
        b'{"outcome":{"time":"2025-01-01T00:00:00+00:00","unknown":1}}\n',
        b'{"outcome":{"time":"2025-01-01T00:00:00+00:00","seconds":NaN}}\n',
        b'{"other":{}}\n',
        b"17\n",
        b"\x00" * 50 + b"\n",
        deep,
    ]
    (spool / "9-dead.lock").touch()
    lines = b"".join([good[0], *bad, good[1], good[1][:-9]])
    (spool / "9-dead-00000000.jsonl").write_bytes(lines)
    with OutcomeWriter(store, spool) as writer:
        assert writer.flush(SECONDS)
    assert ["1", "2"] == ids(store)
    aside = spool / "9-dead-00000000.bad"
    assert b"".join(bad) == aside.read_bytes()
    assert [aside] == list(spool.iterdir())
    assert f"9 damaged lines of a spool were moved aside, to {aside}" in caplog.text
    assert "my secret" not in caplog.text


def test_what_the_database_refuses_is_moved_aside(store: Away, spool: Path, tmp_path: Path) -> None:
    """One record that it never takes does not keep the others waiting."""
    database = sqlite3.connect(tmp_path / "stopping.db")
    database.execute(
        "CREATE TRIGGER never BEFORE INSERT ON outcomes WHEN NEW.user = 'bad' "
        "BEGIN SELECT RAISE(ABORT, 'never'); END"
    )
    database.close()
    with OutcomeWriter(store, spool) as writer:
        for number in range(9):
            writer.record(Outcome(str(number), user="bad" if number == 4 else ""))
        assert writer.flush(SECONDS)
    assert [str(number) for number in range(9) if number != 4] == ids(store)
    (aside,) = spool.glob("*.bad")
    assert b'"user":"bad"' in aside.read_bytes()


def test_a_full_disk(store: Away, spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line raises, and is taken back: the lines around it arrive."""
    write = os.write
    with OutcomeWriter(store, spool) as writer:
        store.away = True
        writer.record(Outcome("1"))
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
            with pytest.raises(OSError, match=r"the disk took \d+ of \d+ bytes"):
                writer.record(Outcome("2"))
        writer.record(Outcome("3"))
        store.away = False
    assert ["1", "3"] == ids(store)
    assert [] == left(spool)


def test_a_removed_file_is_told(store: Away, spool: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever removes the spool loses what it held; the writer says so and goes on."""
    with OutcomeWriter(store, spool, linger=60) as writer:
        writer.record(Outcome("1"))
        (file,) = spool.glob("*.jsonl")
        file.unlink()
        assert writer.flush(SECONDS)
        writer.record(Outcome("2"))
    assert ["2"] == ids(store)
    assert f"{file} was removed by somebody" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no forks; Linux and macOS do")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("ends", ["closed", "killed"])
def test_forks_record_for_themselves(url: str, spool: Path, ends: str) -> None:
    """Children have spools of their own; what a killed one leaves the next writer stores."""
    with OutcomeStore(url) as store:
        with OutcomeWriter(store, spool) as writer:
            writer.record(Outcome("parent, before"))
            children = []
            for number in range(3):
                if child := os.fork():
                    children.append(child)
                    continue
                writer.record(Outcome(f"child {number}"))
                if ends == "closed":
                    writer.close()
                os._exit(0)
            writer.record(Outcome("parent, after"))
            statuses = [os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in children]
            assert [0, 0, 0] == statuses
        with OutcomeWriter(store, spool) as later:
            assert later.flush(SECONDS)
        expected = ["child 0", "child 1", "child 2", "parent, after", "parent, before"]
        assert expected == ids(store)
    assert [] == left(spool)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no forks; Linux and macOS do")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_does_not_keep_its_parent_alive(store: Away, spool: Path) -> None:
    """The spool of a dead parent is free, though a child of its lives on."""
    store.away = True
    ready, told = os.pipe()
    hold, held = os.pipe()
    parent = os.fork()
    if not parent:
        writer = OutcomeWriter(store, spool)
        writer.record(Outcome("1"))
        if not os.fork():
            os.close(held)
            os.write(told, b".")
            os.read(hold, 1)
        os._exit(0)
    os.waitpid(parent, 0)
    os.read(ready, 1)
    store.away = False
    with OutcomeWriter(store, spool) as later:
        assert later.flush(SECONDS)
        assert ["1"] == ids(store)
    os.close(held)


def test_nothing_private_is_written(
    server: Server, tmp_path: Path, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By default neither prompt, answer nor password is in a file, a log or an error."""
    caplog.set_level(logging.DEBUG)
    prompt, answer = "my private question", "Privately so. "
    request = Request(prompt=prompt, question=prompt)
    told: list[str] = []
    for url in (f"sqlite:///{tmp_path}/private.db", server.database()):
        with OutcomeStore(url) as store:
            writer = OutcomeWriter(store, spool, max_spool_bytes=2000)
            stopping = AdaptiveStopping(hooks=(writer,))
            for _ in range(9):  # until the spool is full: the hook's error is logged
                run(Session(stopping, request), ScriptedModel(answer).backend)
            told += [repr(writer), repr(stopping)]
            written = b"".join(path.read_bytes() for path in spool.iterdir())
            writer.close()
            assert 1 <= len(store.outcomes())
            written += b"".join(to_line(one) for one in store.outcomes())
            told += [repr(one) for one in store.outcomes()]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    everything = written + b"".join(path.read_bytes() for path in files)
    everything += (caplog.text + "".join(told)).encode()
    secrets = (prompt, answer.strip(), PASSWORD)
    assert [] == [secret for secret in secrets if secret.encode() in everything]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_spool_bytes": 0}, "max_spool_bytes must be >= 1, got 0"),
        ({"batch": 0}, "batch must be >= 1, got 0"),
        ({"linger": -1}, "linger must be >= 0, got -1"),
        ({"on_full": "wait"}, "on_full must be raise or drop, got 'wait'"),
    ],
)
def test_refused_settings(store: Away, spool: Path, values: dict[str, Any], message: str) -> None:
    """A mistake is told by the argument's name and its value, when the writer is made."""
    with pytest.raises(ValueError, match=f"^{message}"):
        OutcomeWriter(store, spool, **values)
