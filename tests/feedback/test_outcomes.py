"""What an outcome holds, what it refuses, and how it is made."""

from __future__ import annotations

import pickle
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core import AdaptiveStopping
from stopping_core.costs import CostRegime
from stopping_core.feedback import Feedback, Outcome, outcome_of
from stopping_core.feedback.lines import Record, from_line, to_line
from stopping_core.results import Attempt, Audit, Completion, Verdict
from stopping_core.types import Boundary, Checkpoint, Request, Usage

USAGE = Usage(100, 50, 7, 6, 5, 4, 3, 2, estimated=False)


def completion(**changed: Any) -> Completion:
    attempt = Attempt("first", 100, 50, 0, 100, 1.5, "cut")
    values: dict[str, Any] = {
        "text": "Paris.",
        "reasoning": "hm",
        "complete": True,
        "verdict": Verdict(True),
        "finish_reason": "cut",
        "reason": "sentence",
        "usage": USAGE,
        "attempts": (attempt, attempt),
        "seconds": 1.5,
    }
    return Completion(**(values | changed))


REQUEST = Request(
    prompt="Context. Where?",
    question="Where is it?",
    metadata={"user": 17, "tenant": "acme", "use_case": "faq", "api_key": "sk-1"},
    model="m",
    model_fingerprint="0a",
)


def test_made_from_a_request_and_its_completion() -> None:
    """All that is known is taken over; the texts and the rest of the metadata are not."""
    time = datetime(2025, 1, 2, tzinfo=UTC)
    price = CostRegime("usd", input=1e-6, cached=0.0, output=1e-5)
    actual = outcome_of(
        REQUEST,
        completion(request_id="1", risk=0.05, certificate="0c", audit_share=0.1),
        time=time,
        price=price.cost,
    )
    expected = Outcome(
        request_id="1",
        time=time,
        user="17",
        tenant="acme",
        use_case="faq",
        model="m",
        model_fingerprint="0a",
        certificate="0c",
        risk=0.05,
        audit_share=0.1,
        reason="sentence",
        finish_reason="cut",
        prompt_tokens=100,
        generated=50,
        reread=7,
        retried=6,
        discarded=5,
        avoided=4,
        unseen=3,
        probed=2,
        estimated=False,
        attempts=2,
        seconds=1.5,
        cost=100 * 1e-6 + 55 * 1e-5,
        features={"question_words": 3.0},
    )
    assert expected == actual
    assert USAGE == actual.usage


def test_texts_are_kept_where_asked_for() -> None:
    """Prompt and answer are there, and not in the repr."""
    actual = outcome_of(REQUEST, completion(), keep_texts=True)
    assert ("Context. Where?", "Paris.") == (actual.prompt, actual.text)
    assert "Paris" not in repr(actual)


def test_a_shadow_stop() -> None:
    """The mode is the arm, and the place of the stop is told in tokens."""
    place = Checkpoint(20, 9, 0.5, Boundary.SENTENCE)
    actual = outcome_of(REQUEST, completion(mode="shadow", would_stop=place))
    assert ("shadow", "shadow", 9) == (actual.mode, actual.arm, actual.would_stop_tokens)


def test_an_audit() -> None:
    """Its arm, its place and its loss, but neither of its texts."""
    audit = Audit(Checkpoint(20, 9, 0.5, Boundary.SENTENCE), "answer", "Paris.", "Paris. No.", None)
    actual = outcome_of(REQUEST, completion(audit=audit, audit_share=0.25), loss=1.0)
    assert ("active", "audit", 9) == (actual.mode, actual.arm, actual.would_stop_tokens)
    assert (0.25, 1.0) == (actual.audit_share, actual.loss)
    assert "Paris" not in repr(actual)


@pytest.mark.parametrize("mode", ["active", "shadow"])
def test_a_failed_audit(mode: str) -> None:
    """Is told apart from one that nobody has graded; only where it was drawn it is an arm."""
    actual = outcome_of(REQUEST, completion(mode=mode, audit_failed=True))
    assert ("audit" if mode == "active" else "shadow", None, True) == (
        actual.arm,
        actual.loss,
        actual.audit_failed,
    )


def test_ids() -> None:
    """The completion's, or else one of its own."""
    nobody = Request(metadata={"user": None})
    actual = outcome_of(nobody, completion(request_id="mine"))
    assert ("mine", "") == (actual.request_id, actual.user)
    assert 2 == len({outcome_of(REQUEST, completion()).request_id for _ in range(2)})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"request_id": ""}, "request_id must not be empty, got ''"),
        ({"time": datetime(2025, 1, 1)}, "time must be a datetime with a time zone, got datetime"),
        (
            {"time": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))},
            "time must be a time that UTC has",
        ),
        ({"user": 5}, "user must be a str, got <class 'int'>"),
        ({"text": b"x"}, "text must be a str, got <class 'bytes'>"),
        ({"risk": 1.0}, r"risk must be in \(0, 1\), got 1.0"),
        ({"mode": "on"}, "mode must be one of off, shadow, active, got 'on'"),
        ({"arm": "test"}, "arm must be one of active, shadow, audit, off, got 'test'"),
        ({"generated": -1}, "generated must be a whole number >= 0, got -1"),
        ({"generated": 2**63}, r"generated must be < 2\*\*63, got 9223372036854775808"),
        ({"would_stop_tokens": 1.5}, "would_stop_tokens must be a whole number >= 0, got 1.5"),
        ({"complete": 1}, "complete must be True or False, got 1"),
        ({"audit_failed": None}, "audit_failed must be True or False, got None"),
        ({"seconds": -0.5}, "seconds must be >= 0, got -0.5"),
        ({"seconds": float("nan")}, "seconds must be a finite number, got nan"),
        ({"cost": float("inf")}, "cost must be a finite number, got inf"),
        ({"features": [1.0]}, "features must map names to numbers, got <class 'list'>"),
        ({"features": {1: 1.0}}, "a name in features must be a str, got <class 'int'>"),
        ({"features": {"a": None}}, r"features\['a'\] must be a finite number, got None"),
    ],
)
def test_refused_outcomes(values: dict[str, Any], message: str) -> None:
    """A mistake is told by the argument's name and its value, when the outcome is made."""
    with pytest.raises(ValueError, match=f"^{message}"):
        Outcome(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("1", "thumbs", 1.5), r"value must be in \[0, 1\], got 1.5"),
        (("1", "thumbs", float("nan")), "value must be a finite number, got nan"),
        (("1", "stars", 1), "kind must be one of em, judge, .*, got 'stars'"),
        (("", "thumbs", 1), "request_id must not be empty"),
        (("1", "thumbs", 1, datetime(2025, 1, 1)), "time must be a datetime with a time zone"),
    ],
)
def test_refused_feedback(values: tuple[Any, ...], message: str) -> None:
    """A mistake is told by the argument's name and its value, when the feedback is made."""
    with pytest.raises(ValueError, match=f"^{message}"):
        Feedback(*values)


def test_values_are_values() -> None:
    """Times are in UTC whatever zone they came in, and an outcome survives pickling."""
    east = datetime(2025, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    outcome = Outcome("1", time=east, features={"a": 1})
    assert datetime(2025, 1, 1, tzinfo=UTC) == outcome.time
    assert UTC == outcome.time.tzinfo
    assert outcome == pickle.loads(pickle.dumps(outcome))


@given(
    user=st.text(),
    text=st.text(alphabet=st.characters()),
    time=st.datetimes(timezones=st.just(UTC)),
    features=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
    generated=st.integers(0, 2**63 - 1),
)
def test_a_line_gives_back_its_record(
    user: str, text: str, time: datetime, features: dict[str, float], generated: int
) -> None:
    """Whatever the texts hold, a record is one line of ASCII, and the line is the record."""
    records: list[Record] = [
        Outcome(user=user, text=text, time=time, features=features, generated=generated),
        Feedback("1", "judge", 0.5, time=time, note=text),
    ]
    for record in records:
        line = to_line(record)
        assert line.isascii()
        assert (1, len(line) - 1) == (line.count(b"\n"), line.index(b"\n"))
        assert record == from_line(line)


def test_a_line_of_an_earlier_version() -> None:
    """What it has spooled is read: it knew no failed audits."""
    first = (
        b'{"outcome":{"request_id":"17","time":"2025-01-02T00:00:00+00:00","user":"ann","tenant":'
        b'"acme","use_case":"","model":"m","model_fingerprint":"","template":"","certificate":"",'
        b'"risk":0.05,"mode":"active","arm":"audit","reason":"","would_stop_tokens":9,'
        b'"audit_share":0.25,"loss":null,"complete":true,"finish_reason":"stop","uncertified":"",'
        b'"prompt_tokens":100,"generated":50,"reread":0,"retried":0,"discarded":0,"avoided":0,'
        b'"unseen":0,"probed":0,"estimated":true,"attempts":1,"seconds":1.5,"cost":null,'
        b'"features":{"question_words":3.0},"prompt":null,"text":null}}\n'
    )
    expected = Outcome(
        "17",
        time=datetime(2025, 1, 2, tzinfo=UTC),
        user="ann",
        tenant="acme",
        model="m",
        risk=0.05,
        arm="audit",
        would_stop_tokens=9,
        audit_share=0.25,
        audit_failed=False,
        finish_reason="stop",
        prompt_tokens=100,
        generated=50,
        seconds=1.5,
        features={"question_words": 3.0},
    )
    assert expected == from_line(first)


def test_usage_is_taken_over_whole() -> None:
    """A count that Usage gets one day is not forgotten here."""
    ours = {"prompt": "prompt_tokens"}
    names = {field.name for field in fields(Outcome)}
    assert set() == {ours.get(field.name, field.name) for field in fields(Usage)} - names


def test_a_writer_is_a_hook() -> None:
    """What an outcome is made by takes what a hook is told."""
    seen: list[Outcome] = []
    stopping = AdaptiveStopping(hooks=(lambda *told: seen.append(outcome_of(*told)),))
    stopping.hooks[0](REQUEST, completion())
    assert ["acme"] == [one.tenant for one in seen]
