"""What a live stream computes row by row has the bits of what a replay computes at once."""

from __future__ import annotations

import copy
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stopping_core.policies.learned import LearnedStopping, LossModel, answer
from stopping_core.policies.learned.answer import AnswerEvidence
from stopping_core.policies.learned.forest import Forest
from stopping_core.policies.learned.logistic import Logistic
from stopping_core.policies.learned.salience import find_words, read_context, stem
from stopping_core.policies.learned.thinking import ThinkingEvidence
from stopping_core.testing import words
from stopping_core.types import Request, Step
from tests.learned.made_answers import made_answer, made_model
from tests.learned.test_forest import draw, grow

PLAIN = 70  # features of a word before its plain ones: kinds by shapes, and shapes


@pytest.mark.parametrize("width", [*range(1, 20), 64, 130])
def test_a_logistic_of_any_width(width: int) -> None:
    """Numbers of all sizes, missing ones and infinite ones."""
    rng = np.random.default_rng(width)
    mean, weights = rng.normal(size=(2, width))
    scale = rng.uniform(0.5, 2, width)
    scorer = Logistic(tuple(mean.tolist()), tuple(scale.tolist()), tuple(weights.tolist()), 0.3)
    features = rng.normal(size=(400, width)) * rng.choice([1, 1e3, 1e-3, 1e300], (400, width))
    features[rng.random(features.shape) < 0.1] = np.nan
    features[rng.random(features.shape) < 0.01] = np.inf
    with np.errstate(all="ignore"):
        together = scorer.probability(features)
        alone = [scorer.probability_of(tuple(row)) for row in features.tolist()]
    np.testing.assert_array_equal(together, alone)


def test_scores_of_both_kinds_of_models() -> None:
    """At any number of tokens, none among them."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 5000, 500)
    trees = Forest.of(grow(len(ThinkingEvidence.names), max_depth=3))
    for model in (made_model(3), LossModel("text", "reasoning", trees)):
        features = draw(500, len(model.evidence().names), 7)
        alone = [
            model.score_of(tuple(row), count)
            for row, count in zip(features.tolist(), tokens.tolist(), strict=True)
        ]
        assert model.score(features, tokens).tolist() == alone


def test_a_copy_in_the_middle_of_a_stream_goes_its_own_way() -> None:
    """And the first one as if it had not been copied."""
    run = made_answer(3)
    evidence, alone = made_model(3).evidence(), made_model(3).evidence()
    for one in (evidence, alone):
        one.reset(run.request())
    for token in run.tokens[:8]:
        evidence.update(Step(token))
        alone.update(Step(token))
    twin = copy.deepcopy(evidence)
    assert evidence.row() == twin.row()
    for piece in words("Something else, in Paris or Rome, Oslo or Cairo."):
        twin.update(Step(piece))
    for token in run.tokens[8:]:
        evidence.update(Step(token))
        alone.update(Step(token))
        assert alone.row() == evidence.row()
    assert twin.row() != evidence.row()


def test_a_context_is_read_once_for_all_calls_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last requests are remembered; another question, context or model is another request."""
    asked: list[str] = []

    def counted(question: str, context: str) -> object:
        asked.append(question)
        return read_context(question, context)

    monkeypatch.setattr(answer, "read_context", counted)
    requests = [
        Request(question=f"Where does tower {n} stand?", context="It stands in Paris, by a river.")
        for n in range(40)
    ]
    policies = [LearnedStopping(-4.0, made_model(seed)) for seed in (3, 4)]
    asked.clear()
    for request in (*requests[:2], *requests[:2], requests[0]):
        for policy in policies:
            for signal in copy.deepcopy(policy).signals():
                signal.reset(request)
    assert 4 == len(asked)
    rows = []
    for request in (requests[0], *requests, requests[0]):
        evidence = AnswerEvidence(made_model(3).salience)
        evidence.reset(request)
        evidence.update(Step("It stands in Paris"))
        rows.append(evidence.row())
    assert rows[0] == rows[1] == rows[-1]
    assert not any(map(math.isnan, rows[0]))


@given(
    question=st.lists(st.sampled_from(["Who", "was", "Curie", "in", "1903", "?"])).map(" ".join),
    context=st.text(alphabet="aB .!?1 東。\nİ")
    | st.lists(
        st.sampled_from(["Marie", "Curie", "was", "there", "in", "1903", "May", "two", ".", "!"])
    ).map(" ".join),
)
@example("", "")
@example("Who?", ". . .")
def test_what_surrounds_a_word_of_the_context(question: str, context: str) -> None:
    """Word by word: what stands before and after it, how often, and how near to the question."""
    found = read_context(question, context)
    numbers = range(len(found.words))
    sentence = found.sentence
    count = Counter(found.words)
    inside = [stem(word) in found.asked for word in found.words]
    written = [word for word in find_words(context) if word]
    assert [word.lower() for word in written] == list(found.words)
    for i in numbers:
        row = found.features[i]
        near = [abs(i - j) for j in numbers if inside[j] and sentence[i] == sentence[j]]
        before = i > 0 and sentence[i - 1] == sentence[i]
        after = i + 1 < len(written) and sentence[i + 1] == sentence[i]
        expected = {
            0: inside[i],
            3: np.log(1.0 + min([40, *near])),
            4: np.log(float(count[found.words[i]])),
            6: np.log(sentence.count(sentence[i]) + 1.0),
            7: before and inside[i - 1],
            8: after and inside[i + 1],
            10: len(found.words[i]),
            12: before and written[i - 1][0].isupper(),
            13: after and written[i + 1][0].isupper(),
            14: bool(near)
            and not any(inside[j] for j in numbers[i:] if sentence[i] == sentence[j]),
        }
        assert expected == {place: row[PLAIN + place] for place in expected}
