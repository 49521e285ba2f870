"""The figures of ``stopping dashboard``, worked out by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

from stopping_core.cli.dashboard import figures
from stopping_core.feedback import Feedback, Outcome
from stopping_core.monitoring import ConfidenceSequence

START = datetime(2025, 3, 1, 12, tzinfo=UTC)


def outcome(number: int, *, day: int = 0, **values: Any) -> Outcome:
    return Outcome(f"r{number}", time=START + timedelta(days=day, minutes=number), **values)


def said(number: int, kind: Any, value: float, *, day: int = 0) -> Feedback:
    return Feedback(f"r{number}", kind, value, START + timedelta(days=day))


def test_numbers() -> None:
    """What was billed counts probes and what came after a hang-up; feedback on others does not."""
    outcomes = [
        outcome(1, generated=50, probed=6, unseen=4, avoided=40, seconds=0.0, attempts=2),
        outcome(2, generated=100, avoided=0, seconds=100.0, complete=False),
    ]
    feedback = [
        said(1, "thumbs", 1.0),
        said(1, "judge", 0.5),
        said(2, "em", 0.0),
        said(2, "regenerated", 0.0),
        said(3, "thumbs", 0.0),
    ]
    found = figures.numbers(outcomes, feedback)
    expected = figures.Numbers(
        requests=2,
        billed=160,
        avoided=40,
        retried=1,
        incomplete=1,
        median=50.0,
        p90=90.0,
        p99=99.0,
        satisfaction=0.5,
        judged=3,
    )
    assert expected == found
    assert 0.2 == found.saved


def test_numbers_of_nothing() -> None:
    """What cannot be known of no request is None, and not 0."""
    found = figures.numbers([], [said(1, "thumbs", 1.0)])
    assert figures.Numbers(0, 0, 0, 0, 0, None, None, None, None, 0) == found
    assert None is found.saved
    assert ([], [], [], []) == (
        figures.tokens([]),
        figures.risk([]),
        figures.reasons([]),
        figures.satisfaction([]),
    )


def test_tokens_by_day() -> None:
    """Days are those of UTC, in order; a quantile between two values is between them."""
    outcomes = [
        outcome(1, day=1, generated=100, avoided=7),
        outcome(2, generated=10, avoided=1),
        outcome(3, generated=30, avoided=2),
    ]
    early = datetime(2025, 3, 3, 5, tzinfo=timezone(timedelta(hours=9)))  # 20:00 the day before
    outcomes.append(Outcome("late", time=early, generated=100))
    expected = [
        figures.Tokens(date(2025, 3, 1), 40, 3, 12.0, 20.0, 28.0),
        figures.Tokens(date(2025, 3, 2), 200, 7, 100.0, 100.0, 100.0),
    ]
    assert expected == figures.tokens(outcomes)


def test_satisfaction_by_day() -> None:
    """The mean of what was said on a day, whatever day the request was on."""
    feedback = [
        said(1, "thumbs", 1.0, day=1),
        said(1, "judge", 0.0),
        said(2, "em", 1.0),
        said(2, "agreement", 0.3),
    ]
    expected = [(date(2025, 3, 1), 0.5, 2), (date(2025, 3, 2), 1.0, 1)]
    assert expected == figures.satisfaction(feedback)


RISKY = [
    outcome(1, audit_share=0.25, arm="audit", loss=1.0),  # counts for four
    outcome(2, audit_share=0.5, arm="audit", loss=0.5),  # for two halves
    outcome(3, audit_share=0.25, arm="audit", loss=0.0),
    outcome(4, audit_share=0.25, reason="learned"),  # stopped, not audited
    outcome(5, day=1, audit_share=0.25),  # not stopped
    outcome(6, audit_share=0.25, arm="audit"),  # not graded
    outcome(6, day=1, audit_share=0.5, arm="audit", audit_failed=True),  # lost, twice
    outcome(7, mode="shadow", arm="shadow", audit_share=1.0, loss=1.0),
    outcome(7, mode="shadow", arm="shadow", audit_share=1.0, audit_failed=True),
    outcome(8, reason="learned"),  # could not have been audited
    outcome(9, arm="audit", audit_share=1e-300, loss=1.0),
]


def test_risk_is_without_bias_and_has_bounds() -> None:
    """A loss counts 1 / share times; what says nothing of the loss is left out."""
    sequence = ConfidenceSequence(0.1, most_weight=4)
    for loss, weight in ((1.0, 4), (0.5, 2), (0.0, 4), (0.0, 1)):
        sequence.update(loss, weight)
    first = figures.Risk(date(2025, 3, 1), 4, 3, 5 / 4, sequence.lower, sequence.upper)
    sequence.update(0.0)
    sequence.update(1.0, 2)
    second = figures.Risk(date(2025, 3, 2), 6, 4, 7 / 6, sequence.lower, sequence.upper)
    assert [first, second] == figures.risk(RISKY, 0.1)
    assert figures.Losses(7 / 6, audited=4, failed=1, ungraded=1) == figures.losses(RISKY)
    assert figures.Losses(None, 0, 0, 0) == figures.losses(RISKY[7:])


def test_a_failed_audit_that_was_graded_is_as_it_was_graded() -> None:
    """What an earlier call had shown may be known all the same."""
    graded = outcome(1, audit_share=0.5, arm="audit", audit_failed=True, loss=0.25)
    assert figures.Losses(0.5, audited=1, failed=0, ungraded=0) == figures.losses([graded])


def test_the_bounds_close_in_on_the_loss() -> None:
    """One stop of ten loses, half of the stops are audited: the bounds hold what is true."""
    outcomes = [
        outcome(number, audit_share=0.5, arm=arm, loss=loss)
        for number in range(2_000)
        for arm, loss in [
            ("audit", float(number % 20 == 0)) if number % 2 == 0 else ("active", None)
        ]
    ]
    last = figures.risk(outcomes)[-1]
    assert (2_000, 1_000, 0.1) == (last.requests, last.audited, last.mean)
    assert 0.05 < last.lower < 0.1 < last.upper < 0.15


def test_reasons() -> None:
    """The most frequent first, and of equals by name."""
    outcomes = [outcome(number, reason=reason) for number, reason in enumerate("bba a")]
    assert [("a", 2), ("b", 2), (" ", 1)] == figures.reasons(outcomes)


def test_segments() -> None:
    """Each with its own requests, feedback and losses; the largest first."""
    outcomes = [
        outcome(1, tenant="a", generated=60, avoided=40),
        outcome(2, tenant="b", audit_share=0.5, arm="audit", loss=1.0),
        outcome(3, tenant="b", audit_share=0.5, seconds=2.0),
    ]
    feedback = [said(1, "thumbs", 1.0), said(3, "em", 0.0), said(4, "em", 1.0)]
    found = figures.by_segment(outcomes, feedback, figures.SEGMENTS["tenant"])
    assert ["b", "a"] == list(found)
    assert (figures.numbers(outcomes[1:], feedback[1:2]), figures.Losses(1.0, 1, 0, 0)) == found[
        "b"
    ]
    assert (figures.numbers(outcomes[:1], feedback[:1]), figures.Losses(None, 0, 0, 0)) == found[
        "a"
    ]
    assert 0.4 == found["a"][0].saved


def test_choosing() -> None:
    """Filters hold together; an empty text is what is not known, None is anything."""
    outcomes = [
        outcome(1, tenant="a", use_case="x", model="m", reason="end"),
        outcome(2, tenant="a", arm="audit"),
        outcome(12, tenant=""),
    ]

    def numbers(**wanted: Any) -> list[int]:
        return [int(one.request_id[1:]) for one in figures.chosen(outcomes, **wanted)]

    assert [1, 2, 12] == numbers()
    assert [1, 2] == numbers(tenant="a")
    assert [12] == numbers(tenant="")
    assert [1] == numbers(tenant="a", use_case="x", model="m")
    assert [2] == numbers(arm="audit")
    assert [2, 12] == numbers(reason="", id_part="2")
    assert [] == numbers(tenant="a", id_part="12")
