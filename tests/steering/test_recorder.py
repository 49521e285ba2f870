"""Runs of production: which are recorded, and that they are what the model said."""

from __future__ import annotations

import contextlib
import copy
import pickle
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stopping_core import AdaptiveStopping, Request, Session, run
from stopping_core.budgets import GeometricBudget
from stopping_core.errors import TransportFailed
from stopping_core.policies import MaxTokens, Never, Threshold
from stopping_core.signals import Sentences
from stopping_core.steering import RunRecorder
from stopping_core.testing import ScriptedModel, words
from stopping_core.traces.run import Run
from stopping_core.traces.run_log import read_log
from stopping_core.types import Step
from tests.calibration.certified import ASKED, MESSAGE, PLAIN

TEXT = "It is Paris. It lies on the Seine. Many live there."
GOLD = replace(ASKED, metadata={"gold": "Paris"})


def recorder(folder: Path, **changes: Any) -> RunRecorder:
    known: dict[str, Any] = {"max_tokens": 100, "grader": "contains", "share": 0.25}
    return RunRecorder(folder, "small-1", PLAIN, **{**known, **changes})


def go(
    hook: RunRecorder,
    steps: list[Any] | None = None,
    request: Request = GOLD,
    draw: float = 0.0,
    **changes: Any,
) -> None:
    policy = Threshold(Sentences(), at_least=1)
    stopping = AdaptiveStopping(policy=policy, audit=0.25, hooks=(hook,)).replace(**changes)
    model = ScriptedModel(words(TEXT) if steps is None else steps)
    run(Session(stopping, request, draw=lambda: draw), model.backend)


def recorded(folder: Path) -> list[Run]:
    return [one.run for some in read_log(folder, 0.0, 1e12).runs.values() for one in some]


def test_an_audited_request_is_recorded_to_its_end(tmp_path: Path) -> None:
    """Though its user got only the beginning."""
    hook = recorder(tmp_path)
    go(hook)
    (found,) = recorded(tmp_path)
    assert (TEXT, "stop", ("Paris",)) == (found.text, found.finish_reason, found.gold)
    assert tuple(words(TEXT)) == found.tokens
    assert ("Which one?", "It is Paris.") == (found.question, found.context)
    assert (MESSAGE, 1) == (found.prompt, hook.recorded)


def test_so_is_one_that_nothing_would_have_cut(tmp_path: Path) -> None:
    """Else what is recorded would not be as the traffic is."""
    hook = recorder(tmp_path)
    go(hook, policy=Never())
    assert [TEXT] == [one.text for one in recorded(tmp_path)]


def test_what_is_cut_is_not(tmp_path: Path) -> None:
    """There is no end to record."""
    hook = recorder(tmp_path)
    go(hook, draw=0.9)
    assert ([], 0, 0) == (recorded(tmp_path), hook.recorded, sum(hook.skipped.values()))


def test_nor_is_anything_while_it_is_off(tmp_path: Path) -> None:
    """Off is off."""
    hook = recorder(tmp_path)
    go(hook, mode="off")
    assert [] == recorded(tmp_path)


def test_shares_are_the_same_in_all_modes(tmp_path: Path) -> None:
    """In shadow all is seen, and a share of it kept; of the audits so many that it is the same."""
    rng = random.Random(0)
    hook = recorder(tmp_path, share=0.1, draw=rng.random)
    counts = []
    for changes in ({"mode": "shadow"}, {"audit": 0.5}):
        before = hook.recorded
        for _ in range(1000):
            go(hook, draw=rng.random(), **changes)
        counts.append(hook.recorded - before)
    assert all(70 <= count <= 130 for count in counts)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"request": replace(GOLD, model="small-2")}, "another model"),
        ({"request": replace(GOLD, model_fingerprint="f" * 16)}, "another model"),
        ({"request": replace(GOLD, sampling={"temperature": 0.7})}, "sampled otherwise"),
        (
            {"request": replace(GOLD, question="Which?", prompt="Which?")},
            "another template",
        ),
        ({"request": replace(GOLD, beside=("image_url",))}, "another template"),
        ({"request": ASKED}, "no gold answer"),
        ({"request": replace(GOLD, metadata={"gold": " "})}, "no gold answer"),
        ({"request": replace(GOLD, max_tokens=20)}, "less room"),
        ({"steps": [Step("It is", tokens=2), Step(" Paris.")]}, "several tokens a chunk"),
        ({"steps": [Step("It is"), Step(" Paris.")]}, "several tokens a chunk"),
        ({"steps": [Step("Hm.", channel="reasoning"), Step("Paris.")]}, "the model reasons"),
        ({"steps": ["It", " is", " Par", ConnectionError("reset")]}, "not seen to its end"),
        (
            {
                "steps": [*words(TEXT), Step("", tokens=0, finish_reason="length")],
            },
            "broke off",
        ),
    ],
)
def test_what_is_of_another_kind_is_counted_and_left_out(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    """A refit on it would be about something else."""
    hook = recorder(tmp_path, share=1.0)
    with contextlib.suppress(TransportFailed):
        go(hook, **{"mode": "shadow", **changes})
    assert ([], {why: 1}) == (recorded(tmp_path), dict(hook.skipped))


def test_a_run_beyond_the_cap_ends_there(tmp_path: Path) -> None:
    """As ``stopping record`` would have ended it."""
    hook = recorder(tmp_path, max_tokens=4)
    go(hook)
    assert ("It is Paris. It", "length") == (
        recorded(tmp_path)[0].text,
        recorded(tmp_path)[0].finish_reason,
    )


def test_the_full_answer_may_say_what_counts(tmp_path: Path) -> None:
    """Where nobody knows the right one."""
    hook = recorder(tmp_path, gold=lambda request, answer: [answer.split(".")[0]])
    go(hook, request=ASKED)
    assert ("It is Paris",) == recorded(tmp_path)[0].gold


def test_logprobs_are_kept_where_there_are_some(tmp_path: Path) -> None:
    """They are what a policy inside reasoning would read."""
    hook = recorder(tmp_path)
    go(hook, [Step(" It", logprob=-0.5), Step(" ends", logprob=-0.25), Step(".", logprob=-1.0)])
    found = recorded(tmp_path)[0].logprobs
    assert found is not None
    assert [-0.5, -0.25, -1.0] == found.tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grader": "taste"}, "grader must be one of"),
        ({"share": 0.0}, r"share must be in \(0, 1\], got 0.0"),
        ({"max_tokens": 0}, "max_tokens must be >= 1, got 0"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recorder(tmp_path, **changes)


def test_a_share_beyond_that_of_the_audits_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once: what nothing is cut of would else be too large a part of what is recorded."""
    hook = recorder(tmp_path, share=0.5)
    for _ in range(3):
        go(hook)
    assert 1 == caplog.text.count("share is 0.5, and a smaller share of the requests is audited")
    caplog.clear()
    go(recorder(tmp_path, share=0.25))
    assert "" == caplog.text


def test_answers_are_not_chosen_by_their_length(tmp_path: Path) -> None:
    """Where a call may have less than the cap nothing is recorded, however short the answer."""
    hook = recorder(tmp_path, max_tokens=100)
    for text in ("It is so.", TEXT * 20):
        go(hook, words(text), budget=GeometricBudget(first=50))
    assert ([], {"less room": 2}) == (recorded(tmp_path), dict(hook.skipped))


def test_what_could_not_be_seen_is_noted_where_it_may_have_to_do_with_the_answer(
    tmp_path: Path,
) -> None:
    """A forced stop, too: in shadow mode there is none, and the run would be recorded."""
    hook = recorder(tmp_path)
    go(hook, [Step("It is"), Step(" Paris.")])
    go(hook, policy=MaxTokens(3))
    go(hook, request=ASKED)
    found = read_log(tmp_path, 0.0, 1e12)
    assert {"several tokens a chunk": 1, "not seen to its end": 1} == dict(found.unseen)


def test_settings_that_hold_it_can_be_copied(tmp_path: Path) -> None:
    """It is one, however often they are."""
    hook = recorder(tmp_path)
    copied = copy.deepcopy(AdaptiveStopping(hooks=(hook,)))
    assert (hook,) == copied.hooks
    with pytest.raises(TypeError, match="belongs to one process"):
        pickle.dumps(hook)
