"""A model of the loss that ending the thinking brings."""

from __future__ import annotations

import json
import random
import sys

import numpy as np
import pytest

from stopping_core.errors import MissingPackage
from stopping_core.policies.learned import LearnedStopping, LossModel
from stopping_core.policies.learned.fitting_thinking import fit_thinking
from stopping_core.policies.learned.loss_model import Tier
from stopping_core.policies.learned.thinking import ThinkingEvidence
from stopping_core.traces.columns import Columns, Mask, Readings
from stopping_core.traces.graded import Graded
from stopping_core.traces.replay import replay
from stopping_core.traces.run import Run
from stopping_core.traces.sweep import cut
from stopping_core.types import Boundary, Probe


def sum_twice(seed: int) -> Run:
    """A run that adds two numbers, doubtfully where it goes wrong, and then once more, rightly."""
    rng = random.Random(seed)
    a, b = rng.randint(10, 99), rng.randint(10, 99)
    slips = rng.random() < 0.3
    said = a + b + slips
    lines = [
        *(f"Let me add {a} and {b}.", f"{a} + {b} = {said}.", f"That makes {said}.", "Wait."),
        *(f"{b} + {a} = {a + b}.", f"It is {a + b}.", "Good."),
    ]
    tokens, logprobs, probes = ["<think>", "\n"], [-0.01, -0.01], {}
    for number, line in enumerate(lines):
        answer = said if number < 4 else a + b
        for word in line.split():
            tokens.append(word + " ")
            doubtful = slips and number == 1 and word.startswith(str(said))
            logprobs.append(-1.5 if doubtful else -rng.random() / 10)
        tokens.append("\n")
        logprobs.append(-0.01)
        for place in (len(tokens) - 1, len(tokens)):
            probes[place] = Probe(f" {answer}.", tokens=2, reread=20 + place)
    tokens += ["</think>", "\n", f"The answer is {a + b}."]
    logprobs += [-0.01] * 3
    return Run(
        question_id=f"q{seed}",
        question=f"What is {a} + {b}?",
        gold=(str(a + b),),
        tokens=tuple(tokens),
        finish_reason="stop",
        grader="last_number",
        prompt_tokens=20,
        logprobs=np.array(logprobs, dtype=np.float32),
        probes=probes,
    )


def labelled(runs: list[Run]) -> tuple[Columns, Mask, Mask]:
    """The places of the runs, whether a stop there is right, and whether the full answers are."""
    columns = Columns(runs, channel="reasoning").asked()
    graded = Graded(columns)
    return columns, graded.right(columns.rows), graded.full() >= 1


TRAINED = labelled([sum_twice(seed) for seed in range(120)])
OTHERS = [sum_twice(seed) for seed in range(1000, 1060)]


def scores(model: LossModel, columns: Columns) -> tuple[Mask, Readings]:
    """The line ends, and their scores."""
    looks = columns.at(Boundary.LINE)
    features = columns.rows_of(model.evidence(), looks)[looks]
    return looks, model.score(features, columns.tokens[looks])


def test_logprobs_tell_a_doubtful_conclusion_from_a_sure_one() -> None:
    """On runs that it has not seen; the text of the first pass cannot."""
    columns, right, _ = labelled(OTHERS)
    evidence = ThinkingEvidence()
    read = dict(zip(evidence.names, columns.rows_of(evidence).T, strict=True))
    first = (read["concluded"] == 1) & (read["concludes"] == 1) & columns.at(Boundary.LINE)
    found = {}
    tiers: tuple[Tier, ...] = ("text", "logprobs")
    for tier in tiers:
        looks, score = scores(fit_thinking(*TRAINED, tier), columns)
        wrong, well = score[(first & ~right)[looks]], score[(first & right)[looks]]
        assert len(OTHERS) == len(wrong) + len(well)
        found[tier] = float((wrong[:, None] > well[None]).mean())
    assert found["logprobs"] > 0.9
    assert found["text"] < 0.8


@pytest.mark.parametrize("tier", ["text", "logprobs"])
def test_fitting_again_gives_the_same_model(tier: Tier) -> None:
    """To the last bit, and JSON gives it back."""
    model = fit_thinking(*TRAINED, tier)
    assert model == fit_thinking(*TRAINED, tier)
    assert model == LossModel.from_dict(json.loads(json.dumps(model.to_dict())))
    assert (tier, "reasoning") == (model.tier, model.channel)


def test_the_rule_cuts_as_a_replay_does() -> None:
    """Run by run: where, and what is left."""
    columns = Columns(OTHERS, channel="reasoning")
    for threshold in (-8.0, -5.0, -2.0):
        rule = LearnedStopping(threshold, tier="logprobs", channel="reasoning").fit(*TRAINED)
        cuts = cut(columns, rule)
        outcomes = [replay(run, rule, channel="reasoning") for run in OTHERS]
        assert [outcome.tokens for outcome in outcomes] == cuts.tokens.tolist()
        assert [one.text for one in outcomes] == [cuts.text(i) for i in range(len(OTHERS))]
    assert cuts.stopped.all()


def test_places_without_a_probe_teach_nothing() -> None:
    """What a stop there would leave is not known."""
    columns, right, full = TRAINED
    runs = [*columns.runs, *(sum_twice(seed) for seed in range(200, 220))]
    for run in runs[120:]:
        run.probes.clear()
    more = Columns(runs, channel="reasoning").asked()
    known = np.append(right, np.zeros(len(more) - len(right), dtype=np.bool_))
    told = np.append(full, np.ones(20, dtype=np.bool_))
    assert fit_thinking(columns, right, full) == fit_thinking(more, known, told)


@pytest.mark.parametrize("lost", [True, False])
def test_runs_of_one_kind_teach_nothing(lost: bool) -> None:
    """The error says how many line ends lose an answer."""
    columns, right, full = TRAINED
    count = 7 * 120
    message = f"got {count if lost else 0} losses at {count} of them"
    with pytest.raises(ValueError, match=message):
        fit_thinking(columns, np.full_like(right, not lost), np.full_like(full, True))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(MissingPackage, match=r"scikit-learn is needed .*stopping-core\[fit\]"):
        fit_thinking(*TRAINED)
