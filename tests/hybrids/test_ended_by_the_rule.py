"""Rules that end samples of a live model themselves: DeepConf, by the model's confidence."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from stopping_core import AdaptiveStopping, Completion, Request, Session, Step, arun, run
from stopping_core.hybrids import Decided, Poll, apoll, poll, vote_of
from stopping_core.policies import Never
from stopping_core.policies.baselines import (
    DeepConf,
    DeepConfOffline,
    Sample,
    SampleRule,
    draw,
    vote_key,
)
from stopping_core.policies.baselines.group_confidence import token_confidences
from stopping_core.testing import ScriptedModel, words
from stopping_core.types import Mode, Need

WHOLE = AdaptiveStopping(policy=Never(), checkpoint_every=1)
RULE = DeepConf(warmup=2, keep=0.5, window=2, consensus=None, most=5)

Said = tuple[str, Sequence[float]]
SAID: list[Said] = [  # the bar is 3: the lowest groups of the first two are 4 and 2
    ("The answer is 4.", (4.0,)),
    ("The answer is 5.", (2.0,)),
    ("The answer is 5, or maybe it is six or seven.", (9.0, 9.0, 5.0, 0.5, 0.5, 5.0)),
    ("So the answer is 4.", (6.0,)),
    ("The answer is surely 4.", (3.5, 2.5, 2.5, 9.0)),
]


def steps(said: Said, *, tell: bool = True) -> list[Step]:
    """One a word; the confidences come again from the first."""
    text, sure = said
    return [
        Step(word, top_logprobs=(-sure[place % len(sure)],) if tell else None)
        for place, word in enumerate(words(text))
    ]


def recorded(said: Said) -> Sample:
    rows = np.array([one.top_logprobs for one in steps(said)], np.float32)
    return Sample(vote_key(said[0]), len(rows), confidences=token_confidences(rows))


def go(
    rule: SampleRule,
    asynchronous: bool,
    scripts: Sequence[Sequence[Step | Exception]],
    **changes: Any,
) -> tuple[Poll[Completion], dict[int, int]]:
    """Vote; also tell how many tokens the model generated of each sample."""
    generated: dict[int, int] = {}

    def of(number: int, settings: AdaptiveStopping) -> tuple[Session, ScriptedModel]:
        return Session(settings, Request()), ScriptedModel(scripts[number])

    def ask(number: int, decided: threading.Event, settings: AdaptiveStopping) -> Completion:
        session, model = of(number, settings)
        made = run(session, model.backend)
        generated[number] = sum(model.generated)
        if decided.is_set():
            raise Decided
        return made

    async def aask(number: int, settings: AdaptiveStopping) -> Completion:
        session, model = of(number, settings)
        made = await arun(session, model.abackend)
        generated[number] = sum(model.generated)
        return made

    settings: dict[str, Any] = {"stopping": WHOLE, **changes}
    if asynchronous:
        return asyncio.run(apoll(rule, aask, vote_of, **settings)), generated
    return poll(rule, ask, vote_of, **settings), generated


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_sample_that_loses_confidence_is_ended(asynchronous: bool) -> None:
    """At the token of the replay, and only behind the warm-up; it does not vote."""
    made, generated = go(RULE, asynchronous, [steps(one) for one in SAID])
    wanted = draw(RULE, [recorded(one) for one in SAID])
    assert ("4", wanted.answer) == (str(made.answer), made.answer)
    assert wanted.samples == len(made.votes) == 5
    assert wanted.usage.generated == made.tokens == sum(generated.values())
    assert {0: 4, 1: 4, 2: 4, 3: 5, 4: 3} == generated
    assert "" == made.votes[2]
    assert made.winner is not None
    assert SAID[0][0] == made.winner.text
    assert "low confidence" == made.samples[2].reason


@pytest.mark.parametrize("asynchronous", [False, True])
def test_one_that_fails_says_nothing_of_confidence(asynchronous: bool) -> None:
    """It counts for the warm-up and not for the bar."""
    left = (SAID[1], SAID[3], SAID[3])
    scripts: list[Sequence[Step | Exception]] = [[ValueError("broken")], *map(steps, left)]
    made, generated = go(DeepConf(2, 0.5, 2, None, 4), asynchronous, scripts)
    assert (1, 5, 5) == (made.failed, generated[2], generated[3])
    assert (["", "5", "4", "4"], "4") == ([str(one) for one in made.votes], str(made.answer))


@pytest.mark.parametrize("mode", ["shadow", "active"])
def test_a_rule_may_only_weigh_samples(mode: Mode) -> None:
    """By the confidence of whole ones; the most confident half of them votes."""
    rule = DeepConfOffline(5, keep=0.5, window=2)
    made, generated = go(
        rule, False, [steps(one) for one in SAID], stopping=WHOLE.replace(mode=mode)
    )
    wanted = draw(rule, [recorded(one) for one in SAID])
    assert (wanted.answer, wanted.usage.generated) == (made.answer, sum(generated.values()))
    assert all(generated[number] == len(words(said)) for number, (said, _) in enumerate(SAID))


def test_a_model_that_tells_no_logprobs_is_told() -> None:
    """Its samples cannot be weighed."""
    with pytest.raises(ValueError, match=r"confidences must be known for DeepConf.*top_logprobs"):
        go(RULE, False, [steps(one, tell=False) for one in SAID])


def probing() -> SampleRule:
    class Probing(DeepConf):
        def needs(self) -> frozenset[Need]:
            return frozenset({"samples", "probes"})

    return Probing()


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (DeepConf, {"mode": "shadow"}, "mode must be 'active' for DeepConf.*got 'shadow'"),
        (DeepConf, {"mode": "off"}, "mode must be 'active' for DeepConf.*got 'off'"),
        (probing, {}, r"rule must need nothing but samples and logprobs.*\['probes'\]"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_asked(
    make: Callable[[], SampleRule], changes: dict[str, Any], message: str
) -> None:
    """Name and value."""
    with pytest.raises(ValueError, match=message):
        go(make(), False, [], stopping=WHOLE.replace(**changes))
