"""Playing all runs to a policy at once says what playing them one by one says."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stopping_core import policies
from stopping_core.completeness import EndsSentence, default_check
from stopping_core.policies import (
    AllOf,
    AnyOf,
    MaxTokens,
    Never,
    Patience,
    Policy,
    Threshold,
    baselines,
)
from stopping_core.policies.baselines.baseline import Fitted
from stopping_core.policies.learned import LearnedStopping
from stopping_core.protocols import CompletenessCheck
from stopping_core.results import Draft, Verdict
from stopping_core.signals import Sentences
from stopping_core.traces.columns import Columns
from stopping_core.traces.evidence import MissingEvidence
from stopping_core.traces.replay import replay
from stopping_core.traces.run import Run
from stopping_core.traces.stream import closing_tokens
from stopping_core.traces.sweep import Cuts, cut
from stopping_core.types import Boundary, Request
from tests.traces.made_runs import (
    SETTINGS,
    Curious,
    Foresighted,
    make_run,
    plain_runs,
    thinking_runs,
)

PLAIN = Columns(plain_runs())
TAGS_ARE_TEXT = Columns(plain_runs() + thinking_runs(), tags=None, every=5)
THINKING = Columns(thinking_runs())
THOUGHTS = Columns(thinking_runs(), channel="reasoning", every=7)
TRACES = {"plain": PLAIN, "text": TAGS_ARE_TEXT, "thinking": THINKING, "thoughts": THOUGHTS}

RECORDED = Path(__file__).parents[1] / "data" / "trace.parquet"
HELD = {"logprobs", "top_logprobs", "end_probability", "seconds", "probes"}


def exported() -> list[str]:
    """The names of the policies that can be made."""
    found = {name: getattr(policies, name) for name in policies.__all__}
    return [
        name
        for name, one in found.items()
        if isinstance(one, type) and issubclass(one, Policy) and not inspect.isabstract(one)
    ]


def _odd(request: Request, draft: Draft, /) -> Verdict:
    return Verdict(len(draft.text + draft.reasoning) % 2 == 1, "even")


def published() -> Iterator[Policy]:
    """A few settings of every published rule that reads one run, and of the learned one."""
    for module in pkgutil.iter_modules(baselines.__path__):
        found = importlib.import_module(f"{baselines.__name__}.{module.name}")
        for rule in vars(found).values():
            if not isinstance(rule, type) or rule.__module__ != found.__name__:
                continue
            if issubclass(rule, Policy) and hasattr(rule, "grid"):
                grid = [policy for policy in rule.grid() if policy.needs() <= HELD]
                yield from grid[:: max(1, len(grid) // 4)]
    yield from LearnedStopping.grid()[::10]


def fitted(policy: Policy) -> Policy:
    """The policy, with its parameters from some runs where it has to be fitted."""
    if not isinstance(policy, Fitted):
        return policy
    view = PLAIN.asked(policy.marks())
    full = np.ones(len(view.runs), dtype=np.bool_)
    return cast("Policy", policy.fit(view, np.arange(len(view)) % 3 == 0, full))


def assert_same(columns: Columns, policy: Policy, check: CompletenessCheck | None = None) -> Cuts:
    """Compare the cuts with the replays, run by run: place, row, text and bill."""
    cuts = cut(columns, policy, check)
    for number, run in enumerate(columns.runs):
        outcome = replay(
            run,
            policy,
            channel=columns.channel,
            tags=columns.tags,
            every=columns.every,
            check=check,
        )
        here, row = outcome.checkpoint, int(cuts.row[number])
        place = (-1, -1, -1) if here is None else (here.tokens, here.offset, int(here.boundary))
        expected = (place, outcome.tokens, outcome.text, outcome.probes, outcome.usage)
        at_row = (columns.tokens[row], columns.offset[row], columns.boundary[row])
        actual = (
            (-1, -1, -1) if row < 0 else tuple(map(int, at_row)),
            int(cuts.tokens[number]),
            cuts.text(number),
            int(cuts.probes[number]),
            cuts.usage(number),
        )
        assert expected == actual, f"{policy!r} over {run.question_id} of {columns.channel}"
        assert place[1] == cuts.offset[number]
        assert row < 0 or columns.run[row] == number
    return cuts


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("name", sorted({*exported(), *SETTINGS}))
def test_every_policy_at_once_is_every_policy_run_by_run(name: str, trace: str) -> None:
    """The same place, the same row, the same text, the same bill."""
    for policy in SETTINGS[name]:
        assert_same(TRACES[trace], policy)


@pytest.mark.parametrize("trace", TRACES)
@pytest.mark.parametrize("policy", list(published()), ids=repr)
def test_every_published_rule_likewise(policy: Policy, trace: str) -> None:
    """Those that probe are told what was recorded, and pay for it."""
    assert_same(TRACES[trace], fitted(policy))


@pytest.fixture(scope="module")
def recorded() -> Columns:
    """The first runs of the recorded trace file."""
    from stopping_core.traces.store import read_trace

    trace = read_trace(RECORDED)
    return Columns(trace.runs[:10], tags=trace.header.reasoning_tags)


@pytest.mark.parametrize(
    "policy", [*(one for group in SETTINGS.values() for one in group), *published()], ids=repr
)
def test_recorded_runs(recorded: Columns, policy: Policy) -> None:
    """The same over runs of a real model; both refuse what was not recorded."""
    policy = fitted(policy)
    try:
        assert_same(recorded, policy)
    except MissingEvidence:
        with pytest.raises(MissingEvidence):
            cut(recorded, policy)
        if recorded.probes or "probes" not in policy.needs():
            with pytest.raises(MissingEvidence):
                [replay(run, policy, tags=recorded.tags) for run in recorded.runs]


def test_policies_of_this_table_stop_some_runs_and_not_others() -> None:
    """The comparison is not one of runs that nothing stops."""
    stopped = [cut(PLAIN, policy).stopped for policies in SETTINGS.values() for policy in policies]
    assert 0.2 < np.mean(stopped) < 0.9


def trees() -> st.SearchStrategy[Policy]:
    """Policies made of policies with | and & and Patience."""
    leaves = st.sampled_from([policy for group in SETTINGS.values() for policy in group])
    pairs = {"or": AnyOf, "and": AllOf}
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(Patience, inner, st.integers(1, 4)),
            st.builds(
                lambda kind, parts: pairs[kind](*parts),
                st.sampled_from(sorted(pairs)),
                st.lists(inner, min_size=1, max_size=3),
            ),
        ),
        max_leaves=5,
    )


SOME = Columns((plain_runs() + thinking_runs())[::4], every=6)
SOME_THOUGHTS = Columns(thinking_runs()[::2], channel="reasoning", every=6)


@settings(max_examples=80, deadline=None)
@given(trees(), st.sampled_from([SOME, SOME_THOUGHTS]))
def test_policies_made_of_policies(policy: Policy, columns: Columns) -> None:
    """Whatever they are made of."""
    assert_same(columns, policy)


@settings(max_examples=40, deadline=None)
@given(trees(), st.sampled_from([default_check(), EndsSentence(), _odd]))
def test_a_check_vetoes_the_same_stops(policy: Policy, check: CompletenessCheck) -> None:
    """A stop that is not forced is passed over where the text is not complete."""
    assert_same(SOME, policy, check)


@settings(max_examples=25, deadline=None)
@given(trees(), st.integers(0, 60))
def test_a_policy_never_sees_the_future(policy: Policy, length: int) -> None:
    """A run that is cut short is stopped where the whole one is, if that place had been reached."""
    for columns in (SOME, SOME_THOUGHTS):
        short = [shorten(run, min(length, len(run))) for run in columns.runs]
        known = Columns(short, channel=columns.channel, tags=columns.tags, every=columns.every)
        before, after = cut(known, policy), cut(columns, policy)
        for number, run in enumerate(short):
            if after.stopped[number] and after.tokens[number] <= len(run):
                assert after.tokens[number] == before.tokens[number]
                assert after.offset[number] == before.offset[number]
            elif before.stopped[number]:  # by text that was held back for a tag until the end
                assert before.tokens[number] == len(run)
                assert columns.tags is not None


def test_a_slow_check_is_asked_for_what_is_fast_of_it() -> None:
    """As a session does before a cut."""

    class Slow:
        slow = True
        fast = staticmethod(_odd)

        def __call__(self, request: Request, draft: Draft, /) -> Verdict:
            raise AssertionError("a slow check was asked")

    fast = assert_same(SOME, MaxTokens(9) | Threshold(Sentences(), at_least=1), _odd)
    slow = assert_same(SOME, MaxTokens(9) | Threshold(Sentences(), at_least=1), Slow())
    assert fast.row.tolist() == slow.row.tolist()


def test_a_selection_stands_for_all_its_places() -> None:
    """Rows are numbered among all of them."""
    assert cut(PLAIN, MaxTokens(5)).row.tolist() == cut(PLAIN.asked(), MaxTokens(5)).row.tolist()


def test_no_runs() -> None:
    """Nothing comes of nothing."""
    assert [] == cut(Columns([]), MaxTokens(5)).row.tolist()


def test_a_run_too_short_for_any_place() -> None:
    """It is not stopped."""
    cuts = assert_same(Columns([make_run(["a", "b"], 0)]), Threshold(Sentences(), at_least=0))
    assert [-1] == cuts.row.tolist()


@pytest.mark.parametrize("rule", [Curious, Foresighted])
def test_a_probe_that_is_not_there_is_missed_by_both(rule: type[Curious]) -> None:
    """And only where it is asked for before the stop."""
    whole = plain_runs()[18]
    first = next(row for row in Columns([whole]).first(Columns([whole]).at(Boundary.LINE)))
    place = int(Columns([whole]).fed[first])
    some = replace(whole, probes={k: v for k, v in whole.probes.items() if k <= place})
    policy = rule(Boundary.LINE, 99)
    for play in (lambda: replay(some, policy), lambda: cut(Columns([some]), policy)):
        with pytest.raises(MissingEvidence, match=r"needs probes, and run 0 of question 'q18' aft"):
            play()
    assert_same(Columns([some]), policy | MaxTokens(place))


def test_a_rule_that_probes_is_refused_where_nothing_was_probed() -> None:
    """Before it comes to ask."""
    runs = [replace(run, probes={}) for run in plain_runs()[:4]]
    with pytest.raises(MissingEvidence, match=r"Curious\(.* probes, and the trace holds none"):
        cut(Columns(runs), Curious(Boundary.LINE, 1))


def test_a_check_has_no_place_in_the_thinking() -> None:
    """No session asks one there."""
    with pytest.raises(ValueError, match="check must be None on the channel 'reasoning'"):
        cut(THOUGHTS, Never(), default_check())


def test_thinking_that_is_ended_is_answered_by_its_probe() -> None:
    """It costs its own tokens, unless the policy has just paid for them, and the closing words."""
    free = cut(THOUGHTS, Foresighted(Boundary.LINE, 1))
    paid = cut(THOUGHTS, MaxTokens(7))
    assert free.stopped.any()
    for cuts in (free, paid):
        at = np.flatnonzero(cuts.stopped)
        assert len(at)
        probes = [THOUGHTS.probe(row) for row in cuts.row[at]]
        places = [
            next(k for k, v in THOUGHTS.runs[number].probes.items() if v is probe)
            for number, probe in zip(at.tolist(), probes, strict=True)
        ]
        closing = [
            closing_tokens(THOUGHTS.runs[number], place)
            for number, place in zip(at.tolist(), places, strict=True)
        ]
        assert any(closing)
        answered = [0 if cuts is free else probe.tokens for probe in probes]
        billed = (cuts.generated - cuts.tokens)[at]
        assert np.add(closing, answered).tolist() == billed.tolist()
    assert [probe.reread for probe in probes] == paid.reread[at].tolist()
    assert [probe.text for probe in probes] == [paid.text(number) for number in at.tolist()]


def test_a_cut_inside_a_word_is_known() -> None:
    """The graders want to know it."""
    run = make_run(["The ", "art", "ist", " did"], 0)
    assert [True, False] == [cut(Columns([run]), MaxTokens(n)).open_end(0) for n in (2, 3)]
    for reason, expected in (("length", True), ("stop", False)):
        ended = Columns([replace(run, finish_reason=reason)])
        assert [expected] * 2 == [cut(ended, rule).open_end(0) for rule in (Never(), MaxTokens(4))]


def shorten(run: Run, length: int) -> Run:
    """The run as it was after ``length`` tokens."""
    cut_off = {
        name: getattr(run, name)[:length]
        for name in ("logprobs", "top_logprobs", "entropy", "margin", "end_probability", "seconds")
    }
    probes = {place: probe for place, probe in run.probes.items() if place <= length}
    thoughts = None if run.reasoning is None else run.reasoning[:length]
    return replace(run, tokens=run.tokens[:length], probes=probes, reasoning=thoughts, **cut_off)
