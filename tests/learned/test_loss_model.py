"""A model of the loss as plain numbers, and what is refused as one."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import numpy as np
import pytest

from stopping_core.policies.learned import LearnedStopping, LossModel
from stopping_core.policies.learned.logistic import Logistic
from tests.learned.made_answers import FEATURES, fitted, made_model


@pytest.mark.parametrize("weighs", [True, False])
def test_json_gives_the_same_bits_back(weighs: bool) -> None:
    """Every number, and with them every score."""
    model = made_model(1, weighs=weighs)
    again = LossModel.from_dict(json.loads(json.dumps(model.to_dict(), allow_nan=False)))
    assert model == again
    assert model.fingerprint == again.fingerprint
    features = np.random.default_rng(0).normal(size=(50, FEATURES))
    tokens = np.arange(50)
    assert model.score(features, tokens).tobytes() == again.score(features, tokens).tobytes()


def test_a_fitted_model_likewise() -> None:
    """It holds nothing that JSON does not."""
    model = fitted().model
    assert model is not None
    assert model == LossModel.from_dict(json.loads(json.dumps(model.to_dict(), allow_nan=False)))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_place_scores_the_same_alone_and_among_others(order: Any) -> None:
    """To the last bit, missing features included, however the array lies in memory."""
    model = made_model(2)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, FEATURES)) * rng.choice([1, 1e3, 1e-3], FEATURES)
    features[rng.random(features.shape) < 0.1] = np.nan
    features = np.array(features, order=order)
    tokens = rng.integers(0, 500, 300)
    together = model.score(features, tokens)
    alone = [model.score(features[i : i + 1], tokens[i : i + 1])[0] for i in range(300)]
    assert together.tolist() == alone


def test_a_score_is_the_probability_against_the_tokens() -> None:
    """As the class has it; a missing feature is average, and no tokens are one."""
    scorer = Logistic((1.0, 0.0), (2.0, 1.0), (3.0, 5.0), 0.5)
    model = LossModel("text", "answer", scorer, 0.7)
    probability = 1 / (1 + math.exp(-(0.5 + 3.0)))
    expected = [math.log(probability + 1e-4) - 0.7 * math.log(tokens) for tokens in (1, 1, 20)]
    features = np.array([[3.0, math.nan]] * 3)
    assert pytest.approx(expected) == model.score(features, np.array([0, 1, 20])).tolist()


def test_odds_of_any_size_are_probabilities() -> None:
    """No overflow, and no NaN."""
    scorer = Logistic((0.0,), (1.0,), (1.0,), 0.0)
    found = scorer.probability(np.array([[1e300], [-1e300], [math.inf], [-math.inf]]))
    assert [1.0, 0.0, 1.0, 0.0] == pytest.approx(found.tolist())


def _set(data: dict[str, Any], path: str, value: Any) -> None:
    *folders, name = path.split(".")
    for folder in folders:
        data = data[folder]
    if value is ...:
        del data[name]
    else:
        data[name] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("tier", ..., r"model\.tier is missing"),
        ("tier", "words", r"model\.tier must be one of .*, got 'words'"),
        ("tier", ["text"], r"model\.tier must be one of .*, got \['text'\]"),
        ("tier", "logprobs", "tier must be 'text' on the channel 'answer', got 'logprobs'"),
        ("channel", "thought", r"model\.channel must be one of .*, got 'thought'"),
        ("exponent", "1", r"model\.exponent must be a finite number, got '1'"),
        ("exponent", True, r"model\.exponent must be a finite number, got True"),
        ("exponent", -1, r"model\.exponent must be >= 0, got -1"),
        ("exponent", math.nan, r"model\.exponent must be a finite number, got nan"),
        ("exponent", 10**400, r"model\.exponent must be a finite number, got 1000"),
        ("surplus", 1, r"model\.surplus is not known, got 1"),
        ("scorer", [], r"model\.scorer\.kind must be 'logistic' or 'forest', got None"),
        ("scorer.kind", "tree", r"model\.scorer\.kind must be .*, got 'tree'"),
        ("scorer.kind", ["a"], r"model\.scorer\.kind must be .*, got \['a'\]"),
        ("scorer.bias", 1, r"model\.scorer\.bias is not known"),
        ("scorer.mean", ..., r"model\.scorer\.mean is missing"),
        ("scorer.mean", 1.0, r"model\.scorer\.mean must be a list of numbers, got 1\.0"),
        ("scorer.mean", [0.0], r"model\.scorer\.mean must hold as many numbers .* 8, got 1"),
        ("scorer.weights", [None] * 8, r"model\.scorer\.weights\[0\] must be .*, got None"),
        ("scorer.scale", [0.0] * 8, r"model\.scorer\.scale must hold numbers > 0, got 0\.0"),
        ("scorer.intercept", math.inf, r"model\.scorer\.intercept must be .*, got inf"),
        ("salience", 3, r"model\.salience must be an object, got 3"),
        ("salience.mean", [], r"model\.salience\.mean must hold as many numbers"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: Any, message: str) -> None:
    """By its key and its value."""
    data = copy.deepcopy(made_model().to_dict())
    _set(data, path, value)
    with pytest.raises(ValueError, match=message):
        LossModel.from_dict(data)


def test_a_model_of_another_width_is_refused() -> None:
    """It was made for other features."""
    data = made_model().to_dict()
    narrow = Logistic((0.0,), (1.0,), (1.0,), 0.0).to_dict()
    with pytest.raises(ValueError, match=r"model.scorer must read 8 features, got 1"):
        LossModel.from_dict({**data, "scorer": {"kind": "logistic", **narrow}})
    with pytest.raises(ValueError, match=r"model.salience must read \d+ features, got 1"):
        LossModel.from_dict({**data, "salience": narrow})
    with pytest.raises(ValueError, match="model must be an object, got 'x'"):
        LossModel.from_dict("x")  # type: ignore[arg-type]  # wrong on purpose


def test_fingerprints_tell_models_apart() -> None:
    """16 hex digits, of every number."""
    one, other = made_model(1), made_model(2)
    assert one.fingerprint != other.fingerprint
    assert 16 == len(one.fingerprint) == len(f"{int(one.fingerprint, 16):016x}")
    assert one.fingerprint in repr(LearnedStopping(-4.0, one))
    assert f"LearnedStopping(-4, model={one.fingerprint})" == repr(LearnedStopping(-4.0, one, 2))
    about = f"LearnedStopping(-4, model={one.fingerprint}, every=8)"
    assert about == repr(LearnedStopping(-4.0, one, every=8))
