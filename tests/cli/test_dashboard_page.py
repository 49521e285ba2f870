"""``stopping dashboard``: what its page shows, and whom it lets in."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from streamlit import net_util
from streamlit.testing.v1 import AppTest
from streamlit.web import cli
from typer.testing import CliRunner

from stopping_core.cli.dashboard import page, run
from stopping_core.cli.dashboard.command import dashboard
from stopping_core.feedback import Feedback, Outcome, OutcomeStore

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(dashboard)

EVIL = "<script>alert(1)</script> [link](javascript:alert(1)) **b** :red[x] $x^"
NOW = datetime.now(UTC)


def outcome(name: str, *, hours: float = 1, **values: Any) -> Outcome:
    return Outcome(name, time=NOW - timedelta(hours=hours), **values)


OUTCOMES = [
    outcome("plain", tenant="acme", generated=60, audit_share=0.5, seconds=2.0),
    outcome("cut", tenant="acme", generated=40, avoided=100, reason="learned", audit_share=0.5),
    outcome(
        "audited", tenant="globex", arm="audit", loss=0.25, audit_share=0.5, attempts=2, risk=0.02
    ),
    outcome("evil", tenant=EVIL, model=EVIL, reason=EVIL, audit_share=0.5, prompt=EVIL, text=EVIL),
    outcome("old", hours=24 * 31, tenant="long ago"),
]
FEEDBACK = [Feedback("plain", "thumbs", 1.0), Feedback("evil", "judge", 0.5, note=EVIL)]

Opened = Callable[..., AppTest]


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Open the page on a store that holds what is given."""
    url = f"sqlite:///{tmp_path}/stopping.db"

    def opens(
        outcomes: list[Outcome] = OUTCOMES,
        feedback: list[Feedback] = FEEDBACK,
        token: str | None = None,
    ) -> AppTest:
        with OutcomeStore(url) as store:
            store.add(outcomes, feedback)
        monkeypatch.setenv(run.STORE, url)
        monkeypatch.setenv(run.DAYS, "30")
        monkeypatch.delenv(run.TOKEN, raising=False)
        if token is not None:
            monkeypatch.setenv(run.TOKEN, token)
        found = AppTest.from_file(page.__file__, default_timeout=60).run()
        assert [] == list(found.exception)
        return found

    return opens


def headline(found: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in found.metric}


def read(found: AppTest) -> str:
    """All that the page reads as Markdown, in which nothing stored belongs."""
    kinds = ("title", "subheader", "caption", "markdown", "error", "warning", "info")
    return "\n".join(str(getattr(one, "value", "")) for kind in kinds for one in found.get(kind))


def test_the_headline(opened: Opened) -> None:
    """Of the last days: tokens, loss, satisfaction, latency and retries."""
    found = opened()
    expected = {
        "Requests": "4",
        "Tokens saved": "50.0%",  # 100 of 100 + 60 + 40
        "Loss of a request": "12.50%",  # 0.25 / 0.5 / 4
        "Satisfaction": "75.0%",
        "Seconds, median": "0.00",
        "Retried": "25.0%",
    }
    assert expected == headline(found)
    assert "from 1 audited stops among 4 requests" in read(found)
    assert "Certified levels in use: 2.00%." in read(found)
    assert 4 == len(found.get("plotly_chart"))


def test_failed_and_ungraded_audits(opened: Opened) -> None:
    """The failed one counts as lost, the other one is left out, and both are told and counted."""
    both = [
        outcome("failed", tenant="acme", arm="audit", audit_share=0.5, audit_failed=True),
        outcome("open", tenant="acme", arm="audit", audit_share=0.5),
    ]
    found = opened([*OUTCOMES, *both])
    assert "50.00%" == headline(found)["Loss of a request"]  # (0.25 + 1) / 0.5 / 5
    assert "from 2 audited stops among 5 requests" in read(found)
    assert "1 of these audits failed and count as lost." in read(found)
    assert "1 audited stops were not graded and are left out." in read(found)
    tenants = found.dataframe[1].value.set_index("tenant")
    assert [1, 1, 1] == list(tenants.loc["acme"][["audits", "failed audits", "not graded"]])
    audits = found.dataframe[-1].value.set_index("request id")["audit"]
    assert ["failed", "not graded", "graded", ""] == [
        audits[one] for one in ("failed", "open", "audited", "cut")
    ]


def test_audits_that_nobody_has_graded(opened: Opened) -> None:
    """Say nothing of the loss, and are told."""
    found = opened([outcome("open", arm="audit", audit_share=0.5)], [])
    assert "–" == headline(found)["Loss of a request"]
    assert "No stop was audited here. 1 audited stops were not graded" in read(found)


def test_drift_is_told(opened: Opened) -> None:
    """When, in what and from where to where, and of how many requests."""
    lengths = [50, 60] * 400 + [150, 180] * 400
    some = [
        outcome(f"r{number}", hours=20 - number / 100, generated=length, features={EVIL: 1.0})
        for number, length in enumerate(lengths)
    ]
    found = opened(some, [])
    assert "One change was found in all 1,600 requests here." in read(found)
    changed, same = (one.value for one in found.dataframe[:2])
    assert ["generated"] == list(changed["feature"])
    assert 55 <= changed["mean before"][0] < 65
    assert 150 <= changed["mean after"][0] < 180
    assert [EVIL] == list(same["feature"])
    assert "alert" not in read(found)


def test_that_there_is_no_drift_is_told(opened: Opened) -> None:
    """In words, with the features that were looked at."""
    found = opened()
    assert "No drift was found in all 4 requests here." in read(found)
    assert ["generated"] == list(found.dataframe[0].value["feature"])


def test_without_river_drift_is_not_looked_for(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says what to install, and shows all else."""
    monkeypatch.setitem(sys.modules, "river.drift", None)
    found = opened()
    assert "river is missing, pip install 'stopping-core[monitor]'" in read(found)
    assert "4" == headline(found)["Requests"]


def test_one_segment(opened: Opened) -> None:
    """All figures follow the choice, and the tables too."""
    found = opened()
    found.sidebar.selectbox[0].set_value("acme").run()
    assert ("2", "–") == (headline(found)["Requests"], headline(found)["Loss of a request"])
    assert "No stop was audited here." in read(found)
    assert {"plain", "cut"} == set(found.dataframe[-1].value["request id"])


def test_segments_and_reasons(opened: Opened) -> None:
    """A table each, the largest segment first; what has no name says so."""
    _, tenants, _, models, reasons, _ = (one.value for one in opened().dataframe)
    assert ["acme", EVIL, "globex"] == list(tenants["tenant"])
    assert [2, 1, 1] == list(tenants["requests"])
    assert ["not known", EVIL] == list(models["model"])
    assert {"not stopped": 2, "learned": 1, EVIL: 1} == dict(
        zip(reasons["reason"], reasons["requests"], strict=True)
    )


def test_one_request_is_looked_into(opened: Opened) -> None:
    """By its id, with its feedback; stored texts stay text, whatever they hold."""
    found = opened()
    found.main.text_input[0].set_value("evil").run()
    assert [EVIL, EVIL] == [one.value for one in found.code]
    assert ["plaintext"] * 2 == [one.language for one in found.code]
    feedback, known = (one.value for one in found.dataframe[-2:])
    assert [("judge", 0.5, EVIL)] == [
        (row["kind"], row["value"], row["note"]) for _, row in feedback.iterrows()
    ]
    assert EVIL == dict(zip(known["field"], known["value"], strict=True))["tenant"]
    assert "alert" not in read(found)
    files = Path(page.__file__).parent.rglob("*.py")
    assert [] == [one for one in files if "unsafe_allow_html" in one.read_text("utf-8")]


def test_an_old_request_is_found(opened: Opened) -> None:
    """By its whole id, though no table holds it; that it kept no texts is said."""
    found = opened()
    found.main.text_input[0].set_value("old").run()
    assert 0 == len(found.code)
    assert "Prompt: not kept." in read(found)
    assert "No feedback." in read(found)


def test_a_part_of_an_id(opened: Opened) -> None:
    """Narrows the table, and looks into none."""
    found = opened()
    found.main.text_input[0].set_value("u").run()
    assert {"cut", "audited"} == set(found.dataframe[-1].value["request id"])
    assert "No request has exactly this id" in read(found)


def test_an_empty_store(opened: Opened) -> None:
    """Says so, and shows no figures."""
    found = opened([], [])
    assert ["There are no requests here."] == [one.value for one in found.info]
    assert ({}, 0) == (headline(found), len(found.dataframe))
    assert "None of the requests here is like this." in read(found)


def test_the_largest_numbers(opened: Opened) -> None:
    """Counts and seconds as large as the store holds them are shown like any other."""
    most = {"generated": 2**63 - 1, "avoided": 2**63 - 1, "seconds": 1e308}
    found = opened([outcome(f"r{number}", **most) for number in range(3)], [])
    assert "50.0%" == headline(found)["Tokens saved"]
    assert [2**63 - 1] * 3 == list(found.dataframe[-1].value["tokens"])


def test_more_than_are_read(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest are read, and that there are more is said."""
    latest = [outcome(f"r{number}", hours=9 - number) for number in range(4)]
    assert "There are more" not in read(opened(latest, []))
    monkeypatch.setattr(page, "MOST", 2)
    script = "from stopping_core.cli.dashboard import page; page.show()"
    found = AppTest.from_string(script, default_timeout=60).run()
    assert ["There are more: only the latest 2 requests are read."] == [
        one.value for one in found.warning
    ]
    assert ["r3", "r2"] == list(found.dataframe[-1].value["request id"])


def test_the_token_comes_first(opened: Opened) -> None:
    """Nothing is shown before it, nor after a wrong one; the right one opens the page."""
    found = opened(token="s3cret ü")
    for wrong in ("", "s3cret", "s3cret ü "):
        found.text_input[0].set_value(wrong).run()
        assert ({}, 0) == (headline(found), len(found.dataframe))
    assert ["This is not the token."] == [one.value for one in found.error]
    found.text_input[0].set_value("s3cret ü").run()
    assert "4" == headline(found)["Requests"]
    found.sidebar.selectbox[0].set_value("acme").run()
    assert "2" == headline(found)["Requests"]


def test_a_store_that_is_away(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Is told by the kind of error, without its text."""
    found = opened()
    broken = tmp_path / "broken.db"
    broken.write_text("no database", "utf-8")
    monkeypatch.setenv(run.STORE, f"sqlite:///{broken}")
    assert ["The store cannot be read: DatabaseError."] == [one.value for one in found.run().error]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--host", "0.0.0.0"],
            "host '0.0.0.0' can be reached by others, so the page needs a token",
        ),
        (["--host", "::"], "host '::' can be reached by others, so the page needs a token"),
        (["--host", ""], "host must be an address or a name, got ''"),
        (["--token", " "], "token must not be empty"),
        (["--port", "0"], "port must be in [1, 65535], got 0"),
        (["--days", "0"], "days must be in [1, 3650], got 0"),
        (["--store", "mysql://u:p@h/n"], "url must be of sqlite or postgresql, got 'mysql'"),
        (
            ["--store", "sqlite:///none.db"],
            "store must be one that is there, got no file 'none.db'",
        ),
    ],
)
def test_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be served is told in a line, before anything listens, and nothing is made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(run.TOKEN, raising=False)
    result = CliRunner().invoke(app, arguments)
    assert 1 == result.exit_code
    assert result.output.startswith(f"stopping dashboard: {message}")
    assert not list(tmp_path.iterdir())


def test_a_store_that_cannot_be_opened(tmp_path: Path) -> None:
    """Is refused before anything listens, without what the database said of it."""
    (tmp_path / "broken.db").write_text("no database", "utf-8")
    result = CliRunner().invoke(app, ["--store", f"sqlite:///{tmp_path}/broken.db"])
    assert 1 == result.exit_code
    assert "stopping dashboard: the store cannot be opened: DatabaseError\n" == result.output


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    """By any of its names; and with a token every host is served."""
    assert host == run.Settings("sqlite:///x.db", host=host).host
    assert "0.0.0.0" == run.Settings("sqlite:///x.db", host="0.0.0.0", token="t").host


def test_what_is_secret_is_on_no_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is told the store and the token by variables, and what is given is not shown."""
    told: list[list[str]] = []
    monkeypatch.setattr(cli, "main", lambda flags, **_: told.append(flags))
    monkeypatch.setattr(net_util, "get_external_ip", None)
    for name in (run.STORE, run.TOKEN, run.DAYS):
        monkeypatch.setenv(name, "before")
    settings = run.Settings(f"sqlite:///{tmp_path}/a.db", token="s3cret")
    OutcomeStore(settings.store).close()
    run.run(settings)
    assert "--server.address=127.0.0.1" in told[0]
    assert "--browser.gatherUsageStats=false" in told[0]
    assert "s3cret" not in f"{told} {settings}"
    assert "a.db" not in f"{told} {settings}"
    assert ("s3cret", settings.store) == (os.environ[run.TOKEN], os.environ[run.STORE])
    run.run(run.Settings(settings.store))
    assert run.TOKEN not in os.environ
