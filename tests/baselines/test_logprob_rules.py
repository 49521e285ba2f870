"""The rules that read probabilities along the way."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from stopping_core import Policy
from stopping_core.policies.baselines import (
    Cusum,
    EndProbability,
    HighConfidence,
    LowEntropy,
    LowGroupConfidence,
    ThinkJustEnough,
)
from stopping_core.policies.baselines.cusum import EntropyCusum
from stopping_core.traces.columns import Columns
from stopping_core.traces.evidence import MissingEvidence
from stopping_core.traces.replay import replay
from stopping_core.types import Boundary, Step
from tests.baselines.readings import run, words
from tests.baselines.scripted import stop

ONE_BIT, NO_BIT = (math.log(0.25), math.log(0.25)), (0.0, math.nan)
LINES = ("One", " two", "\n", "three", " four", "\n", "five")
"""Lines end after tokens 2 and 5."""


def test_the_end_is_likely_enough() -> None:
    """One token after the place where the model would have ended, and it stays so."""
    likely = run(words(5), end_probability=(0.1, 0.3, 0.6, 0.2, 0.9))
    assert (3, 0) == stop(EndProbability(), likely)
    assert (2, 0) == stop(EndProbability(0.3), likely)
    assert (5, 0) == stop(EndProbability(0.7), likely)
    assert (None, 0) == stop(EndProbability(0.95), likely)


def test_low_entropy_is_a_mean_over_a_window() -> None:
    """Of 12 tokens with 1 nat and then 0.1: at token 16, 0.1 over 4 and 0.55 over 8."""
    falling = run(words(40), entropy=(1.0,) * 12 + (0.1,) * 28)
    assert (16, 0) == stop(LowEntropy(0.3, 4), falling)
    assert (32, 0) == stop(LowEntropy(0.3, 8), falling)
    assert (16, 0) == stop(LowEntropy(0.56, 8), falling)


def test_high_confidence_is_a_geometric_mean() -> None:
    """Of four tokens at a half and four at 0.98 it is 0.7."""
    rising = run(words(40), logprobs=(math.log(0.5),) * 12 + (math.log(0.98),) * 28)
    assert (16, 0) == stop(HighConfidence(0.69, 8), rising)
    assert (32, 0) == stop(HighConfidence(0.71, 8), rising)
    assert (16, 0) == stop(HighConfidence(0.95, 4), rising)


def test_think_just_enough_reads_the_whole_sequence_at_line_ends() -> None:
    """1 bit on average after the first line, 0.6 after the second: three bits on five tokens."""
    falling = run(LINES, top_logprobs=(ONE_BIT,) * 3 + (NO_BIT,) * 4)
    assert (2, 0) == stop(ThinkJustEnough(1.01), falling)
    assert (5, 0) == stop(ThinkJustEnough(0.61), falling)
    assert (None, 0) == stop(ThinkJustEnough(0.59), falling)
    assert (None, 0) == stop(ThinkJustEnough(1.01, Boundary.SENTENCE), falling)


def test_think_just_enough_takes_its_threshold_from_runs_that_were_right() -> None:
    """3 of 7 bits and 7 of 7 bits are right, a run without entropy is wrong."""
    some = run(LINES, top_logprobs=(ONE_BIT,) * 3 + (NO_BIT,) * 4)
    full = run(LINES, top_logprobs=(ONE_BIT,) * 7)
    none = run(LINES, top_logprobs=(NO_BIT,) * 7)
    columns = Columns((some, full, none), tags=None)
    fitted = ThinkJustEnough().fit(columns, columns.run < 2, np.array([True, True, False]))
    assert pytest.approx((3 / 7 + 1.0) / 2.0) == fitted.at_most
    with pytest.raises(ValueError, match="right must hold at the end of a run"):
        ThinkJustEnough().fit(columns, columns.nowhere(), np.zeros(3, dtype=np.bool_))


def test_think_just_enough_keeps_a_threshold_that_is_given() -> None:
    """Fitted on whatever; without one it says that it must be fitted, and never guesses."""
    columns = Columns((run(LINES, top_logprobs=(ONE_BIT,) * 7),), tags=None)
    given = ThinkJustEnough(0.3)
    assert given is given.fit(columns, ~columns.nowhere(), np.array([True]))
    with pytest.raises(ValueError, match="at_most must be fitted first, by fit"):
        ThinkJustEnough().stops(columns)
    assert {None, 0.5} <= {rule.at_most for rule in ThinkJustEnough.grid()}


def test_cusum_adds_up_how_far_the_entropy_has_come_down() -> None:
    """Mean 2 and deviation 1 at first; then each token at 0.5 nats adds 1.5 less the drift."""
    falling = run(words(40), entropy=(3.0, 1.0) + (0.5,) * 38)
    assert (16, 0) == stop(Cusum(14.0, 0.5, warmup=2), falling)
    assert (32, 0) == stop(Cusum(14.5, 0.5, warmup=2), falling)
    assert (32, 0) == stop(Cusum(14.0, 1.0, warmup=2), falling)


def test_cusum_remembers_a_change_between_two_checkpoints() -> None:
    """The sum comes to 6 at token 8, and is gone at token 16, where the rule is asked."""
    back = run(words(20), entropy=(3.0, 1.0) + (0.5,) * 6 + (9.0,) * 12)
    assert (16, 0) == stop(Cusum(6.0, warmup=2), back)
    assert (None, 0) == stop(Cusum(6.1, warmup=2), back)


def test_cusum_finds_nothing_where_a_model_was_sure_from_the_start() -> None:
    """There is nothing to come down from."""
    assert (None, 0) == stop(Cusum(), run(words(40), entropy=(0.0,) * 40))


def test_cusum_counts_tokens_and_not_chunks() -> None:
    """A chunk of three tokens counts three times."""
    signal = EntropyCusum(warmup=2, drift=0.5)
    signal.update(Step(" a", entropy=3.0))
    signal.update(Step(" a", entropy=1.0))
    signal.update(Step(" a a a", tokens=3, entropy=0.5))
    assert 3.0 == signal.value


def test_low_group_confidence_ends_a_stream_for_good() -> None:
    """Rows of 2 and 4 nats: below 3.5 over two tokens, not below 3, and below 3 a token later."""
    rows = ((-1.0, -3.0), (-0.5, -7.5)) * 8 + ((-1.0, -3.0),) * 16
    weak = run(words(32), top_logprobs=rows)
    assert (16, 0) == stop(LowGroupConfidence(3.5, 2), weak)
    assert (32, 0) == stop(LowGroupConfidence(3.0, 2), weak)
    assert (None, 0) == stop(LowGroupConfidence(3.5), weak)
    assert replay(weak, LowGroupConfidence(3.5, 2), tags=None).forced


@pytest.mark.parametrize(
    ("rule", "need"),
    [
        (EndProbability(), "end_probability"),
        (LowEntropy(), "top_logprobs"),
        (HighConfidence(), "logprobs"),
        (ThinkJustEnough(1.0), "top_logprobs"),
        (Cusum(), "top_logprobs"),
    ],
)
def test_a_run_without_its_evidence_is_refused(rule: Policy, need: str) -> None:
    """Instead of running to the end as if the model had been unsure."""
    with pytest.raises(MissingEvidence, match=f"needs {need}"):
        replay(run(words(20)), rule, tags=None)


def test_the_defaults() -> None:
    """Of those that have any in print: the textbook's k and h."""
    assert (5.0, 0.5) == (Cusum().threshold, Cusum().cusum.drift)
    assert 2048 == LowGroupConfidence(1.0).confidence.window


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EndProbability(0.0), r"at_least must be in \(0, 1\], got 0.0"),
        (lambda: LowEntropy(-0.1), r"at_most must be in \[0, inf\), got -0.1"),
        (lambda: LowEntropy(math.nan), r"at_most must be in \[0, inf\), got nan"),
        (lambda: HighConfidence(1.1), r"at_least must be in \(0, 1\], got 1.1"),
        (lambda: ThinkJustEnough(math.inf), r"at_most must be in \[0, inf\), got inf"),
        (lambda: Cusum(0.0), r"threshold must be in \(0, inf\), got 0.0"),
        (lambda: Cusum(1.0, -1.0), r"drift must be in \[0, inf\), got -1.0"),
        (lambda: Cusum(warmup=1), "warmup must be >= 2, got 1"),
        (lambda: LowGroupConfidence(math.inf), "threshold must be finite, got inf"),
    ],
)
def test_settings_out_of_their_interval(make: Callable[[], Policy], message: str) -> None:
    """The error names setting, interval and value."""
    with pytest.raises(ValueError, match=message):
        make()


def test_readings_that_are_missing_are_no_evidence() -> None:
    """NaN in every column, as a recording has it where a provider left a token out."""
    gaps = np.full(20, math.nan).tolist()
    blind = run(
        words(20),
        logprobs=gaps,
        top_logprobs=[(gap, gap) for gap in gaps],
        entropy=gaps,
        end_probability=gaps,
    )
    rules = (EndProbability(0.0001), LowEntropy(9.0), HighConfidence(0.01), Cusum(0.1))
    assert [(None, 0)] * 4 == [stop(rule, blind) for rule in rules]
