"""Errors and logs of the store say what is wrong, and nothing of what was to be stored."""

from __future__ import annotations

import logging
import sqlite3
import traceback
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from stopping_core import AdaptiveStopping, Request, Session, run
from stopping_core.feedback import Feedback, Outcome, OutcomeStore, OutcomeWriter
from stopping_core.feedback.lines import to_line
from stopping_core.testing import ScriptedModel
from tests.feedback.postgres import PASSWORD, Server

SECRET = "my-secret-2718281828-in-a-text"


def told(error: BaseException) -> str:
    """All that is shown of an error: its text, its form, and the trace with its causes."""
    return f"{error} {error!r} {''.join(traceback.format_exception(error))}"


MISPLACED: list[tuple[Any, dict[str, Any]]] = [
    *(
        (Outcome, {name: value})
        for value in (SECRET, [SECRET], {SECRET: SECRET})
        for name in (
            *("time", "risk", "mode", "arm", "would_stop_tokens", "audit_share", "loss"),
            *("audit_failed", "complete", "prompt_tokens", "generated", "estimated", "attempts"),
            *("seconds", "cost"),
        )
    ),
    *(
        (Outcome, {name: [SECRET]})
        for name in ("request_id", "user", "tenant", "reason", "finish_reason", "prompt", "text")
    ),
    (Outcome, {"features": {"question_words": SECRET}}),
    (Outcome, {"features": SECRET}),
    *(
        (Feedback, {"request_id": "1", "kind": "thumbs", "value": 1.0} | {name: value})
        for value in (SECRET, [SECRET])
        for name in ("kind", "value", "time")
    ),
    (Feedback, {"request_id": [SECRET], "kind": "thumbs", "value": 1.0}),
    (Feedback, {"request_id": "1", "kind": "thumbs", "value": 1.0, "note": [SECRET]}),
]


@pytest.mark.parametrize(("kind", "values"), MISPLACED)
def test_a_text_in_a_wrong_place_is_not_quoted(kind: Any, values: dict[str, Any]) -> None:
    """Whoever mixes up two arguments learns which, and the log learns nothing of the text."""
    with pytest.raises(ValueError, match=r" must ") as caught:
        kind(**values)
    assert SECRET not in f"{caught.value} {caught.value!r}"


def test_a_hook_that_fails_logs_no_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake in what makes outcomes is logged, with its trace, and without the prompt."""
    caplog.set_level(logging.DEBUG)
    request = Request(prompt=SECRET, question=SECRET, metadata={"api_key": SECRET})

    def mistaken(request: Request, completion: Any, *, keep_texts: bool) -> Outcome:
        return Outcome(loss=request.question)  # type: ignore[arg-type]  # wrong on purpose

    with (
        OutcomeStore(f"sqlite:///{tmp_path}/stopping.db") as store,
        OutcomeWriter(store, tmp_path / "spool", make=mistaken) as writer,
    ):
        done = run(
            Session(AdaptiveStopping(hooks=(writer,)), request), ScriptedModel(SECRET).backend
        )
    assert SECRET == done.text
    assert "a hook failed" in caplog.text
    assert "ValueError in number (checked.py:" in caplog.text
    assert SECRET not in caplog.text


def test_a_database_that_refuses_quotes_no_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in the error of the store nor in what the writer logs, though texts are kept."""
    caplog.set_level(logging.DEBUG)
    one = Outcome("1", user=SECRET, prompt=SECRET, text=SECRET)
    path = tmp_path / "stopping.db"
    with OutcomeStore(f"sqlite:///{path}") as store:
        database = sqlite3.connect(path)
        database.execute("ALTER TABLE outcomes RENAME TO elsewhere")
        database.close()
        with pytest.raises(sa.exc.OperationalError) as caught:
            store.add([one], [Feedback("1", "thumbs", 1.0, note=SECRET)])
        with OutcomeWriter(store, tmp_path / "spool", keep_texts=True) as writer:
            writer.record(one)
            assert not writer.flush(0.3)
            writer.close(timeout=0.1)
    assert "is away (OperationalError)" in caplog.text
    assert SECRET not in told(caught.value) + caplog.text


def test_a_server_that_is_away_quotes_no_password(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """At its port nobody listens, or it knows another password, or no such database."""
    caplog.set_level(logging.DEBUG)
    url = server.database()
    for other in (
        url.replace(f":{server.port}/", ":1/"),
        url.replace(f":{PASSWORD}@", f":{PASSWORD}x@"),
        url.replace("/postgres?", "/none?"),
        f"postgresql://stopping@127.0.0.1:{server.port}/none?password={PASSWORD}",
    ):
        with pytest.raises(sa.exc.OperationalError) as caught:
            OutcomeStore(other)
        assert PASSWORD not in told(caught.value)
    assert PASSWORD not in caplog.text


def test_damaged_spools_are_logged_without_their_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Lines that are no record, and one of a later version, lie aside and are not quoted."""
    caplog.set_level(logging.DEBUG)
    spool = tmp_path / "spool"
    spool.mkdir()
    (spool / "9-dead.lock").touch()
    later = to_line(Outcome("1", prompt=SECRET)).replace(b'"tenant"', b'"another"')
    (spool / "9-dead-00000000.jsonl").write_bytes(f"{SECRET}\n".encode() + later)
    with (
        OutcomeStore(f"sqlite:///{tmp_path}/stopping.db") as store,
        OutcomeWriter(store, spool) as writer,
    ):
        assert writer.flush(30)
    assert "2 damaged lines of a spool were moved aside" in caplog.text
    assert SECRET not in caplog.text
