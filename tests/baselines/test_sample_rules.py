"""The rules that draw several runs of a question and vote."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stopping_core.policies.baselines import (
    AdaptiveConsistency,
    DeepConf,
    DeepConfOffline,
    Esc,
    Sample,
    SampleRule,
    VoteOfN,
    draw,
    vote_key,
)
from stopping_core.policies.baselines.group_confidence import (
    GroupConfidence,
    groups,
    lowest_group,
    token_confidences,
)
from stopping_core.types import Step, Usage
from tests.baselines.readings import run

answers = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=45)


def samples(said: Sequence[str], tokens: int = 10) -> list[Sample]:
    """Samples of one length that say this."""
    return [Sample(answer, tokens, prompt_tokens=7) for answer in said]


def sure(answer: str, *confidences: float) -> Sample:
    """A sample whose tokens have these confidences."""
    return Sample(answer, len(confidences), confidences=np.array(confidences))


def test_all_that_was_drawn_is_booked() -> None:
    """Three samples of ten tokens, drawn in one request, which reads the prompt once."""
    drawn = draw(VoteOfN(3), samples("abb"))
    assert Usage(prompt=7, generated=30, reread=0, retried=20, estimated=False) == drawn.usage
    assert ("b", 1, 3, False) == (drawn.answer, drawn.winner, drawn.samples, drawn.short)


@pytest.mark.parametrize(
    ("rule", "requests"),
    [
        (VoteOfN(12), 1),
        (Esc(5, 12), 3),  # 5, 5 and the 2 that are left
        (AdaptiveConsistency(0.95, 12), 12),
    ],
)
def test_the_prompt_is_read_once_a_request(rule: SampleRule, requests: int) -> None:
    """All that a rule surely wants is asked for at once."""
    drawn = draw(rule, samples("ab" * 6))
    assert (12, 7 * (requests - 1)) == (drawn.samples, drawn.usage.reread)


def test_deepconf_draws_its_warm_up_at_once() -> None:
    """Two in the first request, then one in each."""
    some = [Sample(answer, 2, 7, np.array([4.0, 4.0])) for answer in "abab"]
    assert 14 == draw(DeepConf(2, 0.5, 2, None, 4), some).usage.reread
    assert 0 == draw(DeepConfOffline(4, 0.5, 2), some).usage.reread


def test_a_rule_that_wants_more_samples_than_there_are_says_so() -> None:
    """And votes on those there are."""
    drawn = draw(VoteOfN(), samples("aab"))
    assert ("a", 3, True) == (drawn.answer, drawn.samples, drawn.short)


def test_the_answer_that_came_first_wins_a_tie() -> None:
    """Samples without an answer do not vote."""
    assert "b" == draw(VoteOfN(5), samples(["", "b", "a", "a", "b"])).answer
    nothing = draw(VoteOfN(2), samples(["", ""]))
    assert ("", None) == (nothing.answer, nothing.winner)


def test_a_rule_is_as_new_after_it_was_used() -> None:
    """The draw is made by a copy."""
    rule = AdaptiveConsistency()
    assert draw(rule, samples("aaaaaa")) == draw(rule, samples("aaaaaa"))
    assert [] == rule.taken


@pytest.mark.parametrize(
    ("said", "drawn"),
    [
        ("aaaaaa", 4),  # 1 - 1/32 = 0.969
        ("abaaaaaaa", 7),  # 6 to 1: 247/256 = 0.965; 5 to 1: 120/128 = 0.9375
        (["", "a", "", "a", "a", "a", "a"], 6),  # four votes, two without an answer
        ("ab" * 30, 40),
    ],
)
def test_adaptive_consistency_by_hand(said: Sequence[str], drawn: int) -> None:
    """It stops as soon as the leader has 95% of the mass."""
    assert drawn == draw(AdaptiveConsistency(), samples(said)).samples


@given(answers)
def test_adaptive_consistency_stops_by_the_beta_mass(said: list[str]) -> None:
    """At the first sample at which scipy says so, or at the fortieth, or with the samples."""
    expected = min(len(said), 40)
    for drawn in range(expected):
        votes = Counter(answer for answer in said[:drawn] if answer)
        first, second = (*sorted(votes.values(), reverse=True), 0, 0)[:2]
        if stats.beta(first + 1, second + 1).sf(0.5) >= 0.95:
            expected = drawn
            break
    assert expected == draw(AdaptiveConsistency(), samples(said)).samples


@pytest.mark.parametrize(
    ("said", "drawn"), [("aaaaa", 5), ("baaaaaaaaa", 10), ("aaaabaaaab" * 4, 40)]
)
def test_esc_by_hand(said: str, drawn: int) -> None:
    """Five equal answers in a row are none if they lie in two windows."""
    assert drawn == draw(Esc(), samples(said)).samples


@given(answers)
def test_esc_stops_on_unanimous_windows_only(said: list[str]) -> None:
    """The last window agrees, and none before does; else all samples were drawn, or forty."""
    drawn = draw(Esc(), samples(said))
    agree = [
        len(set(said[i : i + 5])) == 1 and said[i] != ""
        for i in range(0, drawn.samples // 5 * 5, 5)
    ]
    assert not any(agree[:-1])
    assert drawn.samples in (len(said), 40) or (agree[-1] and drawn.samples % 5 == 0)


WARM = (sure("a", 4.0, 2.0, 6.0), sure("b", 1.0, 1.0, 1.0))
"""Their lowest groups of two tokens are 3 and 1."""


def test_deepconf_ends_a_sample_whose_confidence_falls() -> None:
    """The bar is 2. Groups of 5, 3 and 1: ended with the fourth token, and without a vote."""
    rule = DeepConf(warmup=2, keep=0.5, window=2, most=4)
    later = (sure("b", 5.0, 5.0, 1.0, 1.0, 5.0), sure("b", 4.0, 4.0))
    drawn = draw(rule, WARM + later)
    assert 3 + 3 + 4 + 2 == drawn.usage.generated
    assert "b" == drawn.answer  # 4 for b, 3 for a


def test_a_sample_that_was_ended_does_not_stand_for_the_answer() -> None:
    """The third says b first, and was ended; the fourth came to its end."""
    rule = DeepConf(warmup=2, keep=0.5, window=2, most=4)
    warm = (sure("a", 4.0, 2.0, 6.0), sure("c", 1.0, 1.0, 1.0))
    ended, whole = sure("b", 5.0, 1.0, 1.0, 5.0), sure("b", 4.0, 4.0)
    assert ("b", 3) == ((drawn := draw(rule, (*warm, ended, whole))).answer, drawn.winner)


def test_deepconf_weighs_votes_by_the_lowest_group() -> None:
    """Two of 3 and 9 against four of 2.1; b's warm-up sample lies below the bar of 2."""
    rule = DeepConf(warmup=2, keep=0.5, window=2, most=7)
    weak = tuple(sure("b", 2.1, 2.1) for _ in range(4))
    assert "a" == draw(rule, (*WARM, *weak, sure("a", 9.0, 9.0))).answer
    assert "b" == draw(rule, (*WARM, *weak, sure("a", 3.0, 3.0))).answer


def test_deepconf_stops_sampling_at_a_consensus() -> None:
    """95% of the weight is enough, and takes five of 4 nats against one of 1."""
    rule = DeepConf(warmup=2, keep=0.4, window=2, most=9)
    assert 2 == draw(rule, [sure("a", 4.0, 4.0)] * 9).samples
    assert 6 == draw(rule, [sure("b", 1.0, 1.0), *[sure("a", 4.0, 4.0)] * 8]).samples
    every = DeepConf(2, 0.4, 2, None, 9)
    assert 9 == draw(every, [sure("a", 4.0, 4.0)] * 9).samples


@given(st.lists(st.lists(st.floats(0.0, 30.0), min_size=1, max_size=60), max_size=30))
def test_the_published_window_ends_no_short_sample(confidences: list[list[float]]) -> None:
    """2048 tokens never fill on outputs of a few hundred, so that every sample is paid in full."""
    drawn = draw(DeepConf(), [sure("a", *values) for values in confidences])
    assert sum(map(len, confidences[: drawn.samples])) == drawn.usage.generated


def test_deepconf_offline_lets_the_most_confident_vote() -> None:
    """The top tenth of three is the best one; the top nine tenths leave out the worst."""
    three = (sure("a", 9.0, 9.0), sure("b", 5.0, 5.0), sure("b", 4.5, 4.5))
    assert "a" == draw(DeepConfOffline(3, 0.1, 2), three).answer
    assert "b" == draw(DeepConfOffline(3, 1.0, 2), three).answer
    assert "a" == draw(DeepConfOffline(3, 0.6, 2), three).answer


def test_confidence_has_to_be_recorded() -> None:
    """The error names the rule."""
    for rule in (DeepConf(), DeepConfOffline()):
        with pytest.raises(ValueError, match="confidences must be known for DeepConf"):
            draw(rule, samples("a"))


def test_token_confidence_by_hand() -> None:
    """2 of two candidates, none of none, 7 of one, and a placeholder counts as 100."""
    rows = [(-1.0, -3.0), (math.nan, math.nan), (-7.0, math.nan), (-9999.0, 0.0)]
    found = token_confidences(np.array(rows, np.float32))
    assert [2.0, 7.0, 50.0] == found[[0, 2, 3]].tolist()
    assert math.isnan(found[1])


def test_a_short_sample_has_its_mean_for_its_lowest_group() -> None:
    """And one without any confidence has none."""
    assert 3.0 == lowest_group(np.array([2.0, math.nan, 4.0]), 3)
    assert 2.0 == lowest_group(np.array([2.0, math.nan, 4.0]), 1)
    assert 0.0 == lowest_group(np.array([math.nan]), 1)


@given(st.lists(st.floats(-20.0, 0.0), min_size=1, max_size=30), st.integers(1, 8))
def test_the_live_signal_reads_what_the_arrays_say(logprobs: list[float], window: int) -> None:
    """Group confidence at every token at which a window is full."""
    signal, live = GroupConfidence(window), []
    for logprob in logprobs:
        signal.update(Step(" a", top_logprobs=(0.0, logprob)))
        live.append(signal.value)
    rows = np.array([(0.0, logprob) for logprob in logprobs])
    means, ends = groups(token_confidences(rows), window)
    assert list(range(window, len(logprobs) + 1)) == ends.tolist()
    assert pytest.approx(means.tolist(), abs=1e-9) == live[window - 1 :]
    assert [None] * min(window - 1, len(live)) == live[: window - 1]


def test_a_sample_is_read_off_a_run() -> None:
    """The answer is what comes after the reasoning; without its end there is none."""
    tokens = ("<think>", "2 + 2. The answer is 5", "</think>", "The answer is", " 4.0.")
    thought = run(tokens, prompt_tokens=9, top_logprobs=[(-1.0, -3.0)] * 5)
    sample = Sample.of(thought, ("<think>", "</think>"))
    assert (vote_key("4"), 5, 9) == (sample.answer, sample.tokens, sample.prompt_tokens)
    assert sample.confidences is not None
    assert [2.0] * 5 == sample.confidences.tolist()
    assert "" == Sample.of(run(tokens[:2]), ("<think>", "</think>")).answer
    assert Sample.of(run(tokens[:2])).confidences is None


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("The answer is 1,600.", "1600.0"),
        ("So 5 + 5 = 10.\nAnswer: 10", "10"),
        (r"It is \boxed{7}.", "7"),
        ("The Denver Broncos. They won it in 2016.", "denver broncos"),
        ("0", "0.0"),
        ("\n ", ""),
        ("The answer is (A).", "A"),
    ],
)
def test_answers_are_compared_after_normalisation(text: str, same: str) -> None:
    """Numbers as numbers, a stated answer before the first sentence."""
    assert vote_key(same) == vote_key(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The answer is A.", "The answer is B."),
        ("The answer is A.", ""),
        ("The answer is 1.5 km.", "The answer is 15 km."),
        (r"\boxed{x = -4}", r"\boxed{x = 4}"),
        ("So it is slow.\nAnswer: C++", "Answer: C"),
        ("The answer is >5.", "The answer is <5."),
    ],
)
def test_other_answers_are_other_votes(one: str, other: str) -> None:
    assert vote_key(one) != vote_key(other)


def test_zero_is_an_answer() -> None:
    """Not one that says nothing."""
    assert vote_key("The answer is 4. Well.") == vote_key("4") == vote_key(": 4")
    zero = [Sample(vote_key("0"), 1), Sample(vote_key("0"), 1), Sample(vote_key("3"), 1)]
    drawn = draw(VoteOfN(3), zero)
    assert drawn.answer == 0
    assert drawn.winner == 0


def test_the_published_settings() -> None:
    """Of all five rules."""
    assert 40 == VoteOfN().samples
    assert (0.95, 40) == (AdaptiveConsistency().confidence, AdaptiveConsistency().most)
    assert (5, 40) == (Esc().window, Esc().most)
    assert "DeepConf(16, 0.9, 2048, 0.95, 512)" == repr(DeepConf())
    assert "DeepConfOffline(512, 0.1, 2048)" == repr(DeepConfOffline())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VoteOfN(0), "samples must be >= 1, got 0"),
        (lambda: AdaptiveConsistency(0.5), r"confidence must be in \(0.5, 1\), got 0.5"),
        (lambda: AdaptiveConsistency(most=0), "most must be >= 1, got 0"),
        (lambda: Esc(1), "window must be >= 2, got 1"),
        (lambda: Esc(5, 4), "most must be >= window = 5, got 4"),
        (lambda: DeepConf(0), "warmup must be >= 1, got 0"),
        (lambda: DeepConf(keep=1.0), r"keep must be in \(0, 1\), got 1.0"),
        (lambda: DeepConf(window=0), "window must be >= 1, got 0"),
        (lambda: DeepConf(consensus=0.5), r"consensus must be in \(0.5, 1\], got 0.5"),
        (lambda: DeepConf(most=15), "most must be >= warmup = 16, got 15"),
        (lambda: DeepConfOffline(0), "samples must be >= 1, got 0"),
        (lambda: DeepConfOffline(keep=0.0), r"keep must be in \(0, 1\], got 0.0"),
        (lambda: DeepConfOffline(window=0), "window must be >= 1, got 0"),
    ],
)
def test_settings_out_of_their_interval(make: Callable[[], SampleRule], message: str) -> None:
    """The error names setting, interval and value."""
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("module", ["hybrids", "policies.baselines"])
def test_without_numpy_its_extra_is_named(module: str) -> None:
    """Not the module that could not be imported."""
    code = f"import sys; sys.modules['numpy'] = None; import stopping_core.{module}"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert found.returncode == 1
    assert "numpy is needed here" in found.stderr
    assert "pip install 'stopping-core[traces]'" in found.stderr
